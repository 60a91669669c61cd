"""Logits of gates; each gate is a variable of its own."""

from typing import Any

from keras_gumbel import backend
from keras_gumbel._validation.arguments import Arguments, is_learned
from keras_gumbel._validation.tensors import (
    broadcasts,
    check_class_mask,
    check_logits,
    check_temperature,
    dense,
    wide_dtype_name,
)


def gate_arguments(logits: Any, temperature: Any, class_mask: Any) -> Arguments:
    """Check and return the arguments of every function of gates."""
    check_temperature(temperature)
    learned = is_learned(temperature)
    logits = dense(logits, "logits")
    check_logits(logits)
    temperature = backend.to_tensor(temperature, wide_dtype_name(logits))
    shape = backend.static_shape(temperature)
    target = backend.static_shape(logits)
    if not broadcasts(shape, target):
        raise ValueError(
            "`temperature` must broadcast to the logits. Received: "
            f"temperature of shape {shape}, logits of shape {target}"
        )
    if class_mask is not None:
        class_mask = dense(class_mask, "class_mask")
        check_class_mask(class_mask, logits)
    return Arguments(logits, temperature, class_mask, learned=learned)
