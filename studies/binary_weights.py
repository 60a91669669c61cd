"""Networks whose weights are one bit each, trained straight through the sign.

After BinaryConnect, Courbariaux, Bengio, David, 2015,
https://arxiv.org/abs/1511.00363, in dense layers on scikit-learn's digits: the
signs of real weights, or signs drawn in training, likelier for larger weights.
"""

import argparse
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import initializers, layers, ops
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_gumbel as kg


class Binary(layers.Layer):
    """x @ w with every w -1 or 1, and no bias."""

    def __init__(self, units: int, how: str = "sign", clip=None) -> None:
        super().__init__()
        self.units = units
        self.how = how
        self.clip = clip
        self.gate = kg.GumbelSigmoid(hard=True, from_logits=how == "Gumbel")

    def build(self, shape) -> None:
        start = initializers.RandomUniform(-1.0, 1.0)
        shape = shape[-1], self.units
        self.kernel = self.add_weight(shape, start, constraint=self.clip)

    def call(self, x, training=None):
        w = ops.convert_to_tensor(self.kernel)
        if self.how == "Gumbel":  # 1 with probability sigmoid(6 w)
            return x @ (2 * self.gate(6 * w, training=training) - 1)
        signs = ops.where(w < 0, -1.0, 1.0)
        if self.how == "stochastic":  # 1 with probability (1 + w) / 2
            p = ops.clip((1 + w) / 2, 0, 1)
            signs = 2 * self.gate(p, training=training) - 1
        return x @ kg.ops.straight_through(signs, w)


Real = partial(layers.Dense, use_bias=False)
Clipped = partial(Binary, clip=lambda w: ops.clip(w, -1, 1))
ROWS = {
    "float32": (Real, 128),
    "float32, 10 units": (Real, 10),
    "signs": (Clipped, 128),
    "signs, no clipping": (Binary, 128),
    "stochastic signs": (partial(Clipped, how="stochastic"), 128),
    "Gumbel signs": (partial(Binary, how="Gumbel"), 128),
}


def train(layer, width: int, x, digits, epochs: int) -> keras.Sequential:
    parts = [keras.Input((64,))]
    steps = len(x) // 64
    for units in (width, width, 10):
        norm = layers.BatchNormalization(momentum=0.9)
        parts += layer(units), norm, layers.ReLU()
    model = keras.Sequential(parts[:-1])
    rate = keras.optimizers.schedules.CosineDecay(0.01, epochs * steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, steps_per_execution=steps)
    model.fit(x, digits, 64, epochs, verbose=0)
    return model


def settle(model: keras.Sequential, x) -> None:
    """Batch norm counts anew, with the weights as they are without noise."""
    for layer in model.layers[::3]:
        getattr(layer, "gate", layer).noise_scale = 0.0
    for _ in range(50):
        model(x, training=True)


def main(output: Path, seeds: int, smoke: bool) -> None:
    if smoke:
        epochs = 10
        seeds = 1
        rows = [*ROWS][::2]
    else:
        epochs = 30
        rows = ROWS
    x, digits = load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    found = {}
    kernels = {}
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        data, test, labels, truth = train_test_split(x, digits, test_size=360)
        for name in rows:
            model = train(*ROWS[name], data, labels, epochs)
            settle(model, data)
            dense = model.layers[::3]
            kernels[name] = [layer.kernel.numpy() for layer in dense]
            answers = {name: np.argmax(model(test), axis=-1)}
            if name == "float32":
                for layer, w in zip(dense, kernels[name], strict=True):
                    layer.set_weights([np.sign(w) * np.abs(w).mean(0)])
                answers["signs afterwards"] = np.argmax(model(test), axis=-1)
                settle(model, data)
                answers["  and batch norm"] = np.argmax(model(test), axis=-1)
            for row, answer in answers.items():
                size = sum(map(np.size, kernels[name]))
                key = row, size * 32 if "float32" in row else size
                found.setdefault(key, []).append(np.mean(answer == truth))
    print("weights                   bits   accuracy   spread   worst")
    for (row, bits), each in found.items():
        numbers = f"{np.mean(each):11.3f}{np.std(each):9.3f}{min(each):8.3f}"
        print(f"{row:20}{bits:10}{numbers}")
    figure = Figure(figsize=(11, 3), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(rows)), rows, strict=True):
        axis.hist(kernels[name][1].ravel(), bins=41, range=(-2, 2))
        axis.set(title=name, xlabel="weight, layer 2", yticks=[])
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "binary_weights.png", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
