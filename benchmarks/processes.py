"""A training step over processes, with a sampling layer and without.

    python benchmarks/processes.py --output benchmarks/results

1, 2 and 4 processes on 127.0.0.1, of one thread each, train two copies of a
small network in a custom loop under `MultiWorkerMirroredStrategy`: one with a
hard `GumbelSoftmax`, one with a softmax in its place. The difference is what
the layer costs. Writes `processes.json` and `processes.md`.
"""

import argparse
import json
import multiprocessing
import os
import signal
import socket
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from measure import environment, head, save

import keras_gumbel as kg

COUNTS = (1, 2, 4)
# Batch of one process, and number of classes.
WEAK = [(1024, 512), (4096, 512), (1024, 2048)]
STRONG = {count: (4096 // count, 512) for count in COUNTS}
LAYERS = {
    "softmax": keras.layers.Softmax,
    "GumbelSoftmax": lambda: kg.GumbelSoftmax(0.5, hard=True, seed=0),
}
REPEAT = 5
DEADLINE = 560


def trainer(strategy, layer, batch, classes):
    """`run()`: a few steps, of which the last is waited for."""
    with strategy.scope():
        inputs = keras.Input((32,))
        choice = layer()(keras.layers.Dense(classes)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(32)(choice))
        optimizer = keras.optimizers.SGD(0.01)
        optimizer.build(model.trainable_variables)
    x = tf.random.stateless_normal((batch, 32), (0, 0))

    def replica():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - x))
        optimizer.apply(tape.gradient(loss, model.trainable_weights))
        return loss

    step = tf.function(lambda: strategy.run(replica), autograph=False)

    def run():
        for _ in range(REPEAT):
            loss = step()
        return loss.numpy()

    return run


def work(index, ports, path, rounds):
    """One of the processes. They keep step by themselves."""
    signal.alarm(DEADLINE)
    task = {"type": "worker", "index": index}
    config = json.dumps({"cluster": {"worker": ports}, "task": task})
    os.environ |= {"TF_CONFIG": config, "no_grpc_proxy": "127.0.0.1"}
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    found = []
    for shape in dict.fromkeys([*WEAK, STRONG[len(ports)]]):
        steps = {
            name: trainer(strategy, layer, *shape)
            for name, layer in LAYERS.items()
        }
        times = {name: [] for name in steps}
        for turn in range(rounds + 1):
            for name, run in steps.items():
                start = time.perf_counter()
                run()
                if turn:  # the first compiles
                    seconds = time.perf_counter() - start
                    times[name].append(seconds / REPEAT)
        medians = {name: statistics.median(t) for name, t in times.items()}
        found.append({"batch": shape[0], "classes": shape[1], **medians})
    if index == 0:
        path.write_text(json.dumps(found))


def measured(count, rounds):
    """What the first of so many processes measured."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [f"127.0.0.1:{one.getsockname()[1]}" for one in free]
    for one in free:
        one.close()
    process = multiprocessing.get_context("spawn").Process
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "found.json")
        workers = [
            process(target=work, args=(index, ports, path, rounds))
            for index in range(count)
        ]
        for worker in workers:
            worker.start()
        while None in (ends := [worker.exitcode for worker in workers]):
            if any(ends):
                break
            time.sleep(0.1)
        for worker in workers:
            worker.kill()
            worker.join()
        if any(ends):
            raise SystemExit(f"a process of {count} ended early: {ends}")
        return json.loads(path.read_text())


def row(count, entry):
    softmax, ours = (entry[name] * 1e3 for name in LAYERS)
    return (
        f"| {count} | {entry['batch']} | {entry['classes']} | {softmax:.2f} "
        f"| {ours:.2f} | {ours - softmax:.2f} | {ours / softmax:.2f} |"
    )


def table(results, wanted):
    lines = [
        "| processes | batch of each | classes | softmax | GumbelSoftmax "
        "| difference | ratio |",
        "|-|-|-|-|-|-|-|",
    ]
    for shapes in wanted:
        for count, shape in shapes.items():
            lines += [
                row(count, entry)
                for entry in results[count]
                if (entry["batch"], entry["classes"]) == shape
            ]
    return "\n".join(lines) + "\n"


def report(versions, results):
    weak = table(results, [dict.fromkeys(COUNTS, shape) for shape in WEAK])
    return (
        f"{head(versions)}\n\nMilliseconds of a training step (Dense, the "
        "choice, Dense; median, in turn) in processes of one thread each.\n\n"
        f"The same batch for each process:\n\n{weak}\n"
        f"The same batch for all together:\n\n{table(results, [STRONG])}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    results = {count: measured(count, options.rounds) for count in COUNTS}
    versions = environment("keras-gumbel", "tensorflow", "keras")
    data = {"environment": versions, "seconds": results}
    save(options.output, "processes", report(versions, results), data)


if __name__ == "__main__":
    main()
