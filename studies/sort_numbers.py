"""Teach a network to sort numbers, by permutations that it trains through.

A small network sees one number and one place, and scores how well the two
fit. `GumbelSinkhorn` makes a permutation from the scores of all pairs. In
training it is relaxed, and the loss is how far the numbers, moved to their
places, are from sorted. In tests it is hard, and a list counts if every
number is in its place.

The network never compares two numbers; the matching does, and gives each place
to the number that fits best. For comparison, an argmax of the same scores
gives each place to its best number, and one number may get two places. A
place is a number from 0 to 1, so the same weights sort lists of any length.
"""

import argparse
import pathlib

import keras
import matplotlib as mpl
import numpy as np
from keras import layers, ops

import keras_gumbel as kg

mpl.use("Agg")
from matplotlib import pyplot as plt

SIZE = 8


def lists(count: int, size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(size=(count, size, 1)).astype("float32")


def pairs(x):
    """Of numbers (batch, n, 1): each with each place, (batch, n, n, 2)."""
    size = ops.shape(x)[1]
    places = ops.cast(ops.arange(size), x.dtype) / ops.cast(size - 1, x.dtype)
    number = ops.repeat(x[:, :, None, :], size, axis=2)
    place = ops.zeros_like(number) + places[:, None]
    return ops.concatenate([number, place], axis=-1)


def network() -> tuple[keras.Model, keras.Model]:
    """Lists to lists, each number moved to its place; and to the scores."""
    x = inputs = keras.Input((None, 1))
    x = layers.Lambda(pairs, name="pairs")(x)
    x = layers.Dense(32, "swish")(x)
    x = layers.Dense(32, "swish")(x)
    scores = layers.Dense(1)(x)[..., 0]
    schedule = kg.schedules.ExponentialAnnealing(1.0, 2e-3, 0.1)
    # Relaxed in training, a permutation otherwise.
    choice = kg.GumbelSinkhorn(schedule, inference="argmax", seed=0)
    moved = layers.Dot(axes=1)([choice(scores), inputs])
    return keras.Model(inputs, moved), keras.Model(inputs, scores)


def sorted_share(moved: np.ndarray, x: np.ndarray) -> float:
    return np.mean(np.all(moved == np.sort(x, axis=1), axis=(1, 2)))


def by_argmax(scores: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.take_along_axis(x, scores.argmax(1)[..., None], axis=1)


def draw(scores: keras.Model, path: pathlib.Path) -> None:
    """The scores of one list in order, and its soft and hard permutation."""
    x = np.sort(lists(1, SIZE, 3), axis=1)
    logits = scores(x)
    soft = kg.ops.gumbel_sinkhorn(logits, 0.2, 500, noise_scale=0.0)
    hard = kg.ops.gumbel_sinkhorn(logits, hard=True, noise_scale=0.0)
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
    names = "scores", "relaxed, temperature 0.2", "best permutation"
    matrices = logits, soft, hard
    for axis, name, matrix in zip(axes, names, matrices, strict=True):
        axis.imshow(matrix[0], cmap="magma")
        axis.set(title=name, xlabel="place", xticks=range(SIZE))
        axis.set_yticks(range(SIZE), [f"{value:.2f}" for value in x[0, :, 0]])
    axes[0].set_ylabel("number")
    figure.savefig(path, dpi=120)


def main(steps: int, sizes: list[int], output: pathlib.Path) -> None:
    keras.utils.set_random_seed(0)
    model, scores = network()
    rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
    model.compile(keras.optimizers.Adam(rate), "mean_squared_error")
    x = lists(64 * steps, SIZE, seed=1)
    model.fit(x, np.sort(x, axis=1), batch_size=64, verbose=0)
    print("length   sorted by the permutation   by an argmax for each place")
    for size in sizes:
        x = lists(1000, size, seed=2)
        share = sorted_share(model.predict(x, verbose=0), x)
        argmax = by_argmax(scores.predict(x, verbose=0), x)
        print(f"{size:6} {share:20.1%} {sorted_share(argmax, x):25.1%}")
    output.mkdir(parents=True, exist_ok=True)
    draw(scores, output / "sort_numbers.png")
    print("picture:", output / "sort_numbers.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a short training")
    parser.add_argument("--output", type=pathlib.Path, default="demo-output")
    arguments = parser.parse_args()
    short = 100, [SIZE, 4]
    whole = 2000, [SIZE, 4, 16, 32]
    main(*(short if arguments.smoke else whole), arguments.output)
