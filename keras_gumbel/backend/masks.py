"""The masks that Keras attaches to tensors, for every framework."""

# Keras keeps these private.
from keras.src.backend.common.masking import (
    get_keras_mask as mask_of,
    set_keras_mask,
)

from keras_gumbel._typing import Tensor

__all__ = ["mask_of", "with_mask_of"]


def with_mask_of(source: Tensor, x: Tensor) -> Tensor:
    """Return `x`, with the mask of `source` if it has one."""
    mask = mask_of(source)
    if mask is not None:
        set_keras_mask(x, mask)
    return x
