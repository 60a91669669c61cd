"""Codebooks trained on two replicas, as a process of its own.

Prints, for each layer, by how much the replicas' weights differ.
"""

import json

import keras
import numpy as np
import tensorflow as tf

import keras_gumbel as kg

LAYERS = {
    "ema": lambda: kg.VectorQuantizer(40, 2, 2, restart_after=2, seed=3),
    "loss": lambda: kg.VectorQuantizer(
        40, 2, 2, update="loss", restart_after=2, seed=3
    ),
    "projection": lambda: kg.GumbelQuantizer(40, 6, 2, restart_after=2, seed=3),
    "distance": lambda: kg.GumbelQuantizer(
        40, 6, 2, similarity="distance", restart_after=2, seed=3
    ),
}


def main():
    """Fit each, and look at the variables of both replicas."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    found = {}
    for name, make in LAYERS.items():
        keras.utils.set_random_seed(0)
        with strategy.scope():
            inputs = keras.Input((6,))
            layer = make()
            model = keras.Model(inputs, layer(inputs))
            model.compile(keras.optimizers.SGD(0.1), "mean_squared_error")
        model.fit(x, x, batch_size=16, epochs=2, shuffle=False, verbose=0)
        apart = []
        for weight in model.weights:
            both = strategy.experimental_local_results(weight.value)
            a, b = (np.asarray(one) for one in both)
            apart.append(float(np.abs(a - b).max()))
        used = len(np.unique(np.asarray(layer.encode(x)), axis=0))
        found[name] = {"apart": max(apart), "used": used}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
