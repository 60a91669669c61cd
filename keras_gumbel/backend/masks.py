"""The mask that Keras has a tensor carry: for every framework."""

# Keras keeps these to itself.
from keras.src.backend.common.masking import (
    get_keras_mask as mask_of,
    set_keras_mask,
)

from keras_gumbel._typing import Tensor

__all__ = ["mask_of", "with_mask_of"]


def with_mask_of(source: Tensor, x: Tensor) -> Tensor:
    """`x`, with the mask of `source` if that has one."""
    mask = mask_of(source)
    if mask is not None:
        set_keras_mask(x, mask)
    return x
