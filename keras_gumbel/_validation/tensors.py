"""Checks of logits, and of the tensors that go with them."""

from typing import Any

import keras
import numpy as np

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation.arguments import Arguments, is_learned
from keras_gumbel._validation.scalars import (
    check_integer,
    check_positive,
    is_number,
)

# Float32 has every integer up to this.
MOST_NUMBERS = 2**24


def check_dense(x: Any, name: str) -> None:
    """Raise if the tensor is ragged or sparse."""
    layout = backend.layout(x)
    if layout == "dense":
        return
    if layout == "ragged":
        remedy = (
            f"`tf.ragged.map_flat_values(function, {name})` goes over ragged "
            "positions; where the last axis is ragged, "
            f"`{name}.to_tensor(...)` pads it (logits with -inf, which forbids)"
        )
    else:
        remedy = (
            f"`tf.sparse.to_dense({name})` is one, with 0 for what is missing"
        )
    raise TypeError(
        f"`{name}` must be a dense tensor: {remedy}. Received: {name} that is "
        f"{layout}, of shape {tuple(x.shape)}"
    )


def check_not_symbolic(x: Any, name: str) -> None:
    """Raise if it is an input of a Functional model."""
    if isinstance(x, keras.KerasTensor):
        raise TypeError(
            f"`{name}` must be a tensor with values, and an input of a "
            "Functional model has none yet. There call the layer, as "
            "`keras_gumbel.GumbelSoftmax` for `gumbel_softmax`, or one of "
            "your own that calls this in its `call(self, inputs)`. "
            f"Received: {name}={x}"
        )


def dense(x: Any, name: str, dtype: str | None = None) -> Tensor:
    """Return `x` as a tensor; raise if it is symbolic, ragged or sparse."""
    check_not_symbolic(x, name)
    check_dense(x, name)
    return backend.to_tensor(x, dtype)


def check_temperature(temperature: Any) -> None:
    """Raise unless it is positive and finite: a number or a float tensor."""
    if is_number(temperature):
        check_positive(temperature, "temperature")
        return
    check_not_symbolic(temperature, "temperature")
    check_dense(temperature, "temperature")
    if hasattr(temperature, "dtype") and "float" in dtype_name(temperature):
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


def check_can_follow(temperature: Any, inputs: tuple[Any, ...]) -> None:
    """Raise if a Functional model would store a variable's present number."""
    symbolic = any(isinstance(x, keras.KerasTensor) for x in inputs)
    if symbolic and isinstance(temperature, keras.Variable):
        raise ValueError(
            "`temperature` in a Functional model must be a number or a Keras "
            "tensor: the model would keep the present value of a variable, "
            "and never follow or train it. Call the layer in a layer or "
            "model of your own, or set the temperature of the layer itself. "
            f"Received: temperature={temperature!r}"
        )


def check_initial_temperature(temperature: Any) -> None:
    """Raise unless a layer can start with it: one positive finite number."""
    # NumPy would raise its own error for a list that is no array.
    several = isinstance(temperature, list | tuple)
    if several or np.ndim(temperature) != 0:
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
    """Raise unless it fits the logits, with one number per distribution."""
    shape = backend.static_shape(temperature)
    target = backend.static_shape(logits)
    fits = broadcasts(shape, target)
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


def canonical_axis(axis: int, shape: tuple[int | None, ...]) -> int:
    """Return `axis` counted from the front."""
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


def check_logits(logits: Any, name: str = "logits") -> None:
    """Raise unless it is a float tensor of known rank."""
    dtype = dtype_name(logits)
    if "float" not in dtype:
        raise TypeError(
            f"`{name}` must be a float tensor: unnormalised "
            "log-probabilities, not classes or counts. "
            f"Received: {name} of dtype {dtype}"
        )
    if backend.rank(logits) is None:
        raise ValueError(
            f"`{name}` must have a known rank. "
            f"Received: {name} of shape {logits.shape}"
        )


def categorical_arguments(
    logits: Any,
    temperature: Any,
    axis: Any,
    class_mask: Any,
    name: str = "logits",
) -> Arguments:
    """Check and return the arguments of every categorical function."""
    check_temperature(temperature)
    check_integer(axis, "axis")
    learned = is_learned(temperature)
    logits = dense(logits, name)
    check_logits(logits, name)
    axis = canonical_axis(axis, backend.static_shape(logits))
    temperature = backend.to_tensor(temperature, wide_dtype_name(logits))
    if len(temperature.shape):
        check_temperature_shape(temperature, logits, axis)
    if class_mask is not None:
        class_mask = dense(class_mask, "class_mask")
        check_class_mask(class_mask, logits)
    return Arguments(logits, temperature, class_mask, axis, learned)


def check_class_mask(class_mask: Any, logits: Tensor) -> None:
    """Raise unless it is bool and broadcasts to the logits."""
    dtype = dtype_name(class_mask)
    if dtype != "bool":
        raise TypeError(
            "`class_mask` must be bool, True where a class is allowed. "
            f"Received: class_mask of dtype {dtype}"
        )
    shape = backend.static_shape(class_mask)
    target = backend.static_shape(logits)
    if not broadcasts(shape, target):
        raise ValueError(
            "`class_mask` must broadcast to the logits. Received: "
            f"class_mask of shape {shape}, logits of shape {target}"
        )


def check_index_is_exact(shape: tuple[int | None, ...], axis: int) -> None:
    """Raise if float32 cannot number the classes, if these are known now."""
    classes = backend.static_shape(shape)[axis]
    if classes is not None and classes > MOST_NUMBERS:
        raise ValueError(
            "`logits` must have at most 2**24 classes for an index in float32, "
            "which rounds larger numbers. "
            "`keras_gumbel.ops.gumbel_top_k(logits, 1, hard=True)` gives the "
            "class as an integer too. "
            f"Received: logits of shape {tuple(shape)}, axis={axis}"
        )


def check_table(table: Any, logits: Tensor) -> None:
    """Raise unless it is a float matrix with a row for each class."""
    shape = backend.static_shape(table)
    target = backend.static_shape(logits)
    if "float" not in dtype_name(table):
        raise TypeError(
            "`table` must be a float tensor. "
            f"Received: table of dtype {dtype_name(table)}"
        )
    fits = len(shape) == 2 and broadcasts(shape[:1], target[-1:])
    if not fits or shape[0] == 1 != target[-1]:
        raise ValueError(
            "`table` must be a matrix with one row for each class. Received: "
            f"table of shape {shape}, logits of shape {target}"
        )


def broadcasts(
    shape: tuple[int | None, ...], target: tuple[int | None, ...]
) -> bool:
    """Return whether `shape` can broadcast to `target` without enlarging it."""
    if len(shape) > len(target):
        return False
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return all(
        size == 1 or size == goal or size is None or goal is None
        for size, goal in pairs
    )


def dtype_name(x: Any) -> str:
    name: str = keras.backend.standardize_dtype(x.dtype)
    return name


def wide_dtype_name(logits: Tensor) -> str:
    """Return the dtype in which a sample of `logits` is computed."""
    return "float64" if dtype_name(logits) == "float64" else "float32"
