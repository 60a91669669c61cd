"""Every layer and function on two replicas, as a process of its own.

    python two_replicas.py FOLDER ROW... FUNCTION...

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
    "gumbel_sort": lambda x, seed: kg.ops.gumbel_sort(x, seed=seed)[0],
    "gumbel_top_k": lambda x, seed: kg.ops.gumbel_top_k(x, 2, seed=seed)[0],
    "conditional_poisson_subset": lambda x, seed: (
        kg.ops.conditional_poisson_subset(x, 2, seed=seed)
    ),
    "sample_gumbel": lambda x, seed: kg.ops.sample_gumbel(x.shape, seed=seed),
    "gumbel_sigmoid": lambda x, seed: kg.ops.gumbel_sigmoid(x, seed=seed),
    "sample_logistic": lambda x, seed: kg.ops.sample_logistic(
        x.shape, seed=seed
    ),
}
LOGITS = np.zeros((8, 5), "float32")
# Each half of each batch has codes of its own.
CODES = np.array([0, 0, 0, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 0, 0, 7])


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


def draws(strategy, functions):
    """What each function gives on each replica, twice, in a custom loop."""

    def all_of_them():
        return {name: function() for name, function in functions.items()}

    step = tf.function(lambda: strategy.run(all_of_them), autograph=False)
    steps = [step() for _ in range(2)]
    return {
        name: [
            [
                np.asarray(value).tolist()
                for value in strategy.experimental_local_results(step[name])
            ]
            for step in steps
        ]
        for name in functions
    }


def by_functions(strategy, functions):
    """What each function drew: of an integer, of a stream, in the scope.

    Not of None: Keras keeps the generator behind it to the main thread, and
    replicas are threads. A layer without a seed has a generator of its own.
    """
    logits = tf.constant(LOGITS)
    with strategy.scope():
        stream = {name: keras.random.SeedGenerator(3) for name in functions}
        alone = {
            name: np.asarray(function(logits, 3)).tolist()
            for name, function in functions.items()
        }
    return {
        "int": draws(
            strategy,
            {n: lambda f=f: f(logits, 3) for n, f in functions.items()},
        ),
        "stream": draws(
            strategy,
            {
                n: lambda f=f, n=n: f(logits, stream[n])
                for n, f in functions.items()
            },
        ),
        "scope": alone,
    }


def by_layers(strategy, rows):
    """What each layer drew."""
    with strategy.scope():
        layers = {str(row): (row, row.create()) for row in rows}
        for row, layer in layers.values():
            layer.build(row.input_shape)
    return draws(
        strategy,
        {
            name: lambda row=row, layer=layer: layer(
                tf.constant(row.logits()), training=True
            )
            for name, (row, layer) in layers.items()
        },
    )


def by_fit(strategy, row: Row, folder: pathlib.Path):
    """What `fit` did with a layer, and with one that anneals itself."""
    x = np.repeat(row.logits(batch=1), 16, axis=0)
    target = np.zeros((16, *row.output_shape[1:]), "float32")
    with strategy.scope():
        core = row.model(seed=3)
        annealed = row.create(
            temperature=kg.schedules.ExponentialAnnealing(2.0, 0.5, 0.1)
        )
        inputs = keras.Input(core.input_shape[1:])
        model = keras.Model(
            inputs, [Recorder()(core(inputs)), annealed(inputs)]
        )
        optimizer = keras.optimizers.SGD(0.1)
        model.compile(optimizer, ["mean_squared_error"] * 2)
    layer = core.get_layer("choice")
    Recorder.seen = []
    history = model.fit(
        x,
        [target, target],
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[kg.TemperatureScheduler(schedule)],
    )
    core.save(folder / f"{row}.keras")
    core.save_weights(folder / f"{row}.weights.h5")

    def on_each_replica(variable):
        values = strategy.experimental_local_results(variable.value)
        return [float(value) for value in values]

    return {
        "seen": Recorder.seen,
        "loss": history.history["loss"],
        "temperature": history.history["temperature"],
        "temperatures": on_each_replica(layer.temperature),
        "annealed": on_each_replica(annealed.temperature),
        "inference": np.asarray(core(x[:1])).tolist(),
    }


class Counter(keras.layers.Layer):
    """Passes one-hot rows on, and counts them."""

    def __init__(self):
        super().__init__()
        self.perplexity = kg.metrics.CodePerplexity(CODES.max() + 1)
        self.usage = kg.metrics.CategoryUsage(CODES.max() + 1)

    def call(self, x):
        self.perplexity.update_state(x)
        self.usage.update_state(keras.ops.argmax(x, axis=-1))
        return x


def by_metrics(strategy):
    """What `fit` logged of the metrics, and `evaluate` of half the data."""
    x = np.eye(CODES.max() + 1, dtype="float32")[CODES]
    with strategy.scope():
        model = keras.Sequential([Counter(), keras.layers.Dense(1)])
        model.compile("sgd", "mean_squared_error")
    y = np.zeros((len(CODES), 1), "float32")
    settings = {"batch_size": 8, "verbose": 0}
    history = model.fit(x, y, epochs=2, shuffle=False, **settings)
    half = len(CODES) // 2
    evaluated = model.evaluate(x[:half], y[:half], return_dict=True, **settings)
    names = ("code_perplexity", "category_usage")
    return {
        "fit": {name: history.history[name] for name in names},
        "evaluate": {name: evaluated[name] for name in names},
    }


def main(folder: pathlib.Path, *names: str) -> None:
    """Run everything, and write it down."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    keras.utils.set_random_seed(0)
    rows = [row for row in LAYERS if str(row) in names]
    functions = {n: f for n, f in FUNCTIONS.items() if n in names}
    seen = {
        "functions": by_functions(strategy, functions),
        "loop": by_layers(strategy, rows),
        "metrics": by_metrics(strategy),
        "fit": {str(row): by_fit(strategy, row, folder) for row in rows},
    }
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
