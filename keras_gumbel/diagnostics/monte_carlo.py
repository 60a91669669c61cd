"""Means of many sampled gradients, and their errors."""

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.diagnostics.problem import CHUNK, Problem

# Samples are split into this many groups. The groups' means, few enough to
# store, are samples of the mean: they give its error in any direction.
GROUPS = 32
TIMED_CALLS = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """The means and the variance of many gradients, D numbers each.

    Args:
        means: Array `(GROUPS, D)`, of independent groups of equal size.
        variance: The trace of the covariance of one gradient.
        seconds: Wall time for one gradient.
    """

    means: np.ndarray
    variance: float
    seconds: float


def calls_and_size(problem: Problem, num_samples: int) -> tuple[int, int]:
    """Return the number of calls, and of samples in each: n * GROUPS."""
    rounds = math.ceil(num_samples / GROUPS)
    fitting = max(1, CHUNK // (GROUPS * max(1, problem.probs.size)))
    calls = math.ceil(rounds / fitting)
    return calls, GROUPS * math.ceil(rounds / calls)


def draw(
    problem: Problem,
    function: Callable[[Tensor], Tensor],
    num_samples: int,
    near: float | np.ndarray = 0.0,
) -> Draws:
    """Draw gradients of `function` at copies of the logits.

    `near` is the expected gradient: squares are summed around it, so that
    they do not drown a small variance.
    """
    calls, size = calls_and_size(problem, num_samples)
    program = backend.traced_gradient(function)
    logits = ops.broadcast_to(problem.logits, (size, *problem.shape))
    program(logits)  # compiles
    sums = np.zeros((GROUPS, problem.probs.size))
    squares, times = 0.0, []
    for call in range(max(calls, TIMED_CALLS)):
        start = time.perf_counter()
        gradients = ops.convert_to_numpy(program(logits))
        times.append(time.perf_counter() - start)
        if call < calls:
            gradients = gradients.reshape(-1, *sums.shape).astype("float64")
            sums += gradients.sum(0)
            squares += np.sum((gradients - near) ** 2)
    count = calls * size
    off = sums.sum(0) / count - near
    variance = (squares - count * off @ off) / (count - 1)
    means = sums / (count // GROUPS)
    variance = float(np.maximum(variance, 0.0))
    return Draws(means, variance, float(np.median(times)) / size)


def root(square: float) -> float:
    """Return the square root, 0 for an estimate below 0; NaN stays."""
    return float(np.sqrt(np.maximum(square, 0.0)))


def squared_length(samples: np.ndarray) -> tuple[float, np.ndarray]:
    """Return |E x|**2 from samples (n, D), unbiased; and n times without one.

    It is the mean of x_i . x_j over pairs i != j, so no noise meets itself.
    """
    n, products = len(samples), samples @ samples.T
    own = products.sum(0) - np.diag(products)
    without = (own.sum() - 2 * own) / ((n - 1) * (n - 2))
    return float(own.sum() / (n * (n - 1))), without


def jackknife_error(without: np.ndarray) -> float:
    """Return a statistic's standard error, from its values without one."""
    return float(np.sqrt((len(without) - 1) * without.var()))


def error_of_mean(samples: np.ndarray) -> float:
    """Return the root mean square length of the error of a mean of (n, D)."""
    return float(np.sqrt(samples.var(0, ddof=1).sum() / len(samples)))
