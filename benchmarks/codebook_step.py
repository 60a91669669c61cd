"""A training step of VectorQuantizer beside the code that is pasted for it.

    python benchmarks/codebook_step.py --output benchmarks/results

What is pasted is the layer that most tutorials of VQ-VAE have, in Keras: the
distances of all vectors to all codes at once, a one-hot, and a product with
it; codes learn by a loss. Ours is shown with that loss and no restarts, and as
it comes; it counts codes too, which the pasted code does not. Interleaved in
one process: on a machine that does other things too, the ratio is what counts.
Writes `codebook_step.json` and `codebook_step.md`. With `--memory` it prints
what the peak of a step adds, each in a process of its own.
"""

import argparse
import multiprocessing
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from measure import environment, head, save
from memory import resident, settled

import keras_gumbel as kg


class Pasted(keras.layers.Layer):
    """Nearest code by a matrix of distances and a one-hot."""

    def __init__(self, codes, beta=0.25):
        super().__init__()
        self.codes, self.beta = codes, beta

    def build(self, shape):
        self.table = self.add_weight(
            name="table", shape=(shape[-1], self.codes), initializer="uniform"
        )

    def call(self, x, training=None):
        distances = (
            ops.sum(x**2, axis=1, keepdims=True)
            + ops.sum(self.table**2, axis=0)
            - 2 * ops.matmul(x, self.table)
        )
        chosen = ops.one_hot(ops.argmin(distances, axis=1), self.codes)
        y = ops.matmul(chosen, ops.transpose(self.table))
        fixed = ops.stop_gradient
        self.add_loss(self.beta * ops.mean((fixed(y) - x) ** 2))
        self.add_loss(ops.mean((y - fixed(x)) ** 2))
        return x + fixed(y - x)


def ours(codes, **settings):
    """Without what the pasted code does not do, unless it is asked for."""
    alone = {"update": "loss", "init_from_data": False, "restart_after": None}
    return kg.VectorQuantizer(codes, **{**alone, **settings})


def step_of(layer, mode):
    """Loss and gradients of one step, to the inputs and what trains."""

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * y) + tf.add_n(layer.losses)
        weights = [weight.value for weight in layer.trainable_weights]
        return tape.gradient(loss, [x, *weights])

    if mode == "eager":
        return step
    return tf.function(step, jit_compile=mode == "xla", autograph=False)


def added_by(mode, name, sizes):
    """Bytes by which the peak of a step is above what is there before it."""
    rows, dim, codes = sizes
    x = tf.random.stateless_normal((rows, dim), (1, 2))
    layer = LAYERS[name](codes)
    layer.build(x.shape)
    step = step_of(layer, mode)
    for _ in range(2):
        step(x)
    before = settled()
    # Sets the high-water mark back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    step(x)
    return resident("VmHWM") - before


def print_memory(sizes):
    """Memory that was freed once is not there to be measured again."""
    spawn = multiprocessing.get_context("spawn")
    for mode in MODES:
        for name in LAYERS:
            with spawn.Pool(1) as pool:
                peak = pool.apply(added_by, (mode, name, sizes))
            print(f"| {mode} | {name} | {peak / 2**20:.0f} MiB |", flush=True)


LAYERS = {
    "pasted": Pasted,
    "ours, by loss": ours,
    "ours, as it comes": kg.VectorQuantizer,
}
MODES = ("xla", "graph", "eager")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=16384)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--codes", type=int, default=1024)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    if options.memory:
        print_memory((options.rows, options.dim, options.codes))
        return
    x = tf.random.stateless_normal((options.rows, options.dim), (1, 2))
    data, lines = {}, ["| mode | layer | ms | of the pasted |", "|-|-|-|-|"]
    for mode in MODES:
        steps = {}
        for name, make in LAYERS.items():
            layer = make(options.codes)
            layer.build(x.shape)
            steps[name] = step_of(layer, mode)
            steps[name](x)
        times = {name: [] for name in steps}
        for _ in range(options.rounds):
            for name, step in steps.items():
                start = time.perf_counter()
                [one.numpy() for one in step(x)]
                times[name].append(time.perf_counter() - start)
        least = {name: min(seconds) for name, seconds in times.items()}
        for name, seconds in least.items():
            ratio = float(
                np.median(np.array(times[name]) / np.array(times["pasted"]))
            )
            data[f"{mode}, {name}"] = {"seconds": seconds, "ratio": ratio}
            lines.append(
                f"| {mode} | {name} | {1e3 * seconds:.0f} | {ratio:.2f} |"
            )
            print(lines[-1], flush=True)
    versions = environment("keras-gumbel", "tensorflow", "keras")
    table = "\n".join(lines)
    sizes = f"{options.rows} x {options.dim}, {options.codes} codes"
    text = f"{head(versions)}\n\n{sizes}. Median ratio of rounds.\n\n{table}\n"
    save(
        options.output, "codebook_step", text, {"environment": versions, **data}
    )


if __name__ == "__main__":
    main()
