"""Square matrices of logits."""

from typing import Any

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation.arguments import Arguments, is_learned
from keras_gumbel._validation.tensors import (
    check_class_mask,
    check_logits,
    check_temperature,
    dense,
    wide_dtype_name,
)


def check_square(shape: Shape) -> None:
    """(..., n, n) with n at least 1, as far as it is known."""
    shape = tuple(shape)
    sides = {size for size in shape[-2:] if size is not None}
    if len(shape) < 2 or len(sides) > 1 or 0 in sides:
        raise ValueError(
            "`logits` must be square matrices, of shape (..., n, n) with n "
            f"at least 1. Received: logits of shape {shape}"
        )


def check_matrices(logits: Any) -> Tensor:
    """A float tensor of square matrices."""
    logits = dense(logits, "logits")
    check_logits(logits)
    check_square(logits.shape)
    return logits


def matrix_arguments(
    logits: Any, temperature: Any, class_mask: Any
) -> Arguments:
    """The arguments of every function of square matrices, checked."""
    check_temperature(temperature)
    learned = is_learned(temperature)
    logits = check_matrices(logits)
    temperature = backend.to_tensor(temperature, wide_dtype_name(logits))
    _check_one_a_matrix(temperature, logits)
    if None in temperature.shape[-2:]:
        # What is not known is 1, or it would not broadcast.
        lead = ops.shape(temperature)[:-2]
        temperature = ops.reshape(temperature, (*lead, 1, 1))
    if class_mask is not None:
        class_mask = dense(class_mask, "class_mask")
        check_class_mask(class_mask, logits)
    axis = len(logits.shape) - 1
    return Arguments(logits, temperature, class_mask, axis, learned)


def _check_one_a_matrix(temperature: Tensor, logits: Tensor) -> None:
    """Broadcastable to the logits, and one number for a whole matrix."""
    shape, target = tuple(temperature.shape), tuple(logits.shape)
    goal = (*target[:-2], 1, 1)
    pairs = zip(reversed(shape), reversed(goal), strict=False)
    if len(shape) > len(goal) or not all(
        size in (1, side) or None in (size, side) for size, side in pairs
    ):
        raise ValueError(
            "`temperature` must broadcast to the logits and have size 1 "
            "along the last two axes (one temperature for each matrix is "
            "`temperature[:, None, None]`). "
            f"Received: temperature of shape {shape}, logits of shape "
            f"{target}"
        )
