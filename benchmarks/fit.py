"""`model.fit` of a network whose cost is mostly the sampling layer.

    python benchmarks/fit.py --output benchmarks/results

Seconds a step in each of Keras's `jit_compile` settings, ours beside a layer
with the lines that people paste. Writes `fit.json` and `fit.md`.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from measure import environment, head, save
from peers import TEMPERATURE, pasted_sampler

import keras_gumbel as kg

SETTINGS = [False, "auto", True]
STEPS = 4


class Bias(keras.Layer):
    """What is trained before the choice: one weight a class."""

    def build(self, shape):
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        return x + self.bias


class Pasted(keras.Layer):
    """The ten lines, as a layer."""

    def __init__(self):
        super().__init__()
        self.sample = pasted_sampler()

    def call(self, logits):
        return self.sample(logits)


class Clock(keras.callbacks.Callback):
    """Seconds of the epoch. `fit` waits on its threads before and after."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.start


def trainer(layer, setting, shape):
    """`run() ->` seconds a step, over an epoch of batches of `shape`."""
    model = keras.Sequential([Bias(), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=setting)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, dtype="float32")
    data = tf.data.Dataset.from_tensors((x, np.zeros((shape[0], 1), "float32")))
    clock = Clock()

    def run():
        model.fit(data.repeat(STEPS), verbose=0, callbacks=[clock])
        return clock.seconds / STEPS

    return run


def table(results):
    lines = ["| | " + " | ".join(results) + " |"]
    lines.append("|-|" + "-|" * len(results))
    for name in next(iter(results.values())):
        row = " | ".join(f"{r[name] * 1e3:.1f}" for r in results.values())
        lines.append(f"| {name} | {row} |")
    best = {
        shape: min(t for name, t in row.items() if "pasted" in name)
        for shape, row in results.items()
    }
    for name in next(iter(results.values())):
        if "pasted" not in name:
            row = (f"{best[s] / r[name]:.2f}" for s, r in results.items())
            lines.append(f"| best pasted / {name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    results = {}
    for shape in [(1024, 8192), (16384, 512)]:
        steps = {}
        for setting in SETTINGS:
            ours = kg.GumbelSoftmax(TEMPERATURE, hard=True)
            mode = f"jit_compile={setting}"
            steps[f"keras_gumbel, {mode}"] = trainer(ours, setting, shape)
            steps[f"pasted TF, {mode}"] = trainer(Pasted(), setting, shape)
        times = {name: [] for name in steps}
        for turn in range(options.rounds + 1):
            for name, run in steps.items():
                seconds = run()
                if turn:  # the first compiles
                    times[name].append(seconds)
        row = {name: statistics.median(t) for name, t in times.items()}
        results[f"{shape[0]} x {shape[1]}"] = row
    versions = environment("keras-gumbel", "tensorflow", "keras")
    text = (
        f"{head(versions)}\n\nMilliseconds a step of `model.fit` (Bias, the "
        f"layer, Dense(1); median, in turn):\n\n{table(results)}"
    )
    data = {"environment": versions, "seconds": results}
    save(options.output, "fit", text, data)


if __name__ == "__main__":
    main()
