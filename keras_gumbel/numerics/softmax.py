"""Softmax, its logarithm, and their gradients."""

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.numerics.dtypes import lowest
from keras_gumbel.numerics.masking import FORBIDDEN
from keras_gumbel.numerics.reductions import maximum, sum_in_lanes


@backend.native
def softmax(x: Tensor, temperature: Tensor, axis: int) -> Tensor:
    """Return softmax(x / temperature); all zeros if no class is allowed."""
    weight, _ = softmax_weights(x, maximum(x, axis), temperature)
    return weight / total_or_one(weight, axis)


def log_sum(x: Tensor, axis: int) -> Tensor:
    """Return log(sum(exp(x))) along `axis`, which stays; -inf of no class."""
    peak = maximum(x, axis)
    weight, _ = softmax_weights(x, peak, 1.0)
    return peak + ops.log(total_or_one(weight, axis))


def log_softmax(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return softmax(x), and its logarithm, with 0 at forbidden classes."""
    weight, gap = softmax_weights(x, maximum(x, axis), 1.0)
    total = total_or_one(weight, axis)
    log = ops.where(x == FORBIDDEN, 0.0, gap - ops.log(total))
    return weight / total, log


def relaxed_vjp(
    x: Tensor, temperature: Tensor, dy: Tensor, axis: int
) -> tuple[Tensor, Tensor]:
    """Return `softmax_vjp`, and find the peak first."""
    return softmax_vjp(x, maximum(x, axis), temperature, dy, axis)


@backend.native
def softmax_vjp(
    x: Tensor, peak: Tensor, temperature: Tensor, dy: Tensor, axis: int
) -> tuple[Tensor, Tensor]:
    """Take gradient `dy` at softmax(x / temperature) back to its arguments.

    Inside a compiled program only. `peak` is the largest entry of each row.

    Returns:
        The gradient to `x`, and each entry's part of `temperature`'s.
    """
    weight, gap = softmax_weights(x, peak, temperature)
    total = total_or_one(weight, axis)
    # An infinite gradient at a class that is 0 (a log) must not become NaN.
    live = weight != 0.0
    weighted = ops.where(live, weight * dy, 0.0)
    mean = sum_in_lanes(weighted, axis) / total
    dx = ops.where(live, weight * (dy - mean), 0.0) / (total * temperature)
    # Any constant may stand in for the peak here: dx sums to 0.
    return dx, -dx * gap / temperature


@backend.native
def softmax_terms(
    x: Tensor, temperature: Tensor | float, dy: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return weight, total and mean: softmax(x / temperature) = weight / total.

    It is the mean of `dy` by this softmax. Inside a compiled program only.
    """
    weight, _ = softmax_weights(x, maximum(x, axis), temperature)
    total = sum_in_lanes(weight, axis)
    total = ops.where(total == 0.0, 1.0, total)
    weighted = ops.where(weight != 0.0, weight * dy, 0.0)
    return weight, total, sum_in_lanes(weighted, axis) / total


def softmax_weights(
    x: Tensor, peak: Tensor, temperature: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Return the terms of softmax, and x - peak.

    The latter is finite wherever `x` is not NaN, and 0 at forbidden classes,
    so that no derivative multiplies 0 by infinity.
    """
    allowed = x != FORBIDDEN
    gap = ops.where(allowed, x - peak, 0.0)
    least = ops.convert_to_tensor(lowest(x), x.dtype)
    gap = ops.where(gap < least, least, gap)
    return ops.where(allowed, ops.exp(gap / temperature), 0.0), gap


def total_or_one(weight: Tensor, axis: int) -> Tensor:
    """Return the sum, or 1 where all are 0."""
    total = ops.sum(weight, axis=axis, keepdims=True)
    return ops.where(total == 0.0, 1.0, total)
