"""Very many draws: none infinite, none NaN, no hard sample that is not one.

    python -m tests.soak --output benchmarks/results/soak.md

A fault that comes once in 1e9 draws is not seen by tests of 1e6. This draws
1e11 numbers and 1e9 hard samples, in every dtype, of logits up to the largest
that there are, at temperatures from 1e-6 to 1e6, and looks at each; and it
counts the noise beyond levels that float32 noise often cannot reach. Exit
status 1 says that something was wrong. `test_soak.py` runs a short form.
"""

import argparse
import dataclasses
import importlib.metadata
import itertools
import os
import pathlib
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import ml_dtypes
import numpy as np
from keras import ops

import keras_gumbel as kg
from tests import statistics
from tests.harness import in_mode, to_numpy

BLOCK = 2**24
# 16.64: the end of -log(-log(u)) for u of 23 bits; 22.9: the end for 32 bits.
LEVELS = (-1.0, 0.0, 2.0, 5.0, 10.0, 16.64, 22.9)
TEMPERATURES = (1e-6, 1e-3, 1.0, 1e3, 1e6)
HALF = ("float16", "bfloat16")
# No noise of ours is larger.
REACH = 50.0


def gumbel_tail(x):
    """P(g > x)."""
    return -np.expm1(-np.exp(-x))


def logistic_tail(x):
    """P(l > x)."""
    return np.exp(-np.logaddexp(0.0, x))


@dataclasses.dataclass(frozen=True)
class Noise:
    """A kind of noise.

    Attributes:
        name: What the report says.
        draw: (shape, dtype, seed) -> noise.
        tail: x -> the chance of a draw above it.
        share: Of all draws, in relation to float32 Gumbel noise.
    """

    name: str
    dtype: str
    draw: Callable
    tail: Callable
    share: float

    def __str__(self):
        return f"{self.name}, {self.dtype}"


GUMBEL, LOGISTIC = kg.ops.sample_gumbel, kg.ops.sample_logistic
NOISES = (
    Noise("Gumbel", "float32", GUMBEL, gumbel_tail, 1.0),
    Noise("Gumbel", "float16", GUMBEL, gumbel_tail, 0.1),
    Noise("Gumbel", "bfloat16", GUMBEL, gumbel_tail, 0.1),
    Noise("Gumbel", "float64", GUMBEL, gumbel_tail, 0.01),
    Noise("logistic", "float32", LOGISTIC, logistic_tail, 0.1),
    Noise("logistic", "float16", LOGISTIC, logistic_tail, 0.01),
    Noise("logistic", "bfloat16", LOGISTIC, logistic_tail, 0.01),
)


def boundary(level, dtype):
    """What is above this before it is rounded to `dtype` is above `level`."""
    if dtype not in HALF:
        return level
    kind = np.dtype(dtype).type
    # The two numbers of this dtype that are next to the level, or at it.
    below = kind(level)
    if below > level:
        below = np.nextafter(below, kind(-np.inf))
    above = np.nextafter(below, kind(np.inf))
    return (float(above) + float(below)) / 2


def _examined(g):
    """How many are above each level, and how many are finite."""
    g = ops.reshape(g, (-1, 1024))
    g = g if g.dtype == "float64" else ops.cast(g, "float32")
    seen = [*(g > level for level in LEVELS), ops.isfinite(g)]
    # Down the columns: a sum along the last axis is a slow one here.
    counts = [ops.sum(ops.cast(x, "int32"), axis=0) for x in seen]
    return ops.sum(ops.stack(counts), axis=1)


examined = in_mode("compiled", _examined)


def soak_noise(noise, draws, seed):
    """What was seen in `draws` numbers, rounded up to whole blocks.

    Returns:
        A dict: `draws`, `not_finite`, and for each level `(level, count,
        expected, p)`.
    """
    stream = keras.random.SeedGenerator(seed)
    blocks = -(-int(draws) // BLOCK)
    counts = np.zeros(len(LEVELS) + 1, "int64")
    for _ in range(blocks):
        g = noise.draw((BLOCK,), dtype=noise.dtype, seed=stream)
        counts += to_numpy(examined(g))
    total = blocks * BLOCK
    levels = []
    for level, count in zip(LEVELS, counts[:-1].tolist(), strict=True):
        prob = float(noise.tail(boundary(level, noise.dtype)))
        p = statistics.binomial_p(count, total, prob)
        levels.append((level, count, total * prob, p))
    return {
        "draws": total,
        "not_finite": total - int(counts[-1]),
        "levels": levels,
    }


# ---------------------------------------------------------------------------
# Hard samples.
# ---------------------------------------------------------------------------


def as_numbers(x):
    """In float32, which holds what half precision says."""
    return ops.cast(x, "float32")


def is_zero_or_one(y):
    return (y == 0) | (y == 1)


def not_one_hot(y, x):
    """Whether a row is not one-hot, or where noise cannot bring it."""
    chosen = ops.max(ops.where(y == 1, x, -np.inf), axis=-1)
    return (
        ~ops.all(is_zero_or_one(y), axis=-1)
        | (ops.sum(y, axis=-1) != 1)
        | ~(chosen >= ops.max(x, axis=-1) - REACH)
    )


def not_an_index(y, x):
    return not_one_hot(
        ops.cast(y[:, None] == np.arange(x.shape[-1]), "float32"), x
    )


def not_two_hot(y, x):
    second = ops.sort(x, axis=-1)[:, -2]
    least = ops.min(ops.where(y == 1, x, np.inf), axis=-1)
    return (
        ~ops.all(is_zero_or_one(y), axis=-1)
        | (ops.sum(y, axis=-1) != ops.minimum(2, allowed(x)))
        | ~(least >= second - REACH)
    )


def allowed(x):
    """How many classes of each row are."""
    return ops.sum(as_numbers(x > -np.inf), axis=-1)


def not_gates(y, x):
    right = ops.where(x > REACH, y == 1, ops.where(x < -REACH, y == 0, True))
    return ~ops.all(is_zero_or_one(y) & right, axis=-1)


def not_a_permutation(y, x):
    classes = x.shape[-1]
    y, x = (ops.reshape(z, (-1, classes, classes)) for z in (y, x))
    row, column = ops.sum(y, axis=2), ops.sum(y, axis=1)
    whole = (row == 1) & (column == 1)
    # Where pairs are forbidden there may be no whole one.
    part = (
        (row <= 1) & (column <= 1) & ops.any(x == -np.inf, axis=(1, 2))[:, None]
    )
    right = ops.all(is_zero_or_one(y) & ((y == 0) | (x > -np.inf)), axis=2)
    return ~(right & (whole | part))


def permutations(x, **kw):
    """Every K rows are one matrix of logits."""
    square = ops.reshape(x, (-1, x.shape[-1], x.shape[-1]))
    return ops.reshape(kg.ops.gumbel_sinkhorn(square, hard=True, **kw), x.shape)


def not_relaxed(y, x):
    del x
    # Half precision rounds each entry by itself.
    near = ops.abs(ops.sum(y, axis=-1) - 1) < 0.01
    return ~(ops.all((y >= 0) & (y <= 1), axis=-1) & near)


def one_hot(estimator):
    return lambda x, **kw: kg.ops.gumbel_softmax(
        x, hard=True, estimator=estimator, **kw
    )


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A way to hard samples.

    Attributes:
        draw: (logits, temperature, seed) -> samples.
        wrong: (samples, logits), both float32 -> which rows cannot be.
        share: Of all samples; in any case one round over the logits.
    """

    name: str
    draw: Callable
    wrong: Callable
    share: float

    def __str__(self):
        return self.name


SAMPLERS = (
    Sampler("one-hot, st_gumbel", one_hot("st_gumbel"), not_one_hot, 0.5),
    Sampler("one-hot, st", one_hot("st"), not_one_hot, 0.3),
    Sampler(
        "index",
        lambda x, **kw: kg.ops.sample_argmax_index(x, hard=True, **kw),
        not_an_index,
        0.1,
    ),
    Sampler(
        "two of them",
        lambda x, **kw: kg.ops.gumbel_top_k(x, 2, hard=True, **kw)[0],
        not_two_hot,
        0.05,
    ),
    Sampler(
        "gates",
        lambda x, **kw: kg.ops.gumbel_sigmoid(x, hard=True, **kw),
        not_gates,
        0.05,
    ),
    Sampler("permutations", permutations, not_a_permutation, 0.0),
    Sampler("relaxed", kg.ops.gumbel_softmax, not_relaxed, 0.05),
)


def logits_of(kind, shape, dtype):
    """Logits that are hard to sample from; each row allows a class."""
    rng = np.random.default_rng(0)
    largest = float(ml_dtypes.finfo(dtype).max)
    x = rng.normal(size=shape)
    if kind == "wide":
        x *= largest / 8
    elif kind == "largest":
        x = np.copysign(largest, x)
    elif kind == "equal":
        x = np.full(shape, largest)
    elif kind == "forbidden":
        x[rng.random(shape) < 0.5] = -np.inf
        x[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] = -largest
    elif kind == "small":
        x *= float(np.dtype(dtype).type(1e-7))
    return ops.cast(np.clip(x, -np.inf, largest), dtype)


LOGITS = ("normal", "wide", "largest", "equal", "forbidden", "small")
DTYPES = ("float32", *HALF)
CLASSES = (2, 8, 64)


def soak_samples(sampler, dtype, samples, seed, entries=2**21):
    """How many rows were drawn, of `samples` and more, and how many wrong.

    Every kind of logits meets every temperature and number of classes, in
    blocks of `entries` logits.
    """
    stream = keras.random.SeedGenerator(seed)

    def count_wrong(y, x):
        wrong = sampler.wrong(as_numbers(y), as_numbers(x))
        return ops.sum(ops.cast(wrong, "int32"))

    count = in_mode("compiled", count_wrong)
    grid = [*itertools.product(LOGITS, TEMPERATURES)]
    rows = wrong = 0
    for classes in CLASSES:
        shape = (entries // classes, classes)
        inputs = {kind: logits_of(kind, shape, dtype) for kind in LOGITS}
        target = rows + samples / len(CLASSES)
        for kind, temperature in itertools.cycle(grid):
            x = inputs[kind]
            y = sampler.draw(
                x, temperature=np.float32(temperature), seed=stream
            )
            wrong += int(count(y, x))
            rows += shape[0]
            if rows >= target and (kind, temperature) == grid[-1]:
                break
    return rows, wrong


# ---------------------------------------------------------------------------
# The report.
# ---------------------------------------------------------------------------


def noise_lines(draws, seed):
    """The table of the noise, and whether all of it was right."""
    yield (
        "| noise | draws | not finite | "
        + " | ".join(f"> {level:g}" for level in LEVELS)
        + " |",
        True,
    )
    yield "|-|-|-|" + "-|" * len(LEVELS), True
    for i, noise in enumerate(NOISES):
        seen = soak_noise(noise, draws * noise.share, seed + i)
        cells = [
            f"{count:,} of {expected:,.1f} (p {p:.2g})"
            for _, count, expected, p in seen["levels"]
        ]
        right = seen["not_finite"] == 0 and all(
            p > statistics.FALSE_FAIL_RATE for *_, p in seen["levels"]
        )
        yield (
            f"| {noise} | {seen['draws']:.4g} | "
            f"{seen['not_finite']} | {' | '.join(cells)} |",
            right,
        )


def sample_lines(samples, seed):
    """The table of the samples, and whether all of them were right."""
    yield "| samples | dtype | rows | wrong |", True
    yield "|-|-|-|-|", True
    for sampler, dtype in itertools.product(SAMPLERS, DTYPES):
        share = samples * sampler.share / len(DTYPES)
        rows, wrong = soak_samples(sampler, dtype, share, seed)
        yield f"| {sampler} | {dtype} | {rows:,} | {wrong} |", wrong == 0


def head():
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("keras-gumbel", "tensorflow", "keras", "numpy")
    )
    return f"{versions}; {os.cpu_count()} cores"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=float, default=1e11)
    parser.add_argument("--samples", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    text, all_right = [head(), ""], True
    print(text[0], flush=True)
    for lines in (
        noise_lines(options.draws, options.seed),
        [("", True)],
        sample_lines(options.samples, options.seed),
    ):
        for line, right in lines:
            print(line, "" if right else "WRONG", flush=True)
            text.append(line)
            all_right &= right
    text += ["", f"Seed {options.seed}."]
    print(text[-1])
    if options.output and all_right:
        options.output.write_text("\n".join(text) + "\n")
    sys.exit(not all_right)


if __name__ == "__main__":
    main()
