"""A step of each gradient estimator beside straight-through Gumbel-softmax.

    python benchmarks/estimators.py --output benchmarks/results

Forward and backward of a hard sample, under XLA and in graph mode, as a ratio
to `st_gumbel` in the same mode, at temperature 0.5 except where it is named.
Writes `estimators.json` and `estimators.md`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from measure import environment, head, interleaved, save
from peers import TEMPERATURE

import keras_gumbel as kg

SHAPES = [(1024, 8192), (16384, 512), (8192, 64), (2560, 10)]
ESTIMATORS = {
    "st_gumbel": "st_gumbel",
    "st": "st",
    "reinmax": "reinmax",
    "reinmax at 1": "reinmax",
    "gapped_st": "gapped_st",
    "gumbel_rao(1)": kg.estimators.GumbelRao(1),
    "gumbel_rao(10)": kg.estimators.GumbelRao(10),
}


def steps(shape):
    """A step for each estimator and mode."""
    logits = tf.random.normal(shape)
    weights = tf.random.normal(shape)
    seed = keras.random.SeedGenerator(0)

    def step(name, xla):
        # A layer's: a variable, of which nothing is known beforehand.
        temperature = keras.Variable(
            1.0 if "at 1" in name else TEMPERATURE, trainable=False
        )

        @tf.function(jit_compile=xla)
        def run(logits):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                y = kg.ops.gumbel_softmax(
                    logits,
                    temperature,
                    hard=True,
                    estimator=ESTIMATORS[name],
                    seed=seed,
                )
                loss = tf.reduce_sum(y * weights)
            return loss, tape.gradient(loss, logits)

        return lambda: run(logits)[1][0].numpy()

    return {
        (name, mode): step(name, mode == "XLA")
        for mode in ("XLA", "graph")
        for name in ESTIMATORS
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shape", type=int, nargs=2, action="append")
    options = parser.parse_args()
    shapes = [tuple(shape) for shape in options.shape or SHAPES]
    results = {}
    for shape in shapes:
        seconds = interleaved(steps(shape), options.rounds)
        size = shape[0] * shape[1]
        name = f"{shape[0]} x {shape[1]}"
        results[name] = {
            f"{estimator}, {mode}": 1e9 * t / size
            for (estimator, mode), t in seconds.items()
        }
    head_ = head(environment("keras-gumbel", "tensorflow", "keras"))
    text = f"{head_}\n\nA step's time over that of `st_gumbel` in the same "
    text += "mode, and its nanoseconds per element\n(median, interleaved):\n\n"
    text += f"| | {' | '.join(results)} |\n|-{'|-' * len(results)}|\n"
    for mode in ("XLA", "graph"):
        for estimator in ESTIMATORS:
            cells = [
                f"{ns[f'{estimator}, {mode}'] / ns[f'st_gumbel, {mode}']:.2f} "
                f"({ns[f'{estimator}, {mode}']:.1f})"
                for ns in results.values()
            ]
            text += f"| {estimator}, {mode} | {' | '.join(cells)} |\n"
    data = {"environment": head_, "nanoseconds per element": results}
    save(options.output, "estimators", text, data)


if __name__ == "__main__":
    main()
