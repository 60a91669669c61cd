"""The exact assignment of a batch, beside SciPy's solver in a loop.

    python benchmarks/assignment.py --output benchmarks/results

Writes `assignment.json` and `assignment.md`. Needs SciPy, as the tests do.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from measure import environment, head, interleaved, save
from scipy.optimize import linear_sum_assignment

import keras_gumbel as kg

SHAPES = [
    (64, 8, 8),
    (256, 16, 16),
    (16, 64, 64),
    (16, 48, 64),
    (1, 64, 64),
    (4, 200, 200),
]
# Every row prefers the same columns, in the same order: scores times places.
SORTING = [(1, 100, 100), (1, 200, 200), (1, 300, 300), (16, 64, 64)]


def random(*shape):
    return np.random.default_rng(0).gumbel(size=shape)


def sorting(batch, n, m):
    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, n, 1)) * rng.normal(size=(batch, 1, m))


def sorting_with_noise(*shape):
    return sorting(*shape) + 0.1 * random(*shape)


KINDS = {
    "random": (random, SHAPES),
    "sorting": (sorting, SORTING),
    "sorting, with noise": (sorting_with_noise, SORTING),
}


def steps(scores):
    """One call each."""
    scores = scores.astype("float32")
    x = tf.constant(scores)
    return {
        "ours": lambda: kg.ops.linear_assignment(x).numpy(),
        "SciPy": lambda: [linear_sum_assignment(-one) for one in scores],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    versions = environment("keras-gumbel", "tensorflow", "keras", "scipy")
    lines = ["| | ours, ms | SciPy, ms | SciPy / ours |", "|-|-|-|-|"]
    seconds = {}
    cases = (
        (kind, shape) for kind, (_, shapes) in KINDS.items() for shape in shapes
    )
    for kind, shape in cases:
        scores = KINDS[kind][0](*shape)
        took = interleaved(steps(scores), options.rounds)
        label = f"{kind}, {' x '.join(map(str, shape))}"
        seconds[label] = took
        ours, scipy = took["ours"], took["SciPy"]
        cells = f"{1e3 * ours:.2f} | {1e3 * scipy:.2f} | {scipy / ours:.2f}"
        lines.append(f"| {label} | {cells} |")
    text = f"{head(versions)}\n\nMedian, interleaved:\n\n"
    text += "\n".join(lines) + "\n"
    data = {"environment": versions, "seconds": seconds}
    save(options.output, "assignment", text, data)


if __name__ == "__main__":
    main()
