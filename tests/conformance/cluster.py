"""What each strategy of `tf.distribute` can do, in processes of their own.

    python cluster.py FOLDER KIND

One process of those on 127.0.0.1 that `TF_CONFIG` names. What it saw is written
to FOLDER, and judged in `test_cluster.py`.
"""

import json
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import STAYING

X = np.zeros((8, 4), "float32")
COMMUNICATION = ("Collective", "AllReduce", "Nccl", "Send", "Recv")


def sampled():
    """The layer whose noise each process is to draw for itself."""
    return kg.GumbelSoftmax(hard=True, seed=0)


def network(choice):
    """Two layers with weights, and a choice between them."""
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, kernel_initializer="zeros"),
            choice,
            keras.layers.Dense(4),
        ]
    )


def error_of_fit(strategy, choice=keras.layers.Softmax, **settings):
    """What `fit` raises, if it does: of a model with nothing of ours in it."""
    with strategy.scope():
        model = network(choice())
        model.compile("sgd", "mse", **settings)
    data = tf.data.Dataset.from_tensor_slices((X, X)).batch(4).repeat()
    try:
        model.fit(data, steps_per_epoch=4, verbose=0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def trainer(strategy, choice):
    """A training step of a custom loop, to be run by each replica."""
    with strategy.scope():
        model = network(choice())
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables)

    def replica():
        with tf.GradientTape() as tape:
            y = model(tf.constant(X), training=True)
            loss = tf.reduce_mean(tf.square(y - 1))
        optimizer.apply(tape.gradient(loss, model.trainable_weights))
        return loss

    return replica


def communication(strategy, choice):
    """The operations of a training step that speak with other replicas."""
    replica = trainer(strategy, choice)
    step = tf.function(lambda: strategy.run(replica), autograph=False)
    graph = step.get_concrete_function().graph
    definition = graph.as_graph_def(add_shapes=True)
    nodes = list(definition.node)
    for function in definition.library.function:
        nodes += function.node_def
    return sorted(
        [node.op, _numbers(node)]
        for node in nodes
        if any(name in node.op for name in COMMUNICATION)
    )


def _numbers(node):
    """How many numbers an operation gives."""
    (shape,) = node.attr["_output_shapes"].list.shape
    return int(np.prod([dim.size for dim in shape.dim]))


def mirrored():
    """Two replicas in one process."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return {
        "fit": error_of_fit(strategy, sampled),
        "jit_compile": error_of_fit(strategy, jit_compile=True),
        "steps_per_execution": error_of_fit(strategy, steps_per_execution=2),
    }


def multi_worker():
    """One of the workers that work in step."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    index = strategy.cluster_resolver.task_id
    with strategy.scope():
        choice = sampled()
        perplexity = kg.metrics.CodePerplexity(4)

    def count():
        perplexity.update_state(tf.constant([index, 2]))
        return choice(tf.zeros((64, 4)), training=True)

    step = tf.function(lambda: strategy.run(count), autograph=False)
    return {
        "fit": error_of_fit(strategy),
        "draws": [step().numpy().tolist() for _ in range(2)],
        "stream": choice.seed_generator.state.numpy().tolist(),
        "perplexity": float(perplexity.result()),
        "with a layer": communication(strategy, sampled),
        "with a softmax": communication(strategy, keras.layers.Softmax),
        "with a codebook": communication(
            strategy, lambda: kg.GumbelQuantizer(4, 4, seed=0, **STAYING)
        ),
    }


def parameter_server():
    """The chief, which schedules; or what it schedules on, without an end."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if resolver.task_type != "chief":
        tf.distribute.Server(
            resolver.cluster_spec(),
            job_name=resolver.task_type,
            task_index=resolver.task_id,
            protocol="grpc",
        ).join()
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    cooling = kg.schedules.ExponentialAnnealing(1.0, 0.01, 0.1)
    with strategy.scope():
        one = kg.GumbelSoftmax(cooling, hard=True, seed=0)
        each = [kg.GumbelSoftmax(hard=True, seed=seed) for seed in range(2)]
    logits = tf.zeros((64, 4))

    @tf.function(autograph=False)
    def draw():
        return strategy.run(lambda: one(logits, training=True))

    @tf.function(autograph=False)
    def draw_of_worker():
        index = (
            tf.distribute.coordinator.experimental_get_current_worker_index()
        )
        return tf.switch_case(
            tf.cast(index, "int32"),
            [lambda c=c: c(logits, training=True) for c in each],
        )

    replica = trainer(strategy, lambda: one)
    train = tf.function(lambda: strategy.run(replica), autograph=False)

    def in_turn(function, steps):
        return [coordinator.schedule(function).fetch() for _ in range(steps)]

    draws = [x.tolist() for x in in_turn(draw, 8)]
    overlapping = [coordinator.schedule(draw_of_worker) for _ in range(200)]
    coordinator.join()
    return {
        "losses": [float(x) for x in in_turn(train, 30)],
        "draws": draws,
        "stream": one.seed_generator.state.numpy().tolist(),
        "temperature": float(one.temperature.numpy()),
        "different": len({x.fetch().tobytes() for x in overlapping}),
        "of workers": [int(c.seed_generator.state.numpy()[1]) for c in each],
        "fit": error_of_fit(strategy),
    }


def main(folder: pathlib.Path, kind: str) -> None:
    """Run it, and write it down."""
    keras.utils.set_random_seed(0)
    kinds = {
        "mirrored": mirrored,
        "multi_worker": multi_worker,
        "parameter_server": parameter_server,
    }
    seen = kinds[kind]()
    task = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    (folder / f"{task.task_id or 0}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
