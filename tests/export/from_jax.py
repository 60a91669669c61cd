"""Print, as JSON, how SavedModels that Keras on JAX writes differ from it.

KERAS_BACKEND=jax python -m tests.export.from_jax FOLDER
"""

import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_gumbel as kg

LAYERS = {
    "GumbelSoftmax": lambda: kg.GumbelSoftmax(0.5, hard=True, seed=3),
    "SampleArgmaxIndex": lambda: kg.SampleArgmaxIndex(0.5, seed=3),
    "GumbelSigmoid": lambda: kg.GumbelSigmoid(0.5, hard=True, seed=3),
    "HardConcreteGate": lambda: kg.HardConcreteGate(seed=3),
    "GumbelTopK": lambda: kg.GumbelTopK(3, seed=3),
    "GumbelEmbedding": lambda: kg.GumbelEmbedding(16, 4, seed=3),
    "GumbelQuantizer": lambda: kg.GumbelQuantizer(8, 4, seed=3),
    "GumbelSinkhorn": lambda: kg.GumbelSinkhorn(hard=True, seed=3),
}
X = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
CALLS = 3


def model(layer):
    square = isinstance(layer, kg.GumbelSinkhorn)
    shape = (4, 4) if square else (16,)
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16),
            keras.layers.Reshape(shape),
            layer,
        ]
    )


def arrays(y):
    return [np.asarray(part, "float64") for part in keras.tree.flatten(y)]


def difference(ours, theirs):
    pairs = zip(arrays(ours), arrays(theirs), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def told(name, path):
    """Of inference, and of the samples of some calls, one after the other."""
    keras.utils.set_random_seed(1)
    written = model(LAYERS[name]())
    # A fixed batch too, of which JAX has a program already.
    written(X, training=True)
    written.layers[-1].seed_generator.state.assign(np.array([3, 0], "uint32"))
    kg.export.export_with_sampling(written, path)
    loaded = tf.saved_model.load(path)
    samples = [loaded.sample(X) for _ in range(CALLS)]
    moves = difference(samples[0], samples[1])
    return {
        "inference": difference(written(X), loaded.serve(X)),
        "sample": max(
            difference(written(X, training=True), sample) for sample in samples
        ),
        "moves": moves,
    }


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    found = {name: told(name, str(folder / name)) for name in LAYERS}
    print(json.dumps(found))
