"""Print, as JSON, what arrays and a model on two devices give beside one.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python -m \
        tests.jax.two_devices

It is run in a process of its own: the number of devices is fixed when JAX is
imported.
"""

import collections
import json
import re

import jax
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import keras_gumbel as kg

ROWS, CLASSES = 64, 1000
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, CLASSES)).astype("float32")
W = RNG.normal(size=(ROWS, CLASSES)).astype("float32")
TABLE = RNG.normal(size=(CLASSES, 16)).astype("float32")

SAMPLES = {
    "noise": lambda x: x + kg.ops.sample_gumbel(x.shape, seed=3),
    "soft": lambda x: kg.ops.gumbel_softmax(x, 0.5, seed=3),
    "gates": lambda x: kg.ops.gumbel_sigmoid(x, hard=True, seed=3),
    "hard concrete": lambda x: kg.ops.hard_concrete(x, seed=3),
    "hard": lambda x: kg.ops.gumbel_softmax(x, hard=True, seed=3),
    "st": lambda x: kg.ops.gumbel_softmax(x, hard=True, estimator="st", seed=3),
    "embedding": lambda x: kg.ops.sample_embedding(x, TABLE, seed=3),
    "subset": lambda x: kg.ops.gumbel_top_k(x, 3, hard=True, seed=3)[0],
}


def collectives(function, x):
    """The kinds of messages between devices, with the numbers in a row."""
    text = jax.jit(function).lower(x).compile().as_text()
    found = re.findall(
        r"= \w+\[(\d+(?:,\d+)*)\]\S* (all-\w+|collective-\w+|reduce-scatter)\(",
        text,
    )
    return sorted(
        {
            (kind, int(np.prod([int(n) for n in shape.split(",")])) // ROWS)
            for shape, kind in found
        }
    )


def gradient(function):
    def total(x):
        y = function(x)
        return keras.ops.sum(y * W[:, : y.shape[-1]])

    return jax.grad(total)


def compare(function):
    """Of the two: what differs, and what is sent."""
    both = jax.device_put(X, SHARDED)
    value = [np.asarray(jax.jit(function)(x)) for x in (X, both)]
    slope = [np.asarray(jax.jit(gradient(function))(x)) for x in (X, both)]
    return {
        "equal": bool(np.array_equal(*value)),
        "gradient": float(np.abs(slope[0] - slope[1]).max()),
        "sent": collectives(function, both),
        "sent backward": collectives(gradient(function), both),
    }


def fitted(distribution):
    """The weights and the stream after an epoch of `fit`."""
    keras.utils.set_random_seed(1)
    keras.distribution.set_distribution(distribution)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8),
            kg.GumbelSoftmax(hard=True, seed=5),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    model.fit(X[:, :6], X[:, 6:7], batch_size=16, verbose=0, shuffle=False)
    return [np.asarray(x, "float64") for x in model.get_weights()]


if __name__ == "__main__":
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    SHARDED = NamedSharding(mesh, PartitionSpec("batch", None))
    told = {name: compare(sample) for name, sample in SAMPLES.items()}
    weights = [fitted(None), fitted(keras.distribution.DataParallel())]
    told["fit"] = max(
        float(np.abs(one - other).max())
        for one, other in zip(*weights, strict=True)
    )
    told["devices"] = collections.Counter(d.platform for d in jax.devices())
    print(json.dumps(told))
