"""A sampled embedding: by gathering, and by one-hot times table.

    python benchmarks/embedding.py --output benchmarks/results

Forward, and forward with backward, of logits 4096 x 32768 and a table
32768 x 256, beside the sampling alone. Writes `embedding.json` and
`embedding.md`.
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

SHAPE = (4096, 32768, 256)


def steps(shape):
    """Name and step, with XLA around each."""
    rows, classes, width = shape
    logits = tf.random.normal((rows, classes))
    table = tf.random.normal((classes, width))
    weights = tf.random.normal((rows, width))
    seed = keras.random.SeedGenerator(0)
    options = {"temperature": TEMPERATURE, "seed": seed}

    def one_hot(logits):
        return kg.ops.gumbel_softmax(logits, hard=True, **options)

    def index(logits, table):
        del table
        return kg.ops.sample_argmax_index(logits, hard=True, **options)

    def gather(logits, table):
        return kg.ops.sample_embedding(logits, table, **options)

    def product(logits, table):
        return one_hot(logits) @ table

    def step(function, backward):
        @tf.function(jit_compile=True)
        def run(logits, table):
            if not backward:
                return function(logits, table)
            with tf.GradientTape() as tape:
                tape.watch([logits, table])
                loss = tf.reduce_sum(function(logits, table) * weights)
            return tape.gradient(loss, [logits, table])

        def wait():
            return tf.nest.flatten(run(logits, table))[0][0].numpy()

        return wait

    return {
        "sampling alone, one-hot": step(lambda x, _: one_hot(x), False),
        "sampling alone, index": step(index, False),
        "sample_embedding": step(gather, False),
        "one-hot @ table": step(product, False),
        "sample_embedding, with gradients": step(gather, True),
        "one-hot @ table, with gradients": step(product, True),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE)
    options = parser.parse_args()
    seconds = interleaved(steps(options.shape), options.rounds, budget=60)
    one_hot = seconds["sampling alone, one-hot"]
    lines = ["| | seconds | of the sampling alone |", "|-|-|-|"]
    for name, t in seconds.items():
        lines.append(f"| {name} | {t:.3f} | {t / one_hot:.2f} |")
    versions = environment("keras-gumbel", "tensorflow", "keras")
    size = " x ".join(map(str, options.shape))
    text = f"{head(versions)}\n\n{size}, XLA (median, interleaved):\n\n"
    text += "\n".join(lines) + "\n"
    data = {"environment": versions, "seconds": seconds}
    save(options.output, "embedding", text, data)


if __name__ == "__main__":
    main()
