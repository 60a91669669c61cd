"""How many classes, and whether there are so many."""

from typing import Any

import numpy as np

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation.scalars import check_integer


def check_k(k: Any) -> None:
    """A positive integer."""
    check_integer(k, "k", minimum=1)


def check_k_fits(k: int, shape: tuple[int | None, ...], axis: int) -> None:
    """No more than there are classes."""
    size = shape[axis]
    if size is not None and k > size:
        raise ValueError(
            "`k` must be at most the number of classes. "
            f"Received: k={k}, logits of shape {tuple(shape)}, axis={axis}"
        )


def too_few_for(k: int) -> str:
    """The same where the number is known when the program runs."""
    return (
        "`k` must be at most the number of classes. "
        f"Received: k={k}, and a number of classes of"
    )


def check_enough_allowed(
    k: int, class_mask: Tensor, logits: Tensor, axis: int
) -> None:
    """`k` classes or none in each row, where the mask is known now.

    Args:
        k: How many a sample has.
        class_mask: Bool tensor that broadcasts to the logits.
        logits: Float tensor.
        axis: The category axis, counted from the front.
    """
    mask = backend.static_value(class_mask)
    size = logits.shape[axis]
    if mask is None or size is None:
        return
    mask = mask.reshape((1,) * (len(logits.shape) - mask.ndim) + mask.shape)
    allowed = np.sum(mask, axis) * (size // mask.shape[axis])
    few = allowed[(allowed > 0) & (allowed < k)]
    if few.size:
        raise ValueError(
            "`class_mask` must allow at least `k` classes in a row, or none. "
            f"Received: k={k}, and a class_mask of shape "
            f"{tuple(class_mask.shape)} in which {few.size} of {allowed.size} "
            f"rows allow fewer, the first {few[0]}"
        )
