"""A network that finds out which pixels and units it can do without.

After Louizos, Welling, Kingma, 2018, https://arxiv.org/abs/1712.01312, on the
digits of scikit-learn: a gate on each of 64 pixels and on each unit of two
hidden layers, and a loss of `l0_weight` for each gate that is expected to be
open. We then remove everything behind a gate of exactly 0. This leaves a
smaller network of plain `Dense` layers that gives the same answers.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_gumbel as kg

SIZES = (64, 128, 64)
L0_WEIGHTS = (0.003, 0.01, 0.03, 0.1)
BATCH = 64


def network(gate) -> keras.Sequential:
    """Three Dense layers, and what `gate` gives before each of them."""
    parts = [keras.Input((SIZES[0],)), *gate()]
    for size in SIZES[1:]:
        parts += layers.Dense(size, "relu"), *gate()
    return keras.Sequential([*parts, layers.Dense(10)])


def train(model: keras.Sequential, x, digits, epochs: int) -> keras.Sequential:
    steps = len(x) // BATCH
    rate = keras.optimizers.schedules.CosineDecay(0.02, epochs * steps)
    adam = keras.optimizers.Adam(rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(adam, loss, steps_per_execution=steps)
    model.fit(x, digits, BATCH, epochs, verbose=0)
    return model


def gated(l0_weight: float, x, digits, epochs: int) -> keras.Sequential:
    half = epochs * len(x) // BATCH // 2  # in which the loss is warmed up
    warm = keras.optimizers.schedules.PolynomialDecay(0.0, half, l0_weight)
    model = network(lambda: [kg.HardConcreteGate(l0_weight=warm)])
    return train(model, x, digits, epochs)


def pruned(model: keras.Sequential) -> tuple[np.ndarray, keras.Sequential]:
    """The pixels that are left, and the network without what is closed."""
    gates = [np.array(layer.gates()) for layer in model.layers[::2]]
    left = [*map(np.flatnonzero, gates), np.arange(10)]
    small = [keras.Input((len(left[0]),))]
    for n, dense in enumerate(model.layers[1::2]):
        rows, columns = left[n : n + 2]
        kernel, bias = dense.get_weights()
        kernel = gates[n][:, None] * kernel  # an open gate need not be 1
        small.append(layers.Dense(len(columns), dense.activation))
        small[-1].build((None, len(rows)))
        small[-1].set_weights([kernel[np.ix_(rows, columns)], bias[columns]])
    return left[0], keras.Sequential(small)


def report(name, left, accuracy, weights, note="") -> None:
    counts = "".join(f"{count:>9}" for count in left)
    print(f"{name:>9}{counts}{accuracy:>10.3f}{weights:>9}  {note}")


def draw(found: dict, path: Path) -> None:
    figure = Figure(figsize=(11, 2.8), layout="constrained")
    maps, curve = figure.subfigures(1, 2, width_ratios=(2, 1))
    axes = maps.subplots(1, len(found))
    axis = curve.subplots()
    for image, (name, row) in zip(axes, found.items(), strict=True):
        gates, left, accuracy = row
        image.imshow(gates.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        pixels = f"{np.count_nonzero(gates)} pixels"
        image.set(xticks=[], yticks=[], title=name, xlabel=pixels)
        axis.plot(left, accuracy, "o", color="black")
        axis.annotate(f"\n  {name}", (left, accuracy), va="center")
    labels = {"xlabel": "pixels and units left", "ylabel": "test accuracy"}
    axis.set(xlim=(0, 340), ymargin=0.2, **labels)
    figure.savefig(path, dpi=150)


def main(output: Path, epochs: int, l0_weights: tuple[float, ...]) -> None:
    keras.utils.set_random_seed(0)
    x, digits = load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    x, test, digits, truth = train_test_split(x, digits, test_size=453)
    print("l0_weight   pixels hidden 1 hidden 2  accuracy  weights  pruned")
    dense = train(network(list), x, digits, epochs)
    accuracy = np.mean(dense(test).numpy().argmax(-1) == truth)
    report("dense", SIZES, accuracy, dense.count_params())
    found = {"dense": (np.ones(64), sum(SIZES), accuracy)}
    for l0_weight in l0_weights:
        model = gated(l0_weight, x, digits, epochs)
        pixels, small = pruned(model)
        before = model(test).numpy()
        after = small(test[:, pixels]).numpy()
        before = before.argmax(-1)
        after = after.argmax(-1)
        left = [len(pixels), *(layer.units for layer in small.layers[:-1])]
        accuracy = np.mean(after == truth)
        note = f"{np.sum(before == after)} of {len(test)} predictions the same"
        report(l0_weight, left, accuracy, small.count_params(), note)
        gates = model.layers[0].gates()
        found[f"l0_weight {l0_weight}"] = gates.numpy(), sum(left), accuracy
    output.mkdir(parents=True, exist_ok=True)
    draw(found, output / "prune_digits.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    if given.smoke:
        epochs = 20
        l0_weights = (0.1,)
    else:
        epochs = 100
        l0_weights = L0_WEIGHTS
    main(given.output, epochs, l0_weights)
