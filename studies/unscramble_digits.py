"""Put the pieces of handwritten digits back in their places, unsupervised.

The 8 x 8 images of scikit-learn are cut into tiles and shuffled. A network
sees the tiles as a set, by attention: for each it gives a score for every
place. `GumbelSinkhorn` makes a permutation of the scores, and the loss is how
far the tiles, moved to their places, are from the digit.
Nobody tells the network which tile went where.

An image counts as solved if no pixel differs (tiles may be equal: many are
blank). Chance is what permutations at random give.
"""

import argparse
import pathlib

import keras
import matplotlib as mpl
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import keras_gumbel as kg

mpl.use("Agg")
from matplotlib import pyplot as plt

SIDE = 8


def cut(images: np.ndarray, grid: int) -> np.ndarray:
    """(batch, 8, 8) to (batch, grid * grid tiles, pixels)."""
    size = SIDE // grid
    tiles = images.reshape(-1, grid, size, grid, size).swapaxes(2, 3)
    return tiles.reshape(-1, grid * grid, size * size)


def paste(tiles: np.ndarray, grid: int) -> np.ndarray:
    size = SIDE // grid
    images = tiles.reshape(-1, grid, grid, size, size).swapaxes(2, 3)
    return images.reshape(-1, SIDE, SIDE)


def shuffle(tiles: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = rng.permuted(
        np.tile(range(tiles.shape[1]), (len(tiles), 1)), axis=1
    )
    return np.take_along_axis(tiles, order[..., None], axis=1)


def network(grid: int) -> keras.Model:
    x = inputs = keras.Input((grid**2, (SIDE // grid) ** 2))
    x = layers.Dense(64, "relu")(x)
    for _ in range(2):
        x += layers.MultiHeadAttention(4, 16)(x, x)
        x = layers.LayerNormalization()(x)
        x += layers.Dense(64)(layers.Dense(128, "relu")(x))
        x = layers.LayerNormalization()(x)
    scores = layers.Dense(grid**2)(x)
    schedule = kg.schedules.ExponentialAnnealing(1.0, 2e-3, 0.2)
    choice = kg.GumbelSinkhorn(schedule, inference="argmax", seed=0)
    return keras.Model(inputs, layers.Dot(axes=1)([choice(scores), inputs]))


def train(grid: int, tiles: np.ndarray, epochs: int) -> keras.Model:
    """Every epoch shuffles the tiles anew."""
    rng = np.random.default_rng(1)
    model = network(grid)
    steps = epochs * len(tiles) // 64
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "mean_squared_error")
    x = np.concatenate([shuffle(tiles, rng) for _ in range(epochs)])
    y = np.concatenate([tiles] * epochs)
    model.fit(x, y, batch_size=64, verbose=0)
    return model


def solved(restored: np.ndarray, tiles: np.ndarray) -> str:
    """How many tiles look as they should, and how many images."""
    right = np.abs(restored - tiles).max(axis=-1) < 1e-6
    return f"tiles {right.mean():6.1%}, digits {right.all(axis=-1).mean():6.1%}"


def main(epochs: int, output: pathlib.Path) -> None:
    images = load_digits().images.astype("float32") / 16
    rows = []
    for grid in (2, 4):
        keras.utils.set_random_seed(0)
        tiles = cut(images, grid)
        rng = np.random.default_rng(0)
        tiles = tiles[rng.permutation(len(tiles))]
        training = tiles[:1437]
        test = tiles[1437:]
        model = train(grid, training, epochs)
        scrambled = shuffle(test, rng)
        restored = model.predict(scrambled, verbose=0)
        print(f"{grid} x {grid} tiles: {solved(restored, test)}")
        print(f"   by chance: {solved(scrambled, test)}")
        rows += [paste(each[:12], grid) for each in (scrambled, restored, test)]
    names = ["scrambled", "restored", "true"] * 2
    figure, axes = plt.subplots(6, 12, figsize=(9, 4.8), layout="constrained")
    for name, line, row in zip(names, axes, rows, strict=True):
        for axis, image in zip(line, row, strict=True):
            axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "unscramble_digits.png", dpi=120)
    print("picture:", output / "unscramble_digits.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few epochs")
    parser.add_argument("--output", type=pathlib.Path, default="demo-output")
    arguments = parser.parse_args()
    main(4 if arguments.smoke else 60, arguments.output)
