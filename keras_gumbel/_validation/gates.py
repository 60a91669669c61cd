"""Logits of gates, each of which is a variable of its own."""

from typing import Any

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation.tensors import (
    broadcasts,
    check_class_mask,
    check_logits,
    check_temperature,
    dense,
    dtype_name,
)


def gate_arguments(
    logits: Any, temperature: Any, class_mask: Any
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The arguments of every function of gates, checked, as tensors.

    The temperature becomes float32, or float64 for float64 logits.
    """
    check_temperature(temperature)
    logits = dense(logits, "logits")
    check_logits(logits)
    dtype = "float64" if dtype_name(logits) == "float64" else "float32"
    temperature = backend.to_tensor(temperature, dtype)
    shape, target = tuple(temperature.shape), tuple(logits.shape)
    if not broadcasts(shape, target):
        raise ValueError(
            "`temperature` must broadcast to the logits. Received: "
            f"temperature of shape {shape}, logits of shape {target}"
        )
    if class_mask is not None:
        class_mask = dense(class_mask, "class_mask")
        check_class_mask(class_mask, logits)
    return logits, temperature, class_mask
