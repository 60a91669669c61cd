"""Distributions beside those of the logits."""

from keras_gumbel._typing import Tensor
from keras_gumbel._validation.tensors import _broadcasts, dtype_name


def check_prior_logits(prior_logits: Tensor, logits: Tensor, axis: int) -> None:
    """Floats that broadcast to the logits, with as many classes."""
    if "float" not in dtype_name(prior_logits):
        raise TypeError(
            "`prior_logits` must be a float tensor. "
            f"Received: prior_logits of dtype {dtype_name(prior_logits)}"
        )
    shape, target = tuple(prior_logits.shape), tuple(logits.shape)
    # Counted from the end, as broadcasting counts.
    from_end = len(target) - axis
    fits = _broadcasts(shape, target) and from_end <= len(shape)
    if not fits or shape[-from_end] == 1 != target[axis]:
        raise ValueError(
            "`prior_logits` must broadcast to the logits, with all classes "
            f"along the category axis. Received: prior_logits of shape {shape},"
            f" logits of shape {target}, axis={axis}"
        )
