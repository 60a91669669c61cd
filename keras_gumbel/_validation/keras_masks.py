"""Masks that Keras passes beside its tensors, False at padding."""

from keras_gumbel import backend
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation.tensors import dtype_name


def check_keras_mask(mask: Tensor, shape: Shape) -> None:
    """Raise unless it is bool, of the first axes of its tensor."""
    dtype = dtype_name(mask)
    if dtype != "bool":
        raise TypeError(
            "`mask`, Keras's own, must be bool, False where there is "
            f"padding. Received: mask of dtype {dtype}"
        )
    if backend.rank(mask) is None:
        raise ValueError(
            "`mask` must have a known rank. "
            f"Received: mask of shape {mask.shape}"
        )
    sizes, target = backend.static_shape(mask), backend.static_shape(shape)
    pairs = zip(sizes, target, strict=False)
    if not 1 <= len(sizes) <= len(target) or not all(
        size in (goal, 1, None) or goal is None for size, goal in pairs
    ):
        raise ValueError(
            "`mask`, Keras's own, must have the shape of the logits or of "
            "their first axes: it is aligned from the left. (`class_mask` is "
            "the one that broadcasts.) Received: mask of shape "
            f"{sizes}, logits of shape {target}"
        )
