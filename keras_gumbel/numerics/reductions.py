"""Reductions along the axis of the classes."""

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.numerics.masking import FORBIDDEN

_MOST_NUMBERS = 2**24  # float32 has every integer up to it


def classes(like: Tensor, axis: int) -> Tensor:
    """Return 0, 1, ..., K - 1 along `axis`, ready to broadcast with `like`."""
    shape = [1] * len(like.shape)
    shape[axis] = -1
    return ops.reshape(ops.arange(ops.shape(like)[axis], dtype="int32"), shape)


def with_axis_at(x: Tensor, axis: int, place: int) -> Tensor:
    """Return `moveaxis`, by an operation that torch can map over."""
    rank = len(x.shape)
    order = [n for n in range(rank) if n != axis % rank]
    order.insert(place % rank, axis % rank)
    return ops.transpose(x, order)


def mean_class(y: Tensor, axis: int) -> Tensor:
    """Return sum_k k * y_k along `axis`."""
    mean = ops.sum(y * ops.cast(classes(y, axis), y.dtype), axis=axis)
    return exact_or_nan(mean, y, axis)


def exact_or_nan(number: Tensor, like: Tensor, axis: int) -> Tensor:
    """Return the number of a class; NaN if float32 rounds those in `like`.

    If the number of classes is known before, too many are an error instead.
    """
    size = ops.shape(like)[axis]
    if not hasattr(size, "dtype"):
        return number
    exact = size <= _MOST_NUMBERS
    return ops.where(exact, number, float("nan"))


def maximum(x: Tensor, axis: int) -> Tensor:
    """Return the largest entry along `axis`, which stays; no gradient."""
    # Keras refuses the maximum of an empty batch unless told where to begin.
    peak = backend.max(x, axis=axis, keepdims=True, initial=FORBIDDEN)
    return ops.stop_gradient(peak)


def sum_in_lanes(x: Tensor, axis: int) -> Tensor:
    """Return the sum along `axis`, which stays. In a compiled program only.

    For a sum along the last axis, XLA would write its terms to memory first, so
    the last axis is folded in eight and summed over the folds.
    """
    size = backend.static_shape(x)[axis]
    last = axis == len(x.shape) - 1
    if last and size and size % 8 == 0 and backend.fuses():
        folds = ops.reshape(x, (*ops.shape(x)[:-1], 8, size // 8))
        x = backend.materialize(ops.sum(folds, axis=-2))
    return ops.sum(x, axis=axis, keepdims=True)
