"""Objectives, their values and their samples."""

import math

import numpy as np

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation.tensors import dtype_name


def check_samples(samples: Tensor, logits: Tensor) -> None:
    """Raise unless each distribution of the logits has two or more."""
    shape, target = backend.static_shape(samples), backend.static_shape(logits)
    if not _agree(shape, (None, *target)) or shape[0] in (0, 1):
        raise ValueError(
            "`samples` must have the shape (S, *logits.shape), with S at "
            f"least 2. Received: samples of shape {shape}, logits of shape "
            f"{target}"
        )


def check_values(values: Tensor, samples: Tensor, axis: int) -> None:
    """Raise unless there is one float for each sample of each example."""
    if "float" not in dtype_name(values):
        raise TypeError(
            "`values` must be a float tensor. "
            f"Received: values of dtype {dtype_name(values)}"
        )
    shape, target = backend.static_shape(values), backend.static_shape(samples)
    # The class axis comes behind the axis of the samples.
    fitting = (*target[: axis + 1], *target[axis + 2 :])
    if not shape or not _agree(shape, fitting[: len(shape)]):
        raise ValueError(
            "`values` must have the shape (S, *batch), where batch begins "
            "the logits' shape less the class axis. Received: values of "
            f"shape {shape}, samples of shape {target}, axis={axis}"
        )


def check_drawn_classes(
    values: Tensor, indices: Tensor, logits: Tensor
) -> None:
    """Raise unless 2 to 8 classes per distribution have a float each."""
    if "float" not in dtype_name(values):
        raise TypeError(
            "`values` must be a float tensor. "
            f"Received: values of dtype {dtype_name(values)}"
        )
    if "int" not in dtype_name(indices):
        raise TypeError(
            "`indices` must be an integer tensor. "
            f"Received: indices of dtype {dtype_name(indices)}"
        )
    shape, target = backend.static_shape(indices), backend.static_shape(logits)
    if not _agree(shape[:-1], target[:-1]) or len(shape) != len(target):
        raise ValueError(
            "`indices` must have the logits' shape, with k for the classes. "
            f"Received: indices of shape {shape}, logits of shape {target}"
        )
    if shape[-1] not in range(2, 9):
        raise ValueError(
            "`indices` must have 2 to 8 classes on the last axis. "
            f"Received: indices of shape {shape}"
        )
    if not _agree(backend.static_shape(values), shape):
        raise ValueError(
            "`values` must have the shape of `indices`. Received: values of "
            f"shape {backend.static_shape(values)}, indices of shape {shape}"
        )


def check_possible(logits: np.ndarray) -> None:
    """Raise unless each row allows a class, and no logit is NaN or +inf."""
    if not np.all(np.isfinite(logits.max(-1))):
        raise ValueError(
            "`logits` must be numbers or -inf, and allow a class in every "
            f"row. Received: logits={logits}"
        )


def check_objective_batch(values: Tensor, states: Tensor) -> None:
    """Raise unless values have the first axes of the states."""
    shape, given = backend.static_shape(values), backend.static_shape(states)
    if not shape or shape != given[:-1][: len(shape)]:
        raise ValueError(
            "`objective` must return values of shape (m, *batch) for states "
            "of shape (m, *batch, *variables, K). "
            f"Received: objective(states) of shape {shape}, states of shape "
            f"{given}"
        )


def check_objective_values(values: Tensor, expected: tuple[int, ...]) -> None:
    """Raise unless there are as many values as for the first states."""
    shape = tuple(values.shape)
    if shape != expected:
        raise ValueError(
            "`objective` must return one value for each state of each "
            f"example, here of shape {expected}. "
            f"Received: objective(states) of shape {shape}"
        )


def check_reference(length: float) -> None:
    """Raise unless errors can be relative to the length."""
    if not (length > 0 and math.isfinite(length)):
        raise ValueError(
            "`objective` must have an expectation whose gradient is finite "
            "and not zero: errors are relative to its length. "
            f"Received: length={length}"
        )


def check_number_of_states(classes: int, variables: int, maximum: int) -> None:
    """Raise unless the states are few enough to enumerate."""
    if classes**variables > maximum:
        raise ValueError(
            f"`logits` must have at most {maximum:,} joint states to "
            f"enumerate. Received: logits with {variables} variables of "
            f"{classes} classes, {classes}**{variables} states"
        )


def _agree(
    shape: tuple[int | None, ...], target: tuple[int | None, ...]
) -> bool:
    """Return whether the shapes may be equal, as far as they are known."""
    return len(shape) == len(target) and all(
        size == goal or size is None or goal is None
        for size, goal in zip(shape, target, strict=True)
    )
