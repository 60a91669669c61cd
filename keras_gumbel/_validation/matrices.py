"""Matrices of logits, with a column for each row."""

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

_TOO_MANY_ROWS = (
    "`logits` must not have more rows than columns, since each row is matched "
    "to a column of its own: transpose them, and columns are matched to rows. "
    "Received:"
)


def check_matrix_shape(shape: Shape) -> None:
    """Raise unless it is (..., n, m), 1 <= n <= m, where these are known."""
    shape = backend.static_shape(shape)
    if len(shape) < 2 or 0 in shape[-2:]:
        raise ValueError(
            "`logits` must be matrices, of shape (..., n, m) with n at least "
            f"1 and at most m. Received: logits of shape {shape}"
        )
    n, m = shape[-2:]
    if n is not None and m is not None and n > m:
        raise ValueError(f"{_TOO_MANY_ROWS} logits of shape {shape}")


def check_matrices(logits: Any) -> Tensor:
    """Return a float tensor of matrices, with a column for each row."""
    logits = dense(logits, "logits")
    check_logits(logits)
    shape = backend.static_shape(logits)
    check_matrix_shape(shape)
    # Other formats have no errors of their own.
    has_errors = backend.export_format() in (None, "saved_model")
    if None in shape[-2:] and has_errors:
        logits = backend.with_at_least(
            logits,
            ops.shape(logits)[-2],
            len(logits.shape) - 1,
            f"{_TOO_MANY_ROWS} a number of columns of",
        )
    return logits


def is_wide(logits: Tensor) -> Tensor | bool:
    """Return whether columns outnumber rows; a tensor if not known yet."""
    n, m = backend.static_shape(logits)[-2:]
    if None in (n, m):
        n, m = map(ops.convert_to_tensor, ops.shape(logits)[-2:])
        return n < m
    return bool(n != m)


def matrix_arguments(
    logits: Any, temperature: Any, class_mask: Any
) -> Arguments:
    """Check and return the arguments of every function of matrices."""
    check_temperature(temperature)
    learned = is_learned(temperature)
    logits = check_matrices(logits)
    temperature = backend.to_tensor(temperature, wide_dtype_name(logits))
    _check_one_a_matrix(temperature, logits)
    if None in backend.static_shape(temperature)[-2:]:
        # An unknown size is 1, or it would not broadcast.
        lead = ops.shape(temperature)[:-2]
        temperature = ops.reshape(temperature, (*lead, 1, 1))
    if class_mask is not None:
        class_mask = dense(class_mask, "class_mask")
        check_class_mask(class_mask, logits)
    axis = len(logits.shape) - 1
    return Arguments(logits, temperature, class_mask, axis, learned)


def _check_one_a_matrix(temperature: Tensor, logits: Tensor) -> None:
    """Raise unless it fits the logits, with one number per matrix."""
    shape = backend.static_shape(temperature)
    target = backend.static_shape(logits)
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
