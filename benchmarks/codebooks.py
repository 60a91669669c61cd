"""Codebooks on scikit-learn's digits: how many codes live, and what is lost.

    python benchmarks/codebooks.py --output benchmarks/results

An autoencoder (encoder 64-128-32, decoder 128-64, Adam 1e-3, batches of 100)
learns through each bottleneck, from five seeds. Reported are the mean square
error on a held-out fifth, and the codes in use: those that `encode` gives for
the training rows. Writes `codebooks.json` and `codebooks.md`.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from measure import environment, head, save
from sklearn.datasets import load_digits

import keras_gumbel as kg

WIDTH = 32
# After three numbers, 128 units whose biases are 0 all bend at the origin.
AS_TORCH_BEGINS = ", with the initial weights of torch"


def bottlenecks():
    """Name -> (bottleneck, its width)."""
    return {
        "GumbelQuantizer(512, 32)": (
            lambda: kg.GumbelQuantizer(512, WIDTH, name="codes"),
            WIDTH,
        ),
        "FiniteScalarQuantizer((8, 8, 8))": (
            lambda: kg.FiniteScalarQuantizer((8, 8, 8), name="codes"),
            3,
        ),
        f"FiniteScalarQuantizer((8, 8, 8)){AS_TORCH_BEGINS}": (
            lambda: kg.FiniteScalarQuantizer((8, 8, 8), name="codes"),
            3,
        ),
        "FiniteScalarQuantizer((2,) * 9, entropy_weight=0.01)": (
            lambda: kg.FiniteScalarQuantizer(
                (2,) * 9, entropy_weight=0.01, name="codes"
            ),
            9,
        ),
        "VectorQuantizer(512)": (lambda: vector(512), WIDTH),
        "VectorQuantizer(512, update='loss')": (
            lambda: vector(512, update="loss"),
            WIDTH,
        ),
        "VectorQuantizer(64, num_stages=4)": (
            lambda: vector(64, num_stages=4),
            WIDTH,
        ),
        "VectorQuantizer(64, num_stages=4, update='loss')": (
            lambda: vector(64, num_stages=4, update="loss"),
            WIDTH,
        ),
    }


def vector(*sizes, **settings):
    """A VectorQuantizer."""
    return kg.VectorQuantizer(*sizes, name="codes", **settings)


def digits():
    """Images in [0, 1], a fifth of them held out."""
    images = load_digits().data.astype("float32") / 16
    order = np.random.default_rng(0).permutation(len(images))
    held_out = len(images) // 5
    return images[order[held_out:]], images[order[:held_out]]


def dense_of_keras(units, inputs, **settings):
    """A dense layer of no bias at first."""
    del inputs
    return keras.layers.Dense(units, **settings)


def dense_of_torch(units, inputs, **settings):
    """One that begins as `torch.nn.Linear`, with biases."""
    limit = inputs**-0.5
    return keras.layers.Dense(
        units,
        kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
        bias_initializer=keras.initializers.RandomUniform(-limit, limit),
        **settings,
    )


def autoencoder(bottleneck, width, dense):
    """Encoder, codes and decoder."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            dense(128, 64, activation="relu"),
            dense(width, 128),
            bottleneck,
            dense(128, width, activation="relu"),
            dense(64, 128),
        ]
    )


def run(make, width, epochs, seed, dense=dense_of_keras):
    """Test error, and the codes of each stage and group in use."""
    keras.utils.set_random_seed(seed)
    train, test = digits()
    codes = make()
    model = autoencoder(codes, width, dense)
    model.compile(keras.optimizers.Adam(1e-3), "mean_squared_error")
    model.fit(train, train, batch_size=100, epochs=epochs, verbose=0)
    # The losses that layers add are no part of it.
    error = np.mean((model.predict(test, verbose=0) - test) ** 2)
    features = keras.Sequential(model.layers[:2])
    found = keras.ops.convert_to_numpy(codes.encode(features(train)))
    found = found.reshape(len(train), -1)
    used = [len(np.unique(column)) for column in found.T]
    return {"mse": float(error), "used": used}


def row(name, epochs, results):
    """Mean and worst over the seeds."""
    errors = [one["mse"] for one in results]
    used = [np.mean(one["used"]) for one in results]
    worst = min(min(one["used"]) for one in results)
    return (
        f"| {name} | {epochs} | {np.mean(errors):.4f} ({max(errors):.4f}) "
        f"| {np.mean(used):.0f} ({worst}) |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, nargs="+", default=[40, 160])
    parser.add_argument("--only", nargs="*", help="names of bottlenecks")
    options = parser.parse_args()
    lines = [
        "| bottleneck | epochs | test mse, mean (worst) "
        "| codes in use, mean (worst) |",
        "|-|-|-|-|",
    ]
    data = {}
    for name, (make, width) in bottlenecks().items():
        if options.only and name not in options.only:
            continue
        at_random = name.endswith(AS_TORCH_BEGINS)
        dense = dense_of_torch if at_random else dense_of_keras
        for epochs in options.epochs:
            start = time.time()
            results = [
                run(make, width, epochs, seed, dense)
                for seed in range(options.seeds)
            ]
            data[f"{name}, {epochs}"] = results
            lines.append(row(name, epochs, results))
            print(lines[-1], f"{time.time() - start:.0f} s", flush=True)
    versions = environment("keras-gumbel", "tensorflow", "keras")
    table = "\n".join(lines)
    text = f"{head(versions)}\n\n{options.seeds} seeds.\n\n{table}\n"
    save(options.output, "codebooks", text, {"environment": versions, **data})


if __name__ == "__main__":
    main()
