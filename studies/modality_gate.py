"""A gate that finds which of three views of a digit is worth reading.

The views of a digit of scikit-learn are its pixels and their differences across
and down. One of them, another each time, shows the digit, with a share of its
pixels shuffled (from none to all: how hard the example is); two show another
digit, all shuffled. Nobody tells the gate which is which:

    picks = GumbelSoftmax(hard=True)(scores of the embeddings)
    digit = classify(sum over views of picks * embedding)

The ways to select (s) train at once, and share only the batches.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_gumbel as kg

SHORT = ("oracle", "mean", "hard, 1", "hard, own", "sigmoid, 0.1")
NAMES = (*SHORT, "hard, 0.1", "soft", "random")


def examples(x, rng) -> tuple[list, np.ndarray]:
    """Views (n, 3, 64) and which is informative; its share of shuffled."""
    which = rng.integers(3, size=len(x))
    shuffled = rng.uniform(size=len(x))
    informative = np.arange(3)[:, None] == which[:, None, None]
    views = np.where(informative, x[:, None], rng.permutation(x)[:, None])
    share = np.where(informative, shuffled[:, None, None], 1.0)
    moves = rng.uniform(size=views.shape) < share
    views = np.where(moves, rng.permuted(views, axis=2), views)
    views = views.reshape(-1, 3, 8, 8)
    for n in (1, 2):  # differences across and down
        views[:, n] -= np.roll(views[:, n], 1, axis=3 - n)
    return [views.reshape(-1, 3, 64), which], shuffled


def dense(equation: str, activation, *shape: int):
    """A Dense with weights of its own for each selection s and view v."""
    uniform = keras.initializers.RandomUniform(-0.2, 0.2)
    return layers.EinsumDense(equation, shape, activation, None, uniform)


def network(names) -> tuple[keras.Model, keras.Model]:
    """To digits, (batch, s, 10); to picks, probabilities, temperatures."""
    n = len(names)
    of = np.array(names)[:, None]
    inputs = views, which = keras.Input((3, 64)), keras.Input((), dtype="int32")
    codes = dense("bvi,svio->bsvo", "relu", n, 3, 64)(views)
    wide = dense("bsvi,svio->bsvo", "leaky_relu", n, 3, 32)(codes)
    logits = dense("bsvi,svi->bsv", None, n, 3)(wide)
    logits = ops.where(of == "sigmoid, 0.1", ops.sigmoid(logits), logits)
    logits = ops.where(np.isin(of, ("mean", "random")), 0.0, logits)
    truth = ops.one_hot(which, 3)[:, None]
    logits = ops.where(of == "oracle", ops.log(truth), logits)
    own = 0.1 + dense("bsvi,svi->bs", "softplus", n)(wide)[..., None]
    fixed = np.where(np.char.endswith(of, "0.1"), 0.1, 1.0)
    temperature = ops.where(of == "hard, own", own, fixed)
    # Logits (batch, s, 3) at temperatures (batch, s, 1), one an example.
    picks = kg.GumbelSoftmax(hard=True)(logits, temperature=temperature)
    p = ops.softmax(logits)
    taken = ops.where(np.isin(of, ("mean", "soft")), p, picks)[..., None]
    code = ops.sum(taken * codes, axis=2)
    digits = dense("bsi,sio->bso", "softmax", n, 10)(code)
    chosen = picks, p, temperature[..., 0]
    return keras.Model(inputs, digits), keras.Model(inputs, chosen)


def measure(seed: int, names, epochs: int) -> np.ndarray:
    """Two accuracies, largest p, and by quarters picks and temperatures."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    x, test, y, truth = train_test_split(*load_digits(return_X_y=True))
    model, selection = network(names)
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(2e-3), loss, steps_per_execution=21)
    inputs, _ = examples(np.tile(x / 16, (epochs, 1)), rng)
    model.fit(inputs, np.tile(y[:, None], (epochs, len(names))), 64, verbose=0)
    inputs, shuffled = examples(np.tile(test / 16, (4, 1)), rng)
    answers = [model(inputs, training=drawn) for drawn in (False, True)]
    right = np.argmax(answers, axis=-1) == np.tile(truth, 4)[:, None]
    picks, p, heat = map(np.array, selection(inputs))
    found = np.all(picks == np.eye(3)[inputs[1]][:, None], axis=-1)
    parts = np.array([found, heat])[:, shuffled.argsort()]
    parts = parts.reshape(8, -1, len(names)).mean(axis=1)  # by quarters
    return np.transpose([*right.mean(axis=1), p.max(axis=(0, 2)), *parts])


def main(output: Path, names, seeds: int, epochs: int) -> None:
    runs = np.array([measure(seed, names, epochs) for seed in range(seeds)])
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    accuracy, picks, heat = figure.subplots(1, 3)
    print("accuracy: likeliest, drawn; largest p; quarters: picks, temperature")
    for n, name in enumerate(names):
        mean = runs[:, n].mean(axis=0)
        spread = runs[:, n].std(axis=0)
        cells = map("{:.3f} +- {:.3f}".format, mean[:3], spread)
        print(f"{name:>12}", *cells, *map("{:.2f}".format, mean[3:]), sep="  ")
        accuracy.errorbar(mean[:2], [name] * 2, xerr=spread[:2], fmt="o-")
        if "," in name:
            picks.errorbar(list("1234"), mean[3:7], spread[3:7], color=f"C{n}")
            heat.errorbar(list("1234"), mean[7:], spread[7:], color=f"C{n}")
    accuracy.set(xlabel="accuracy, by the likeliest view or one drawn")
    picks.set_xlabel("right picks, by quarter of difficulty")
    heat.set(xlabel="temperature, by quarter of difficulty", yscale="log")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "modality_gate.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    main(given.output, *((SHORT, 1, 20) if given.smoke else (NAMES, 5, 40)))
