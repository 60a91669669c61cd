"""Units built from a few shared filters, each picked by a one-hot mask.

After LegoNet, Yang et al., 2019, https://proceedings.mlr.press/v97/yang19c.html,
in dense layers on scikit-learn's digits: the input is cut into 8 fragments, and
for each of them a unit has one of 16 filters, which all units share, times a
coefficient. The mask learns straight through an argmax, or a Gumbel sample.
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

# logits are SLOPE times the scores
FRAGMENTS = 8
FILTERS = 16
SLOPE = 6.0


class Lego(layers.Layer):
    """sum_f coefficient[f, unit] * filters[choice[f, unit]] @ x_f."""

    def __init__(self, units: int, how: str = "argmax") -> None:
        super().__init__()
        self.units = units
        self.how = how
        self.choice = kg.GumbelSoftmax(hard=True)

    def build(self, shape) -> None:
        size = shape[-1] // FRAGMENTS
        each = (FRAGMENTS, self.units, FILTERS)
        self.filters = self.add_weight((FILTERS, size))
        self.coefficients = self.add_weight(each)
        start = initializers.RandomNormal(0, 1)
        free = self.how != "fixed"
        self.scores = self.add_weight(each, start, trainable=free)
        self.start = np.argmax(self.scores, axis=-1)
        chosen = FRAGMENTS * self.units  # a number for each, and which filter
        self.bits = 32 * FILTERS * size + chosen * (32 + int(np.log2(FILTERS)))

    def call(self, x, training=None):
        noisy = training and self.how == "Gumbel"
        mask = self.choice(SLOPE * self.scores, training=noisy)
        if self.how == "argmax":
            mask = kg.ops.straight_through(mask, self.scores)
        x = ops.reshape(x, (-1, FRAGMENTS, x.shape[-1] // FRAGMENTS))
        x = ops.einsum("bfi,ci->bfc", x, self.filters)  # once for all units
        return ops.einsum("bfc,fuc->bu", x, self.coefficients * mask)

    def moved(self) -> float:
        return np.mean(np.argmax(self.scores, axis=-1) != self.start)


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
    for layer in model.layers[::3]:  # batch norm counts without noise
        getattr(layer, "choice", layer).noise_scale = 0.0
    for _ in range(50):
        model(x, training=True)
    return model


Real = partial(layers.Dense, use_bias=False)
ROWS = {
    "float32": (Real, 128),
    "float32, 30 units": (Real, 30),
    "argmax": (Lego, 128),
    "Gumbel": (partial(Lego, how="Gumbel"), 128),
    "fixed": (partial(Lego, how="fixed"), 128),
}


def main(output: Path, seeds: int, smoke: bool) -> None:
    if smoke:
        epochs = 10
        seeds = 1
        rows = [*ROWS][::2]
    else:
        epochs = 20
        rows = ROWS
    x, digits = load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    found = {}
    legos = {}
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        data, test, labels, truth = train_test_split(x, digits, test_size=360)
        for name in rows:
            model = train(*ROWS[name], data, labels, epochs)
            right = np.mean(np.argmax(model(test), axis=-1) == truth)
            parts = model.layers[::3]
            moved = np.nan
            each = [getattr(p, "bits", 32 * p.count_params()) for p in parts]
            if isinstance(parts[0], Lego):
                moved = np.mean([part.moved() for part in parts])
                legos[name] = parts[0]
            found.setdefault((name, sum(each)), []).append((right, moved))
    print("weights                 bits   accuracy   spread   worst   moved")
    for (name, bits), rows in found.items():
        right, moved = np.transpose(rows)
        numbers = f"{right.mean():11.3f}{right.std():9.3f}{right.min():8.3f}"
        print(f"{name:18}{bits:10}{numbers}{moved.mean():8.2f}")
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(legos)), legos, strict=True):
        axis.imshow(legos[name].filters, cmap="RdBu", vmin=-1, vmax=1)
        axis.set(title=name, xlabel="pixel of a row", ylabel="filter")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "shared_filters.png", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
