"""Many samples of one distribution, beside `tf.random.categorical`.

    python benchmarks/many_samples.py --output benchmarks/results

10,000 indices of 10,000 classes, forward: the time, and what the first call,
with its compilation, adds to the peak of a process of its own; and as many
one-hots, in memory. Writes `many_samples.json` and `many_samples.md`.
"""

import argparse
import functools
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from measure import environment, head, interleaved, save
from memory import resident, settled

import keras_gumbel as kg

SIZE = 10_000
THEIRS = "tf.random.categorical"
ONE_HOTS = "one-hots"
RULES = ("st", "reinmax", "gapped_st")


def growth(step):
    """MiB that the step adds to what is resident, at most."""
    before = settled()
    # Sets the high-water mark back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    step()
    return (resident("VmHWM") - before) / 2**20


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


def one_hots(logits):
    """As many one-hots, 381 MiB of them."""
    return kg.ops.gumbel_softmax(
        logits, hard=True, estimator="st", num_samples=SIZE
    )


def in_a_process(name):
    """What the first call of a step adds to the peak of a fresh process."""
    command = [sys.executable, __file__, "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--one", help="measure the memory of this one, here")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(1, SIZE)), "float32")
    found = steps(logits)
    if options.one:
        print(growth(found.get(options.one, lambda: one_hots(logits))))
        return
    seconds = interleaved(found, options.rounds)
    memory = {name: in_a_process(name) for name in (*found, ONE_HOTS)}
    result = SIZE * SIZE * 4 / 2**20
    versions = environment("keras-gumbel", "tensorflow", "keras")
    lines = [head(versions), "", "| | ms | of theirs | first call, MiB |"]
    lines.append("|-|-|-|-|")
    for name, t in seconds.items():
        ratio = t / seconds[THEIRS]
        lines.append(
            f"| {name} | {1e3 * t:.2f} | {ratio:.1f} | {memory[name]:.0f} |"
        )
    beyond = memory[ONE_HOTS] - result
    lines.append(f"| {ONE_HOTS}, beyond {result:.0f} | | | {beyond:.0f} |")
    data = {"environment": versions, "seconds": seconds, "memory": memory}
    save(options.output, "many_samples", "\n".join(lines) + "\n", data)


if __name__ == "__main__":
    main()
