"""Every layer and function on two replicas, as a process of its own.

    python two_replicas.py FOLDER

TensorFlow divides a CPU into logical devices only before it starts. What was
seen is written to FOLDER, and judged in `test_distribution.py`.
"""

import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, Row

FUNCTIONS = {
    "gumbel_softmax": lambda x, seed: kg.ops.gumbel_softmax(x, seed=seed),
    "gumbel_softmax hard": lambda x, seed: kg.ops.gumbel_softmax(
        x, hard=True, seed=seed
    ),
    "sample_argmax_index": lambda x, seed: kg.ops.sample_argmax_index(
        x, seed=seed
    ),
    "sample_gumbel": lambda x, seed: kg.ops.sample_gumbel(x.shape, seed=seed),
}
LOGITS = np.zeros((8, 5), "float32")


def schedule(step):
    """Of `TemperatureScheduler`."""
    return 1.0 / (1 + step)


class Recorder(keras.layers.Layer):
    """Passes its input on, and notes what each replica saw in training."""

    seen: list = []

    def call(self, x, training=None):
        if not training:
            return x

        def note(value, replica):
            Recorder.seen.append((int(replica), value.tolist()))
            return value

        replica = tf.distribute.get_replica_context()
        noted = tf.numpy_function(
            note, [x, replica.replica_id_in_sync_group], x.dtype
        )
        return tf.ensure_shape(x + 0 * tf.stop_gradient(noted), x.shape)


def draws(strategy, function, times=2):
    """`function()` on each replica, in a custom loop."""
    step = tf.function(lambda: strategy.run(function))
    values = (strategy.experimental_local_results(step()) for _ in range(times))
    return [[np.asarray(v).tolist() for v in value] for value in values]


def by_functions(strategy):
    """What each function drew, by kind of seed.

    Not of None: Keras keeps the generator behind it to the main thread, and
    replicas are threads. A layer without a seed has a generator of its own.
    """
    seen = {}
    for name, function in FUNCTIONS.items():
        seen[name] = {}
        with strategy.scope():
            generator = keras.random.SeedGenerator(3)
        for kind, seed in {"int": 3, "stream": generator}.items():
            seen[name][kind] = draws(
                strategy, lambda f=function, s=seed: f(tf.constant(LOGITS), s)
            )
        # In the scope, but on no replica.
        with strategy.scope():
            alone = function(tf.constant(LOGITS), 3)
        seen[name]["scope"] = np.asarray(alone).tolist()
    return seen


def by_fit(strategy, row: Row, folder: pathlib.Path):
    """What `fit` and `predict` did with a layer."""
    x = np.repeat(row.logits(batch=1), 16, axis=0)
    target = np.zeros((16, *row.output_shape[1:]), "float32")
    with strategy.scope():
        core = row.model(seed=3)
        inputs = keras.Input(core.input_shape[1:])
        model = keras.Model(inputs, Recorder()(core(inputs)))
        optimizer = keras.optimizers.SGD(0.1)
        model.compile(optimizer, "mean_squared_error")
    layer = core.get_layer("choice")
    Recorder.seen = []
    history = model.fit(
        x,
        target,
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[kg.TemperatureScheduler(schedule)],
    )
    temperatures = strategy.experimental_local_results(layer.temperature.value)
    core.save(folder / f"{row}.keras")
    core.save_weights(folder / f"{row}.weights.h5")
    return {
        "seen": Recorder.seen,
        "loss": history.history["loss"],
        "temperature": history.history["temperature"],
        "temperatures": [float(value) for value in temperatures],
        "inference": core.predict(x, verbose=0).tolist(),
    }


def by_schedule(strategy, row: Row):
    """The temperature, on each replica, of a layer that anneals itself."""
    x = row.logits(batch=16)
    target = np.zeros((16, *row.output_shape[1:]), "float32")
    with strategy.scope():
        model = row.model(
            seed=3,
            temperature=kg.schedules.ExponentialAnnealing(2.0, 0.5, 0.1),
        )
        model.compile("sgd", "mean_squared_error")
    model.fit(x, target, batch_size=8, epochs=2, verbose=0)
    temperature = model.get_layer("choice").temperature.value
    values = strategy.experimental_local_results(temperature)
    return [float(value) for value in values]


def main(folder: pathlib.Path) -> None:
    """Run everything, and write it down."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    keras.utils.set_random_seed(0)
    seen = {"functions": by_functions(strategy), "layers": {}}
    for row in LAYERS:
        with strategy.scope():
            layer = row.create()
        x = tf.constant(row.logits())
        seen["layers"][str(row)] = {
            "loop": draws(strategy, lambda f=layer, x=x: f(x, training=True)),
            "fit": by_fit(strategy, row, folder),
            "schedule": by_schedule(strategy, row),
        }
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
