"""The arguments of every sample, once they are checked."""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor


class Arguments(NamedTuple):
    """The tensors that a sample is made of.

    Attributes:
        logits: Float tensor; of gates that are still to be made, None.
        temperature: Float32, or float64 for float64 logits.
        class_mask: Bool, or None where nothing is forbidden.
        axis: That of the classes, from the front; -1 for gates, which have
            none.
        learned: Whether a gradient is to reach the temperature.
    """

    logits: Tensor
    temperature: Tensor
    class_mask: Tensor | None
    axis: int = -1
    learned: bool = False


def is_learned(temperature: Any) -> bool:
    """Whether a gradient is to reach a temperature, as it was given."""
    if isinstance(temperature, keras.Variable):
        # A layer's own, which schedules set, does not train.
        return bool(temperature.trainable)
    return hasattr(temperature, "dtype")


def as_it_is(x: Any) -> Any:
    """The value of a variable, in its own dtype; anything else itself.

    Without a gradient where the variable does not train.
    """
    if not isinstance(x, keras.Variable):
        return x
    value = backend.to_tensor(backend.read(x))
    return value if x.trainable else ops.stop_gradient(value)
