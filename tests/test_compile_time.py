"""Noise compiles in seconds, whatever reads it.

XLA fuses the generator into a reader unless a branch is between, and into a
reduction with two operands, such as an argmax, so that it does not return. What
divides matters: 64 x 512 and 96 x 704 did not, 4 x 10 and 96 x 700 did.
Each program here runs in a process of its own that is killed when it takes too
long, and nothing is taken from a cache.
"""

import os
import queue
import subprocess
import sys
import threading
import time

import keras
import pytest
import tensorflow as tf

import keras_gumbel as kg

pytestmark = pytest.mark.tensorflow
# One takes a few seconds; the rest is for a machine that others use.
SECONDS = 120
SIZES = ("64x512", "96x704")
ESTIMATORS = ("st_gumbel", "st", "reinmax", "gumbel_rao", "gapped_st")


def one_hot(estimator):
    def sample(x, seed):
        return kg.ops.gumbel_softmax(
            x, hard=True, estimator=estimator, seed=seed
        )

    return sample


def square(sample):
    """Of the 16 x 16 matrices that a matrix is made of."""

    def run(x, seed):
        y = sample(tf.reshape(x, (-1, 16, 16)), seed)
        return tf.reshape(y, x.shape)

    return run


# (logits, seed) -> a matrix
NOISE = {
    "sample_gumbel": lambda x, seed: (
        x + kg.ops.sample_gumbel(x.shape, seed=seed)
    ),
    "sample_logistic": lambda x, seed: (
        x + kg.ops.sample_logistic(x.shape, seed=seed)
    ),
    "sample_gumbel bfloat16": lambda x, seed: tf.cast(
        kg.ops.sample_gumbel(x.shape, dtype="bfloat16", seed=seed), "float32"
    ),
    "soft": lambda x, seed: kg.ops.gumbel_softmax(x, seed=seed),
    **{name: one_hot(name) for name in ESTIMATORS},
    "index": lambda x, seed: (
        x + kg.ops.sample_argmax_index(x, hard=True, seed=seed)[:, None]
    ),
    "soft index": lambda x, seed: (
        x + kg.ops.sample_argmax_index(x, seed=seed)[:, None]
    ),
    "soft gates": lambda x, seed: kg.ops.gumbel_sigmoid(x, seed=seed),
    "hard gates": lambda x, seed: kg.ops.gumbel_sigmoid(
        x, hard=True, seed=seed
    ),
    "hard_concrete": lambda x, seed: kg.ops.hard_concrete(x, seed=seed),
    "soft top_k": lambda x, seed: kg.ops.gumbel_top_k(x, 3, seed=seed)[0],
    "hard top_k": lambda x, seed: kg.ops.gumbel_top_k(
        x, 3, hard=True, seed=seed
    )[0],
    "embedding": lambda x, seed: kg.ops.sample_embedding(
        x, tf.eye(x.shape[1]), seed=seed
    ),
    "soft sinkhorn": square(
        lambda x, seed: kg.ops.gumbel_sinkhorn(x, seed=seed)
    ),
    "hard sinkhorn": square(
        lambda x, seed: kg.ops.gumbel_sinkhorn(x, hard=True, seed=seed)
    ),
}
# A matrix -> whatever reads it.
READERS = {
    "argmax": lambda x: tf.argmax(x, -1),
    "keras argmax": lambda x: keras.ops.argmax(x, axis=-1),
    "argmin of columns": lambda x: tf.argmin(x, 0),
    "top_k": lambda x: tf.math.top_k(x, 4),
    "sort": lambda x: tf.sort(x),
    "argsort": lambda x: tf.argsort(x, axis=0),
    "softmax": tf.nn.softmax,
    "logsumexp": lambda x: tf.reduce_logsumexp(x, -1),
    "cumsum": lambda x: tf.cumsum(x, 1),
    "sum": lambda x: (tf.reduce_sum(x), tf.reduce_sum(x, 0)),
    "max": lambda x: (tf.reduce_max(x, 0), tf.reduce_max(x, 1)),
    "variance": lambda x: tf.nn.moments(x, [0, 1]),
    "scatter": lambda x: tf.tensor_scatter_nd_add(
        tf.zeros((5, x.shape[1])), tf.range(x.shape[0])[:, None] % 5, x
    ),
    "gather": lambda x: tf.gather(x, tf.argmax(x, 0)[:3]),
    "matmul": lambda x: tf.matmul(x, x, transpose_b=True),
}
SEEDS = ("generator", "integer")
# Where it is run, its name is another.
MODULE = "tests.test_compile_time"


def compile_one(noise, size, seed, *readers):
    """One program, in which each of the readers has noise of its own."""
    generator = keras.random.SeedGenerator(3)

    @tf.function(jit_compile=True, autograph=False)
    def program(x):
        return [
            READERS[reader](
                NOISE[noise](x, generator if seed == "generator" else number)
            )
            for number, reader in enumerate(readers)
        ]

    program(tf.zeros(tuple(map(int, size.split("x")))))


def that_fail(programs, seconds=SECONDS):
    """Those of the programs that raise, or do not return in time."""
    left, failed = list(programs), []
    while left:
        finished = how_many_finish(left, seconds)
        # What is behind the one that did not return has a process of its own.
        failed += left[finished : finished + 1]
        left = left[finished + 1 :]
    return failed


def how_many_finish(programs, seconds):
    """One process goes through the programs, and is killed if one hangs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # There may be a cache of compiled programs in it.
    environment.pop("TF_XLA_FLAGS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, *map(",".join, programs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    lines = queue.SimpleQueue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(b"")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        finished = -1  # The first line says that it has started.
        while finished < len(programs) and lines.get(
            timeout=SECONDS if finished < 0 else seconds
        ):
            finished += 1
    except queue.Empty:
        pass
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
    assert finished >= 0, "the process did not start"
    return finished


def programs(noises, readers, sizes=SIZES, seeds=SEEDS):
    return [
        (noise, size, seed, *readers)
        for noise in noises
        for size in sizes
        for seed in seeds
    ]


def test_noise_compiles_into_an_argmax():
    """Of the programs that did not, one for each function that draws."""
    one = ("sample_gumbel", SIZES[0], SEEDS[0], "argmax")
    other = ("sample_logistic", SIZES[1], SEEDS[1], "keras argmax")
    assert that_fail([one, other]) == []


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISE)
def test_noise_compiles_into_every_reader(noise):
    # A program holds all of them here.
    assert that_fail(programs((noise,), READERS), 5 * SECONDS) == []


@pytest.mark.slow
def test_a_program_that_hangs_or_raises_is_found():
    size, seed = SIZES[0], SEEDS[0]
    hangs, raises, ends = (
        (noise, size, seed, "sum") for noise in ("hangs", "raises", "nothing")
    )
    assert that_fail([ends, hangs, raises, ends], 5) == [hangs, raises]


def main(programs):
    print("started", flush=True)
    NOISE["nothing"] = lambda x, seed: x
    NOISE["hangs"] = lambda x, seed: time.sleep(3600)
    for one in programs:
        compile_one(*one.split(","))
        print(one, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
