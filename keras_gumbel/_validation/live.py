"""Numbers that may change while a model trains, and fixed settings."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation.scalars import (
    check_not_negative,
    check_positive,
    is_number,
)
from keras_gumbel._validation.tensors import dtype_name


def live_value(
    value: Any, name: str, check: Callable[[Any], None]
) -> Tensor | float:
    """Return the new value of a live scalar: a number, or a float32 tensor.

    Args:
        value: A number, or a scalar float tensor or variable. Its number is
            checked if it is known now.
        name: The live scalar's name.
        check: Raises for a forbidden number.
    """
    if is_schedule(value):
        raise TypeError(
            f"`{name}` can be assigned a number. A schedule is given to a "
            f"layer when it is made. Received: {name}={value!r}"
        )
    if is_number(value) or not _is_tensor(value):
        check_live_number(value, check)
        return float(value)
    _check_is_scalar(value, name)
    number = backend.to_tensor(value, "float32")
    known = backend.static_value(number)
    if known is not None:
        check(float(known))
    return number


def check_live_number(value: Any, check: Callable[[Any], None]) -> None:
    """Raise unless `check` lets the number pass, in float32 too."""
    check(value)
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if not np.isfinite(single) or (single == 0) != (value == 0):
        check(float(single))


def check_noise_scale(noise_scale: Any) -> None:
    """Raise unless it is a finite number or scalar tensor, zero or more."""
    if is_number(noise_scale) or not _is_tensor(noise_scale):
        check_not_negative(noise_scale, "noise_scale")
        return
    _check_is_scalar(noise_scale, "noise_scale")
    known = backend.static_value(noise_scale)
    if known is not None:
        check_not_negative(float(known), "noise_scale")


def check_backward_temperature(value: Any) -> None:
    """Raise unless it is a positive number, a scalar tensor or a schedule."""
    name = "backward_temperature"
    if is_schedule(value):
        value = float(keras.ops.convert_to_numpy(value(0)))
    if is_number(value) or not _is_tensor(value):
        check_positive(value, name)
        return
    _check_is_scalar(value, name)
    known = backend.static_value(value)
    if known is not None:
        check_positive(float(known), name)


def check_has_no_schedule(estimator: Any) -> None:
    """Raise if a function's estimator has a schedule: it counts no calls."""
    value = estimator.backward_temperature
    if is_schedule(value):
        raise TypeError(
            "`backward_temperature` of an estimator that is given to a "
            "function must be a number or a scalar float tensor: it is a "
            "layer that counts the calls which a schedule follows. "
            f"Received: backward_temperature={value!r}"
        )


def check_can_be_saved(estimator: Any) -> None:
    """Raise unless a configuration can hold a layer's estimator."""
    value = estimator.backward_temperature
    if not (value is None or is_number(value) or is_schedule(value)):
        raise TypeError(
            "`backward_temperature` of a layer's estimator must be a number, "
            "or a `keras.optimizers.schedules.LearningRateSchedule`: a tensor "
            "has no place in a configuration. "
            f"Received: backward_temperature={value!r}"
        )


def is_schedule(value: Any) -> bool:
    """Return whether it is one of Keras's schedules over training calls."""
    return isinstance(value, keras.optimizers.schedules.LearningRateSchedule)


def _is_tensor(value: Any) -> bool:
    # A layer has a dtype, too.
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _check_is_scalar(value: Any, name: str) -> None:
    symbolic = isinstance(value, keras.KerasTensor)
    if symbolic or "float" not in dtype_name(value):
        raise TypeError(
            f"`{name}` must be a number or a scalar float tensor. "
            f"Received: {name}={value!r} (of type {type(value).__name__})"
        )
    if tuple(value.shape):
        raise ValueError(
            f"`{name}` must be one number. "
            f"Received: {name} of shape {tuple(value.shape)}"
        )


def check_not_built(
    layer: Any, name: str, value: Any, live: tuple[str, ...]
) -> None:
    """Raise: traced programs contain this setting, so it cannot change."""
    names = ", ".join(f"`{one}`" for one in live)
    raise AttributeError(
        f"`{name}` of {type(layer).__name__} cannot be set once the layer is "
        "built: programs that are already traced would not follow. Make a new "
        f"layer with it. (Live settings, {names}, can be assigned.) "
        f"Received: {name}={value!r}, layer={layer.name!r}"
    )


def check_no_penalty(layer: Any, name: str, weight: Any, instead: str) -> None:
    """Raise where a loss is lost, unless its weight is 0 or not known.

    Args:
        layer: The layer.
        name: The weight's name.
        weight: Its number or schedule; None where it is not known.
        instead: The term to add outside.
    """
    if weight is None or (is_number(weight) and weight == 0):
        return
    raise ValueError(
        f"`{name}` must be 0 inside a loop or a branch of another layer, such "
        "as `keras.layers.RNN`: a loss cannot leave it. Unroll the loop "
        f"(`unroll=True`), or add {instead} to the loss outside of it. "
        f"Received: {name}={weight!r}, layer={layer.name!r}"
    )
