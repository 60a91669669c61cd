"""The mathematics, in `keras.ops`: what every estimator is written with.

Each function takes float32 or float64 tensors in which a forbidden class is
-inf. What draws noise is for the inside of a compiled program alone.
"""

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor

FORBIDDEN = float("-inf")


def widen(logits: Tensor) -> Tensor:
    """Half precision has neither the range nor the digits for noise."""
    dtype = keras.backend.standardize_dtype(logits.dtype)
    return ops.cast(logits, "float64" if dtype == "float64" else "float32")


def positive_or_nan(temperature: Tensor, dtype: str) -> Tensor:
    """A temperature that is not positive must show, not flip the classes."""
    temperature = ops.cast(temperature, dtype)
    return ops.where(temperature > 0, temperature, float("nan"))


def log_or_forbidden(probs: Tensor) -> Tensor:
    """log(probs), with -inf and no gradient at 0, NaN below it."""
    possible = probs != 0
    log = ops.log(ops.where(possible, probs, 1.0))
    return ops.where(possible, log, FORBIDDEN)


def gumbel(shape: Tensor, key: Tensor, dtype: str) -> Tensor:
    """Standard Gumbel noise: -log(-log(1 - t)), t uniform in (0, 1).

    Large noise comes from small t, where floating-point numbers are dense:
    the upper tail is whole up to 45, where -log(-log(u)) of a float32 u in
    [0, 1) ends at 16.6.
    """
    t = backend.random_unit(shape, key, dtype)
    return -ops.log(-ops.log1p(-t))


def classes(like: Tensor, axis: int) -> Tensor:
    """0, 1, ..., K - 1 along `axis`, ready to broadcast with `like`."""
    shape = [1] * len(like.shape)
    shape[axis] = -1
    return ops.reshape(ops.arange(ops.shape(like)[axis], dtype="int32"), shape)


def mean_class(y: Tensor, axis: int) -> Tensor:
    """sum_k k * y_k along `axis`."""
    return ops.sum(y * ops.cast(classes(y, axis), y.dtype), axis=axis)


def softmax(x: Tensor, temperature: Tensor, axis: int) -> Tensor:
    """softmax(x / temperature); a row with no class allowed is all zeros."""
    weight, total, _ = _weights(x, temperature, axis)
    return weight / total


def softmax_vjp(
    x: Tensor, temperature: Tensor, dy: Tensor, axis: int
) -> tuple[Tensor, Tensor]:
    """Gradient `dy` at softmax(x / temperature), taken back to its arguments.

    Returns:
        The gradient to `x`, and each entry's part of that to `temperature`.
    """
    weight, total, gap = _weights(x, temperature, axis)
    # An infinite gradient at a class that is 0 (a log) must not become NaN.
    live = weight != 0.0
    weighted = ops.where(live, weight * dy, 0.0)
    mean = ops.sum(weighted, axis=axis, keepdims=True) / total
    dx = ops.where(live, weight * (dy - mean), 0.0) / (total * temperature)
    # Any constant may stand in for the peak here: dx sums to 0.
    return dx, -dx * gap / temperature


def _weights(
    x: Tensor, temperature: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The terms of softmax, their sum (1 where all are 0), and x - peak.

    The last is finite wherever `x` is not NaN, and 0 at forbidden classes,
    so that no derivative multiplies 0 by infinity.
    """
    allowed = x != FORBIDDEN
    # Keras refuses the maximum of an empty batch unless told where to begin.
    peak = ops.max(x, axis=axis, keepdims=True, initial=FORBIDDEN)
    gap = ops.where(allowed, x - ops.stop_gradient(peak), 0.0)
    lowest = float(np.finfo(keras.backend.standardize_dtype(x.dtype)).min)
    gap = ops.where(gap < lowest, lowest, gap)
    weight = ops.where(allowed, ops.exp(gap / temperature), 0.0)
    total = ops.sum(weight, axis=axis, keepdims=True)
    return weight, ops.where(total == 0.0, 1.0, total), gap


def one_hot_argmax(x: Tensor, axis: int) -> Tensor:
    """1 at the first largest entry, 0 elsewhere; in the dtype of `x`.

    All zeros where no class is allowed, all NaN where `x` has a NaN.
    """
    index = classes(x, axis)
    beyond = ops.cast(ops.shape(x)[axis], "int32")
    peak = ops.max(x, axis=axis, keepdims=True)
    # A minimum over indices vectorises; XLA's argmax is a scalar loop on
    # CPUs. -1 marks a NaN, which XLA's maximum passes over.
    candidate = ops.where(
        ops.logical_and(x == peak, x > FORBIDDEN), index, beyond
    )
    candidate = ops.where(ops.isnan(x), -1, candidate)
    first = ops.min(candidate, axis=axis, keepdims=True)
    one_hot = ops.cast(index == first, x.dtype)
    return ops.where(first < 0, float("nan"), one_hot)
