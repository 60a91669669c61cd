"""The checked arguments of every sample."""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor


class Arguments(NamedTuple):
    """The tensors that a sample is made of.

    Attributes:
        logits: Float tensor; None for gates that are still to be made.
        temperature: Float32, or float64 for float64 logits.
        class_mask: Bool, or None where nothing is forbidden.
        axis: The class axis, counted from the front; -1 for gates, which have
            none.
        learned: Whether a gradient is to reach the temperature.
    """

    logits: Tensor
    temperature: Tensor
    class_mask: Tensor | None
    axis: int = -1
    learned: bool = False


def is_learned(temperature: Any) -> bool:
    """Return whether a gradient is to reach the given temperature."""
    if isinstance(temperature, keras.Variable):
        # A layer's own temperature, which schedules set, does not train.
        return bool(temperature.trainable)
    return hasattr(temperature, "dtype")


def as_it_is(x: Any) -> Any:
    """Return the value of a variable, in its own dtype; else `x` itself.

    If the variable does not train, the value has no gradient.
    """
    if not isinstance(x, keras.Variable):
        return x
    value = backend.to_tensor(backend.read(x))
    return value if x.trainable else ops.stop_gradient(value)
