"""Checks of priors, and of layers that have a distribution."""

from typing import Any

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation.tensors import (
    broadcasts,
    canonical_axis,
    dtype_name,
)


def check_prior_logits(prior_logits: Tensor, logits: Tensor, axis: int) -> None:
    """Raise unless it is floats that fit the logits, with all classes."""
    _check_is_float(prior_logits)
    shape = backend.static_shape(prior_logits)
    target = backend.static_shape(logits)
    # Counted from the end, as broadcasting counts.
    from_end = len(target) - axis
    fits = broadcasts(shape, target) and from_end <= len(shape)
    if not fits or shape[-from_end] == 1 != target[axis]:
        raise ValueError(
            "`prior_logits` must broadcast to the logits, with all classes "
            f"along the category axis. Received: prior_logits of shape {shape},"
            f" logits of shape {target}, axis={axis}"
        )


def check_prior_of_gates(prior_logits: Tensor, logits: Tensor) -> None:
    """Raise unless it is floats that broadcast to the logits."""
    _check_is_float(prior_logits)
    shape = backend.static_shape(prior_logits)
    target = backend.static_shape(logits)
    if not broadcasts(shape, target):
        raise ValueError(
            "`prior_logits` must broadcast to the logits. Received: "
            f"prior_logits of shape {shape}, logits of shape {target}"
        )


def _check_is_float(prior_logits: Tensor) -> None:
    if "float" not in dtype_name(prior_logits):
        raise TypeError(
            "`prior_logits` must be a float tensor. "
            f"Received: prior_logits of dtype {dtype_name(prior_logits)}"
        )


def check_has_law(layer: Any, has_law: bool, supported: list[str]) -> None:
    """Raise unless the layer's samples have a known distribution."""
    if not has_law:
        hard = getattr(layer, "hard", None)
        raise TypeError(
            f"`layer` must be one of {', '.join(supported)}. "
            f"Received: layer={layer!r}" + f", hard={hard}" * (hard is not None)
        )


def check_is_noisy(layer: Any) -> None:
    """Raise without noise: there is one sample and no distribution."""
    scale = backend.static_value(backend.to_tensor(layer.noise_scale))
    if scale is not None and not scale > 0:
        raise ValueError(
            "`layer` must have a positive `noise_scale`: without noise it has "
            f"no distribution. Received: layer={layer!r}, "
            f"noise_scale={float(scale)}"
        )


def check_categories_are_last(layer: Any, logits: Tensor) -> None:
    """Raise unless categories are last, as in TensorFlow Probability."""
    shape = backend.static_shape(logits)
    several = not isinstance(layer.axis, int)
    if several or canonical_axis(layer.axis, shape) != len(shape) - 1:
        raise ValueError(
            "`layer` must have its categories on the last axis, as TensorFlow "
            "Probability has them: give a layer with axis=-1 and "
            "`keras.ops.moveaxis(logits, axis, -1)`. "
            f"Received: axis={layer.axis}, logits of shape {shape}"
        )
