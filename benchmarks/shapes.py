"""What sizes that were not met before cost: each layer, eager and graph.

    python benchmarks/shapes.py --output benchmarks/results

A forward and backward pass at each of many new sizes, in units of the first
one, which traces and compiles; an epoch of `fit` of 40 batch sizes beside one
of a plain softmax; and the memory that 120 sizes keep. Each in a process of
its own, where nothing is compiled yet. Writes `shapes.json` and `shapes.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from measure import environment, head, save
from memory import settled

import keras_gumbel as kg

LAYERS = {
    "GumbelSoftmax": lambda k: kg.GumbelSoftmax(),
    "GumbelSoftmax, hard": lambda k: kg.GumbelSoftmax(hard=True),
    "GumbelSoftmax, reinmax": lambda k: kg.GumbelSoftmax(
        hard=True, estimator="reinmax"
    ),
    "SampleArgmaxIndex": lambda k: kg.SampleArgmaxIndex(hard=True),
    "GumbelSigmoid": lambda k: kg.GumbelSigmoid(hard=True),
    "GumbelTopK": lambda k: kg.GumbelTopK(3),
    "GumbelEmbedding": lambda k: kg.GumbelEmbedding(k, 16),
    "GumbelQuantizer": lambda k: kg.GumbelQuantizer(k, 16),
    "HardConcreteGate": lambda k: kg.HardConcreteGate(),
    "GumbelSinkhorn": lambda k: kg.GumbelSinkhorn(),
}
# Name: the shapes, the first of which is met before the clock starts.
SIZES = {
    "batches": [(n, 10) for n in range(41, 84)],
    "lengths": [(4, n, 300) for n in range(23, 49)],
    "classes": [(8, k) for k in range(23, 61)],
    "matrices": [(8, n, n) for n in range(7, 17)],
}
# The first call at one size is of a program that none of the others has.
FIRST = {
    "batches": (9, 10),
    "lengths": (4, 5, 300),
    "classes": (8, 18),
    "matrices": (8, 5, 5),
}


# These have weights for each class: another number is another layer, and in a
# graph it is known.
OF_CLASSES = ("GumbelEmbedding", "GumbelQuantizer", "HardConcreteGate")


def columns_of(layer):
    """The kinds of sizes that a layer takes, and how."""
    kinds = ["batches", "lengths", "classes"]
    if layer == "GumbelSinkhorn":
        kinds = ["matrices"]
    for kind in kinds:
        yield kind, "eager"
        if kind != "classes" or layer not in OF_CLASSES:
            yield kind, "graph"


def passes(make, graph, of_classes):
    """A forward and backward pass at a shape, as a function of it."""
    layers = {}

    def layer_of(shape):
        # The number of classes belongs to a layer with weights for them.
        key = shape[-1] if of_classes else None
        if key not in layers:
            layers[key] = make(shape[-1])
        return layers[key]

    def step(layer, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * y)
        return loss, tape.gradient(loss, x)

    traced = {}

    def run(shape):
        x = tf.random.normal(shape)
        layer = layer_of(shape)
        if not graph:
            return step(layer, x)
        if layer not in traced:
            layer.build(shape)
            sizes = [None] * len(shape)
            if of_classes:
                sizes[-1] = shape[-1]
            traced[layer] = tf.function(
                lambda x: step(layer, x),
                input_signature=[tf.TensorSpec(sizes)],
                autograph=False,
            )
        return traced[layer](x)

    return run


def new_sizes(layer, kind, graph):
    """Seconds of the first call, and of all the new sizes."""
    run = passes(LAYERS[layer], graph, layer in OF_CLASSES)
    # What a process does once is no part of either.
    warm = passes(lambda k: keras.layers.Softmax(), graph, False)
    warm(FIRST[kind])
    start = time.perf_counter()
    run(FIRST[kind])
    first = time.perf_counter() - start
    start = time.perf_counter()
    for shape in SIZES[kind]:
        run(shape)
    return first, time.perf_counter() - start


class _Clock(keras.callbacks.Callback):
    """Seconds of the last epoch, without what `tf.data` takes to begin."""

    def on_epoch_begin(self, epoch, logs=None):
        self.seconds = -time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds += time.perf_counter()


def epoch():
    """Seconds of an epoch of 40 batch sizes: ours, and a plain softmax."""
    seconds = {}
    for name in ("softmax", "hard GumbelSoftmax"):
        last = (
            kg.GumbelSoftmax(hard=True)
            if name.startswith("hard")
            else keras.layers.Softmax()
        )
        model = keras.Sequential([keras.layers.Dense(10), last])
        model.compile("sgd", "mse", jit_compile=False)
        rng = np.random.default_rng(0)

        def batches(sizes, rng=rng):
            for size in sizes:
                yield rng.normal(size=(size, 8)), rng.normal(size=(size, 10))

        model.fit(batches([40] * 2), epochs=1, steps_per_epoch=2, verbose=0)
        clock = _Clock()
        model.fit(
            batches(range(41, 81)),
            epochs=1,
            steps_per_epoch=40,
            verbose=0,
            callbacks=[clock],
        )
        seconds[name] = clock.seconds
    return seconds


def kept():
    """MiB that 120 sizes keep, after a warm-up."""
    run = passes(LAYERS["GumbelSoftmax, hard"], False, False)
    for size in (40, 200):
        run((size, 10))
    before = settled()
    for size in range(41, 161):
        run((size, 10))
    return (settled() - before) / 2**20


def in_a_process(*args):
    """What this file prints when it is given these arguments."""
    command = [sys.executable, __file__, "--one", json.dumps(args)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def table(rows):
    """Totals in first calls, a row a layer, as Markdown."""
    kinds = list(SIZES)
    names = [f"{kind}, {how}" for kind in kinds for how in ("eager", "graph")]
    lines = ["| | " + " | ".join(names) + " |"]
    lines.append("|-|" + "-|" * len(names))
    for layer, cells in rows.items():
        row = []
        for name in names:
            if name not in cells:
                row.append("")
                continue
            first, total = cells[name]
            row.append(f"{total / first:.1f} ({first:.2f} s)")
        lines.append(f"| {layer} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def report(results):
    epochs = results["epoch"]
    return (
        "# Sizes that were not met before\n\n"
        f"{head(results['environment'])}\n\n"
        "Seconds of a forward and backward pass at each of 43 batch sizes at\n"
        "(n, 10), 26 lengths at (4, n, 300), 38 numbers of classes at (8, k),\n"
        "10 sizes of matrices at (8, n, n), all in all, in units of the first\n"
        "call of a fresh layer at another size, whose seconds are in\n"
        "brackets. (`benchmarks/shapes.py`)\n\n"
        f"{table(results['sizes'])}\n"
        f"An epoch of `fit` of 40 new batch sizes: {epochs['softmax']:.2f} s\n"
        f"with a softmax, {epochs['hard GumbelSoftmax']:.2f} s with a hard\n"
        "`GumbelSoftmax`. 120 new batch sizes keep "
        f"{results['kept']:.0f} MiB.\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--only", default="", help="part of the layers' names")
    parser.add_argument("--one", type=json.loads, help="for its own processes")
    args = parser.parse_args()
    if args.one:
        function, *rest = args.one
        print(json.dumps(globals()[function](*rest)))
        return
    results = {
        "environment": environment("keras-gumbel", "tensorflow", "keras"),
        "sizes": {},
    }
    for layer in LAYERS:
        if args.only not in layer:
            continue
        cells = results["sizes"][layer] = {}
        for kind, how in columns_of(layer):
            cells[f"{kind}, {how}"] = in_a_process(
                "new_sizes", layer, kind, how == "graph"
            )
        print(table({layer: cells}), flush=True)
    results["epoch"] = in_a_process("epoch")
    results["kept"] = in_a_process("kept")
    save(args.output, "shapes", report(results), results)


if __name__ == "__main__":
    main()
