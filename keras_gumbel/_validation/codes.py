"""Codes, and their weights."""

from typing import Any

import keras
import numpy as np

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation.tensors import dtype_name


def check_has_no_predictions(metric: Any, given: int) -> None:
    """Raise if there are predictions, which `compile` passes, too."""
    if given > 2:
        name = type(metric).__name__
        raise TypeError(
            f"`{name}` must not be given to `compile`, which passes targets "
            "and predictions to a metric: it counts codes. Make it an "
            "attribute of the layer that makes the codes, and call its "
            "`update_state(codes)` there; `fit` then resets it and shows it. "
            "(`help(keras_gumbel.metrics.CodePerplexity)` has an example.) "
            f"Received: update_state of {given} arguments"
        )


def check_codes(codes: Tensor, num_codes: int) -> bool:
    """Return whether codes are rows of `num_codes` floats, not integers."""
    dtype, shape = dtype_name(codes), backend.static_shape(codes)
    if "int" in dtype:
        return False
    if "float" not in dtype:
        raise TypeError(
            "`codes` must be integers, or float rows of one-hot or relaxed "
            f"codes. Received: codes of dtype {dtype}"
        )
    if not shape or shape[-1] != num_codes:
        raise ValueError(
            "`codes` that are floats must have the shape (..., num_codes); "
            "cast indices to an integer type. Received: codes of shape "
            f"{shape} and dtype {dtype}, num_codes={num_codes}"
        )
    return True


def check_codes_are_known(known: Tensor, codes: Tensor, num_codes: int) -> None:
    """Raise unless codes are in range, where values can be read now."""
    values = backend.static_value(known)
    if values is None or np.all(values):
        return
    first = keras.ops.convert_to_numpy(codes)[~values][0]
    if "int" in dtype_name(codes):
        raise ValueError(
            f"`codes` must be in [0, num_codes). Received: a code of {first}, "
            f"num_codes={num_codes}"
        )
    raise ValueError(
        "`codes` that are floats must be rows of numbers in [0, 1]. "
        f"Received: the row {first}"
    )


def check_sample_weight(weight: Tensor, codes: Tensor) -> None:
    """Raise unless it has a number per code, or per first axes of codes."""
    shape, target = backend.static_shape(weight), backend.static_shape(codes)
    fits = len(shape) <= len(target) and all(
        size in (1, goal) or size is None or goal is None
        for size, goal in zip(shape, target, strict=False)
    )
    if not fits:
        raise ValueError(
            "`sample_weight` must have the shape of the codes, or its first "
            f"axes. Received: sample_weight of shape {shape}, codes of shape "
            f"{target}"
        )
    values = backend.static_value(weight)
    if values is not None and not np.all(values >= 0):
        raise ValueError(
            "`sample_weight` must not be negative. "
            f"Received: sample_weight={values}"
        )
