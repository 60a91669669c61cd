"""Bits against error: every codebook layer, on digits and on photographs.

An autoencoder (encoder 64-128-32, decoder 128-64) of scikit-learn's digits, and
of 8 x 8 pixels of its two photographs, learns through each of the layers that
make integers, at 3 to 24 bits an example. The program reports the mean square
error on held-out examples, and how many of the bits the codes use.
"""

import argparse
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_sample_images

import keras_gumbel as kg

# numbers before a codebook; columns of a photograph from EDGE on are for tests
WIDTH = 32
EDGE = 512
BITS = (3, 6, 9, 12, 18, 24)
Sampled = partial(kg.VectorQuantizer, noise_scale=0.1)
Binary = partial(kg.FiniteScalarQuantizer, entropy_weight=0.01)


def vectors(layer, bits: int):
    """One table up to 9 bits, then stages of 6 bits each."""
    if bits > 9:
        return WIDTH, layer(64, num_stages=bits // 6)
    return WIDTH, layer(2**bits)


def projected(bits: int):
    """One table up to 9 bits, then groups of 6 bits each, as stages have."""
    if bits > 9:
        groups = bits // 6
        size = WIDTH - WIDTH % groups
        return WIDTH, kg.GumbelQuantizer(64, size, num_groups=groups)
    return WIDTH, kg.GumbelQuantizer(2**bits, WIDTH)


def rounded(layer, levels: int, bits: int):
    """Numbers of so many levels, at the scale for which the layer is made."""
    numbers = bits // int(np.log2(levels))
    norm = layers.BatchNormalization(center=False, scale=False)
    return numbers, norm, layer((levels,) * numbers)


LAYERS = {
    "VectorQuantizer": partial(vectors, kg.VectorQuantizer),
    "VectorQuantizer, sampled": partial(vectors, Sampled),
    "GumbelQuantizer": projected,
    "FiniteScalarQuantizer, 8 levels": partial(
        rounded, kg.FiniteScalarQuantizer, 8
    ),
    "FiniteScalarQuantizer, 2 levels": partial(rounded, Binary, 2),
}


def digits():
    """Images in [0, 1], some of them held out."""
    images = load_digits().data.astype("float32") / 16
    order = np.random.default_rng(0).permutation(len(images))
    return images[order[397:]], images[order[:397]]


def photographs():
    """Grey squares in [0, 1] of the left columns, and of the right."""
    grey = np.stack(load_sample_images().images).mean(axis=-1) / 255
    grey = grey[:, :424].astype("float32")
    train = np.random.default_rng(0).permutation(squares(grey[..., :EDGE]))
    return train[:6700], squares(grey[..., EDGE:])


def squares(images):
    count, height, width = images.shape
    cut = images.reshape(count, height // 8, 8, width // 8, 8)
    return cut.swapaxes(2, 3).reshape(-1, 64)


def train(make, data, epochs: int, seed: int) -> keras.Sequential:
    keras.utils.set_random_seed(seed)
    width, *bottleneck = make()
    dense = layers.Dense
    encoder = [keras.Input((64,)), dense(128, "relu"), dense(width)]
    decoder = [dense(128, "relu"), dense(64)]
    model = keras.Sequential([*encoder, *bottleneck, *decoder])
    model.compile(keras.optimizers.Adam(1e-3), "mean_squared_error")
    model.fit(data, data, batch_size=100, epochs=epochs, verbose=0)
    return model


def bits_in_use(layer, features) -> float:
    """The entropies of the stages, the groups or the numbers, added up."""
    parts = layer.encode(features)
    if isinstance(layer, kg.FiniteScalarQuantizer):
        parts = layer.decode(parts)  # a code is all numbers in one
    parts = ops.convert_to_numpy(parts)
    total = 0.0
    for part in parts.reshape(len(parts), -1).T:
        _, counts = np.unique(part, return_counts=True)
        share = counts / len(part)
        total -= np.sum(share * np.log2(share))
    return total


def clusters(bits: int, data, test) -> float:
    """The error by the nearest of 2**bits means, without a network."""
    fitted = KMeans(2**bits, n_init=1, random_state=0).fit(data)
    nearest = fitted.cluster_centers_[fitted.predict(test)]
    return np.mean((nearest - test) ** 2)


def error_of(model, test):
    restored = ops.convert_to_numpy(model(test))
    return np.mean((restored - test) ** 2)


def measured(data, test, every_bits, epochs: int, seeds: int):
    """Name -> bits -> mean error; and the error where nothing is coded."""
    errors = {}
    for name, family in LAYERS.items():
        for bits in every_bits:
            found = []
            for seed in range(seeds):
                model = train(partial(family, bits), data, epochs, seed)
                error = error_of(model, test)
                features = keras.Sequential(model.layers[:-3])(data)
                used = bits_in_use(model.layers[-3], features)
                found.append((error, used))
            mean, used = np.mean(found, axis=0)
            worst = np.max(found, axis=0)[0]
            errors.setdefault(name, {})[bits] = mean
            print(f"{name:32}{bits:4}{mean:9.5f}{worst:9.5f}{used:7.1f}")
    name = "k-means, no network"
    errors[name] = {
        bits: clusters(bits, data, test) for bits in every_bits if bits < 12
    }
    for bits, error in errors[name].items():
        print(f"{name:32}{bits:4}{error:9.5f}")
    model = train(lambda: (WIDTH,), data, epochs, 0)
    without = error_of(model, test)
    print(f"{'32 numbers, no codes':32}   -{without:9.5f}")
    return errors, without


def draw(axis, errors, without: float, title: str) -> None:
    for name, row in errors.items():
        style = "k.:" if "means" in name else "o-"
        axis.plot([*row], [*row.values()], style, markersize=4, label=name)
    axis.axhline(without, color="grey", label="32 numbers, no codes")
    axis.set(title=title, xlabel="bits an example", xticks=BITS, yscale="log")


def main(output: Path, seeds: int, smoke: bool) -> None:
    every_bits = BITS
    runs = {"digits": (digits(), 40), "photographs": (photographs(), 10)}
    if smoke:
        every_bits = BITS[2::3]
        seeds = 1
        runs = {"photographs": (photographs(), 2)}
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(1, len(runs), squeeze=False)[0]
    print("layer                           bits    error    worst  in use")
    for axis, title in zip(axes, runs, strict=True):
        (data, test), epochs = runs[title]
        print(f"{title}: variance {test.var():.5f}")
        errors, without = measured(data, test, every_bits, epochs, seeds)
        draw(axis, errors, without, title)
    axes[0].set(ylabel="mean square error, held out")
    names = axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=4)
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "codebooks.png", dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
