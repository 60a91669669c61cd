"""Every check of an argument, and the text of its error, in one place.

Each function names the argument, says what was expected and what came.
Values inside a traced program cannot be read: those are left to the program,
where a temperature that is not positive gives NaN.
"""

import math
import numbers
from typing import Any

import keras
import numpy as np

from keras_gumbel import backend
from keras_gumbel._typing import Tensor

_MAX_SEED = 2**32


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_is_number(value: Any, name: str) -> None:
    if not _is_number(value):
        raise TypeError(
            f"`{name}` must be a number. Received: {name}={value!r} "
            f"(of type {type(value).__name__})"
        )


def check_temperature(temperature: Any) -> None:
    """A positive finite number, or a float tensor of such numbers."""
    if _is_number(temperature):
        check_positive(temperature, "temperature")
        return
    if hasattr(temperature, "dtype") and "float" in _dtype(temperature):
        value = backend.static_value(temperature)
        if value is None or np.all((value > 0) & np.isfinite(value)):
            return
        raise ValueError(
            "`temperature` must be positive and finite. "
            f"Received: temperature={temperature}"
        )
    raise TypeError(
        "`temperature` must be a positive number or a float tensor. "
        f"Received: temperature={temperature!r} "
        f"(of type {type(temperature).__name__})"
    )


def check_initial_temperature(temperature: Any) -> None:
    """One positive finite number: what a layer starts with."""
    if np.ndim(temperature) != 0:
        raise ValueError(
            "`temperature` of a layer must be one number, or a "
            "`keras.optimizers.schedules.LearningRateSchedule`; one number "
            "for each example goes to the call. "
            f"Received: temperature={temperature!r}"
        )
    if callable(temperature):
        raise TypeError(
            "`temperature` of a layer must be a number or a "
            "`keras.optimizers.schedules.LearningRateSchedule`, which is "
            "saved with the layer. A function goes to "
            "`keras_gumbel.TemperatureScheduler`. "
            f"Received: temperature={temperature!r}"
        )
    check_temperature(temperature)


def check_temperature_shape(
    temperature: Tensor, logits: Tensor, axis: int
) -> None:
    """Broadcastable to the logits, and one number for a whole distribution."""
    shape, target = tuple(temperature.shape), tuple(logits.shape)
    fits = _broadcasts(shape, target)
    # Counted from the end, as broadcasting counts.
    from_end = len(target) - axis
    if fits and from_end <= len(shape) and shape[-from_end] != 1:
        fits = target[axis] == 1
    if not fits:
        raise ValueError(
            "`temperature` must broadcast to the logits and have size 1 "
            "along the category axis (one temperature for each example is "
            "`temperature[:, None]`). "
            f"Received: temperature of shape {shape}, logits of shape "
            f"{target}, axis={axis}"
        )


def check_not_negative(value: Any, name: str) -> None:
    """A finite number, zero or more."""
    _check_is_number(value, name)
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(
            f"`{name}` must be finite and not negative. "
            f"Received: {name}={value}"
        )


def check_positive(value: Any, name: str) -> None:
    """A finite number above zero."""
    _check_is_number(value, name)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f"`{name}` must be positive and finite. Received: {name}={value}"
        )


def check_sequence(value: Any, name: str) -> None:
    """Several things with an order: no string, and no single number."""
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise TypeError(
            f"`{name}` must be a sequence. Received: {name}={value!r} "
            f"(of type {type(value).__name__})"
        )


def check_integer(value: Any, name: str, minimum: int | None = None) -> None:
    """An integer, and not a bool; at least `minimum` where that is given."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(
            f"`{name}` must be an integer. Received: {name}={value!r} "
            f"(of type {type(value).__name__})"
        )
    if minimum is not None and int(value) < minimum:
        raise ValueError(
            f"`{name}` must be at least {minimum}. Received: {name}={value}"
        )


def check_seed(seed: Any) -> None:
    """None, an integer in [0, 2**32), or a `keras.random.SeedGenerator`."""
    if seed is None or isinstance(seed, keras.random.SeedGenerator):
        return
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool):
        raise TypeError(
            "`seed` must be None, an integer or a "
            "`keras.random.SeedGenerator`. "
            f"Received: seed={seed!r} (of type {type(seed).__name__})"
        )
    if not 0 <= int(seed) < _MAX_SEED:
        raise ValueError(
            f"`seed` must be at least 0 and below 2**32. Received: seed={seed}"
        )


def canonical_axis(axis: int, shape: tuple[int | None, ...]) -> int:
    """`axis` counted from the front."""
    rank = len(shape)
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` must be in [-{rank}, {rank}) for logits of rank {rank}. "
            f"Received: axis={axis}, logits of shape {tuple(shape)}"
        )
    if shape[axis] == 0:
        raise ValueError(
            "`axis` must have at least one class. "
            f"Received: axis={axis}, logits of shape {tuple(shape)}"
        )
    return axis % rank


def check_logits(logits: Any) -> None:
    """A float tensor of known rank."""
    if isinstance(logits, keras.KerasTensor):
        raise TypeError(
            "The functions of `keras_gumbel.ops` take tensors. In a "
            "Functional model use the layer: `keras_gumbel.GumbelSoftmax` "
            "or `keras_gumbel.SampleArgmaxIndex`. "
            f"Received: logits={logits}"
        )
    dtype = _dtype(logits)
    if "float" not in dtype:
        raise TypeError(
            "`logits` must be a float tensor: unnormalised "
            "log-probabilities, not classes or counts. "
            f"Received: logits of dtype {dtype}"
        )
    if logits.shape.rank is None:
        raise ValueError(
            "`logits` must have a known rank. "
            f"Received: logits of shape {logits.shape}"
        )


def categorical_arguments(
    logits: Any, temperature: Any, axis: Any, class_mask: Any
) -> tuple[Tensor, Tensor, int, Tensor | None]:
    """The arguments of every categorical function, checked, as tensors.

    The temperature becomes float32, or float64 for float64 logits; the axis
    is counted from the front.
    """
    check_temperature(temperature)
    check_integer(axis, "axis")
    if not isinstance(logits, keras.KerasTensor):
        logits = backend.to_tensor(logits)
    check_logits(logits)
    axis = canonical_axis(axis, logits.shape)
    dtype = "float64" if _dtype(logits) == "float64" else "float32"
    temperature = backend.to_tensor(temperature, dtype)
    if len(temperature.shape):
        check_temperature_shape(temperature, logits, axis)
    if class_mask is not None:
        class_mask = backend.to_tensor(class_mask)
        check_class_mask(class_mask, logits)
    return logits, temperature, axis, class_mask


def check_class_mask(class_mask: Any, logits: Tensor) -> None:
    """Bool, and broadcastable to the logits."""
    dtype = _dtype(class_mask)
    if dtype != "bool":
        raise TypeError(
            "`class_mask` must be bool, True where a class is allowed. "
            f"Received: class_mask of dtype {dtype}"
        )
    shape, target = tuple(class_mask.shape), tuple(logits.shape)
    if not _broadcasts(shape, target):
        raise ValueError(
            "`class_mask` must broadcast to the logits. Received: "
            f"class_mask of shape {shape}, logits of shape {target}"
        )


def check_samples(samples: Tensor, logits: Tensor) -> None:
    """Two or more for each distribution of the logits."""
    shape, target = tuple(samples.shape), tuple(logits.shape)
    if not _agree(shape, (None, *target)) or shape[0] in (0, 1):
        raise ValueError(
            "`samples` must have the shape (S, *logits.shape), with S at "
            f"least 2. Received: samples of shape {shape}, logits of shape "
            f"{target}"
        )


def check_values(values: Tensor, samples: Tensor, axis: int) -> None:
    """One float for each sample of each example."""
    if "float" not in _dtype(values):
        raise TypeError(
            "`values` must be a float tensor. "
            f"Received: values of dtype {_dtype(values)}"
        )
    shape, target = tuple(values.shape), tuple(samples.shape)
    # The class axis, counted behind the axis of the samples.
    fitting = (*target[: axis + 1], *target[axis + 2 :])
    if not shape or not _agree(shape, fitting[: len(shape)]):
        raise ValueError(
            "`values` must have the shape (S, *batch), where batch begins "
            "the logits' shape less the class axis. Received: values of "
            f"shape {shape}, samples of shape {target}, axis={axis}"
        )


def check_possible(logits: np.ndarray) -> None:
    """Every distribution has a class, and no logit is NaN or +inf."""
    if not np.all(np.isfinite(logits.max(-1))):
        raise ValueError(
            "`logits` must be numbers or -inf, and allow a class in every "
            f"row. Received: logits={logits}"
        )


def check_objective_batch(values: Tensor, states: Tensor) -> None:
    """A value for each state of each example, by some number of axes."""
    shape, given = tuple(values.shape), tuple(states.shape)
    if not shape or shape != given[:-1][: len(shape)]:
        raise ValueError(
            "`objective` must return values of shape (m, *batch) for states "
            "of shape (m, *batch, *variables, K). "
            f"Received: objective(states) of shape {shape}, states of shape "
            f"{given}"
        )


def check_objective_values(values: Tensor, expected: tuple[int, ...]) -> None:
    """As many values for other states as there were for the first ones."""
    shape = tuple(values.shape)
    if shape != expected:
        raise ValueError(
            "`objective` must return one value for each state of each "
            f"example, here of shape {expected}. "
            f"Received: objective(states) of shape {shape}"
        )


def check_reference(length: float) -> None:
    """Something to be relative to."""
    if not (length > 0 and math.isfinite(length)):
        raise ValueError(
            "`objective` must have an expectation whose gradient is finite "
            "and not zero: errors are relative to its length. "
            f"Received: length={length}"
        )


def check_number_of_states(classes: int, variables: int, maximum: int) -> None:
    """Few enough to enumerate."""
    if classes**variables > maximum:
        raise ValueError(
            f"`logits` must have at most {maximum:,} joint states to "
            f"enumerate. Received: logits with {variables} variables of "
            f"{classes} classes, {classes}**{variables} states"
        )


def check_table(table: Any, logits: Tensor) -> None:
    """A float matrix with a row for each class."""
    shape, classes = tuple(table.shape), logits.shape[-1]
    if "float" not in _dtype(table):
        raise TypeError(
            "`table` must be a float tensor. "
            f"Received: table of dtype {_dtype(table)}"
        )
    fits = len(shape) == 2 and _broadcasts(shape[:1], (classes,))
    if not fits or shape[0] == 1 != classes:
        raise ValueError(
            "`table` must be a matrix with one row for each class. Received: "
            f"table of shape {shape}, logits of shape {tuple(logits.shape)}"
        )


def check_choice(value: Any, name: str, choices: tuple[Any, ...]) -> None:
    """One of `choices`."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {choices}. Received: {name}={value!r}"
        )


def check_noise_dtype(dtype: Any) -> str:
    """The name of a float dtype."""
    try:
        name: str = keras.backend.standardize_dtype(dtype)
    except (ValueError, TypeError):
        name = repr(dtype)
    if name not in ("float16", "bfloat16", "float32", "float64"):
        raise ValueError(
            "`dtype` must be a float dtype: 'float16', 'bfloat16', "
            f"'float32' or 'float64'. Received: dtype={dtype!r}"
        )
    return name


def _dtype(x: Any) -> str:
    name: str = keras.backend.standardize_dtype(x.dtype)
    return name


def _agree(
    shape: tuple[int | None, ...], target: tuple[int | None, ...]
) -> bool:
    """Whether the two may be the same, as far as they are known."""
    return len(shape) == len(target) and all(
        size == goal or size is None or goal is None
        for size, goal in zip(shape, target, strict=True)
    )


def _broadcasts(
    shape: tuple[int | None, ...], target: tuple[int | None, ...]
) -> bool:
    """Whether `shape` can broadcast to `target` without enlarging it."""
    if len(shape) > len(target):
        return False
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return all(
        size == 1 or size == goal or size is None or goal is None
        for size, goal in pairs
    )
