"""Whether a layer can add a loss where it is called."""

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.backend import (
    is_in_inner_graph as is_in_inner_graph,
    value_now as value_now,
)


@backend.unchecked
def zero_or_nan(weight: Tensor) -> Tensor:
    """Return 0 if an omitted loss has weight 0, else NaN."""
    weight = backend.to_tensor(weight)
    return ops.where(weight == 0, ops.zeros_like(weight), float("nan"))
