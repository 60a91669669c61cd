"""Many samples of one distribution, beside `tf.random.categorical`.

    python benchmarks/many_samples.py --output benchmarks/results

10,000 indices of 10,000 classes, forward, in time and in what the peak of the
process grows by; and as many one-hots, in memory. Writes `many_samples.json`
and `many_samples.md`.
"""

import argparse
import functools
import os
import resource
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from measure import environment, head, interleaved, save

import keras_gumbel as kg

SIZE = 10_000
THEIRS = "tf.random.categorical"
RULES = ("st", "reinmax", "gapped_st")


def peak():
    """The most that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def steps(logits):
    """Name and step: indices, eager and in a graph."""
    many = {"hard": True, "num_samples": SIZE}

    def indices(rule):
        return kg.ops.sample_argmax_index(logits, estimator=rule, **many)

    found = {THEIRS: lambda: tf.random.categorical(logits, SIZE).numpy()}
    for rule in RULES:
        eager = functools.partial(indices, rule)
        graph = tf.function(eager)
        found[f"{rule}, eager"] = lambda run=eager: run().numpy()
        found[f"{rule}, graph"] = lambda run=graph: run().numpy()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=31)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(1, SIZE)), "float32")
    found = steps(logits)
    before = peak()
    for step in found.values():
        step()
    indices = peak() - before
    seconds = interleaved(found, options.rounds)
    before = peak()
    one_hots = kg.ops.gumbel_softmax(
        logits, hard=True, estimator="st", num_samples=SIZE
    )
    memory = {
        "indices, with all first calls": indices,
        "one-hots": peak() - before,
        "of these the result": np.prod(one_hots.shape) * 4 / 2**20,
    }
    versions = environment("keras-gumbel", "tensorflow", "keras")
    lines = [head(versions), "", "| | ms | of theirs |", "|-|-|-|"]
    for name, t in seconds.items():
        ratio = t / seconds[THEIRS]
        lines.append(f"| {name} | {1e3 * t:.2f} | {ratio:.1f} |")
    lines += ["", "| memory | MiB |", "|-|-|"]
    lines += [f"| {name} | {x:.0f} |" for name, x in memory.items()]
    data = {"environment": versions, "seconds": seconds, "memory": memory}
    save(options.output, "many_samples", "\n".join(lines) + "\n", data)


if __name__ == "__main__":
    main()
