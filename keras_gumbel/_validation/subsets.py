"""The number of classes in a sample, and whether a row has as many."""

import numbers
from typing import Any

import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation.scalars import check_integer
from keras_gumbel._validation.tensors import broadcasts, dense, dtype_name


def check_k(k: Any) -> None:
    """Raise unless it is a positive integer."""
    check_integer(k, "k", minimum=1)


def check_sizes(k: Any, max_k: Any, minimum: int) -> None:
    """Raise unless `k` is an integer, or `max_k` bounds a `k` per row."""
    if max_k is not None:
        check_integer(max_k, "max_k", minimum=1)
    elif hasattr(k, "shape") and not isinstance(k, numbers.Integral):
        raise TypeError(
            "`k` must be an integer where there is no `max_k`. For a k of its "
            "own in each row, give `max_k` too: the most that any row has. "
            f"Received: k={k!r} (of type {type(k).__name__})"
        )
    else:
        check_integer(k, "k", minimum)


def sizes_of_rows(k: Any, max_k: int, shape: Shape, axis: int) -> Tensor:
    """Return `k` as int32, with class axis 1, and -1 where out of range.

    Args:
        k: An integer, or an integer tensor that broadcasts to the rows.
        max_k: The most that a row may have.
        shape: The logits' shape.
        axis: The class axis, counted from the front.
    """
    # An integer, but not a bool, stays out of NumPy, which torch would trace.
    if type(k) is int and 0 <= k <= max_k:
        return backend.to_tensor(k, "int32")
    if type(k) is not int:
        k = dense(k, "k")
        if "int" not in dtype_name(k):
            raise TypeError(
                "`k` must be an integer, or a tensor of integers. "
                f"Received: k of dtype {dtype_name(k)}"
            )
    known = backend.static_value(k)
    if known is not None and np.any((known < 0) | (known > max_k)):
        raise ValueError(
            f"`k` must be between 0 and {max_k}, the most that any row was "
            "said to have (`max_k` of a function, `k` of a layer). Received: "
            f"k of shape {known.shape}, from {known.min()} to {known.max()}"
        )
    if known is not None:
        # NumPy keeps the values known.
        k = known.astype("int32")
    else:
        # Compare in k's own dtype: int32 may not hold every number of it.
        outside = (k < 0) | (k > max_k)
        k = ops.cast(ops.where(outside, 0, k), "int32")
        k = ops.where(outside, -1, k)
    sizes = _along(k, tuple(shape), axis)
    return backend.to_tensor(
        ops.reshape(k, sizes) if known is None else k.reshape(sizes)
    )


def _along(k: Tensor, shape: Shape, axis: int) -> tuple[Tensor | int, ...]:
    """Return the shape of a number per row, in the axes of the logits."""
    given, rank = backend.static_shape(k), len(shape)
    sizes = given if None not in given else tuple(ops.shape(k))
    if not given:
        return ()
    one = tuple(1 if i == axis else size for i, size in enumerate(shape))
    if len(given) == rank and given[axis] == 1 and broadcasts(given, one):
        return sizes
    rows = (*shape[:axis], *shape[axis + 1 :])
    if len(given) < rank and broadcasts(given, rows):
        sizes = (*(1,) * (rank - 1 - len(given)), *sizes)
        return *sizes[:axis], 1, *sizes[axis:]
    raise ValueError(
        "`k` must broadcast to the rows, which are the logits without the "
        "category axis (or with size 1 along it). Received: k of shape "
        f"{given}, logits of shape {shape}, axis={axis}"
    )


def check_k_fits(
    k: int, shape: tuple[int | None, ...], axis: int, name: str = "k"
) -> None:
    """Raise if `k` is more than the number of classes."""
    size = backend.static_shape(shape)[axis]
    if size is not None and k > size:
        raise ValueError(
            f"`{name}` must be at most the number of classes. Received: "
            f"{name}={k}, logits of shape {tuple(shape)}, axis={axis}"
        )


def too_few_for(k: int, name: str = "k") -> str:
    """Return the same error, for a number known when the program runs."""
    return (
        f"`{name}` must be at most the number of classes. "
        f"Received: {name}={k}, and a number of classes of"
    )


def check_enough_allowed(
    k: int | Tensor, class_mask: Tensor, logits: Tensor, axis: int
) -> None:
    """Raise unless each row allows `k` classes or none, if the mask is known.

    Args:
        k: The size of a sample; or one per row, with size 1 along the axis.
        class_mask: Bool tensor that broadcasts to the logits.
        logits: Float tensor.
        axis: The category axis, counted from the front.
    """
    mask = backend.static_value(class_mask)
    wanted = backend.static_value(k)
    size = backend.static_shape(logits)[axis]
    if mask is None or wanted is None or size is None:
        return
    mask = mask.reshape((1,) * (len(logits.shape) - mask.ndim) + mask.shape)
    given = f"k of shape {wanted.shape}" if wanted.ndim else f"k={wanted}"
    allowed = np.sum(mask, axis, keepdims=True) * (size // mask.shape[axis])
    allowed, wanted = np.broadcast_arrays(allowed, wanted)
    few = allowed[(allowed > 0) & (allowed < wanted)]
    if few.size:
        raise ValueError(
            "`class_mask` must allow at least `k` classes in a row, or none. "
            f"Received: {given}, and a class_mask of shape "
            f"{tuple(class_mask.shape)} in which {few.size} of {allowed.size} "
            f"rows allow fewer, the first {few[0]}"
        )
