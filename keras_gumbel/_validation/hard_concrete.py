"""Checks of hard concrete gates, and of the inputs they multiply."""

import math
from typing import Any

from keras_gumbel import backend
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation.arguments import Arguments, is_learned
from keras_gumbel._validation.scalars import (
    check_sequence,
    is_number,
)
from keras_gumbel._validation.tensors import (
    broadcasts,
    check_temperature,
    dense,
    dtype_name,
)


def check_stretch(stretch: Any) -> None:
    """Raise unless it is two finite numbers, below 0 and above 1."""
    check_sequence(stretch, "stretch")
    if not (
        len(stretch) == 2
        and all(map(is_number, stretch))
        and -math.inf < stretch[0] < 0
        and 1 < stretch[1] < math.inf
    ):
        raise ValueError(
            "`stretch` must be two finite numbers, one below 0 and one above "
            "1, so that gates can be exactly 0 and exactly 1. "
            f"Received: stretch={stretch!r}"
        )


def gate_axes(axis: int | tuple[int, ...], shape: Shape) -> tuple[int, ...]:
    """Return the gated axes, counted from the front, in order."""
    rank = len(shape)
    given = (axis,) if isinstance(axis, int) else axis
    received = f"Received: axis={axis}, inputs of shape {tuple(shape)}"
    if not all(-rank <= one < rank for one in given):
        raise ValueError(
            f"`axis` must be in [-{rank}, {rank}) for inputs of rank {rank}. "
            f"{received}"
        )
    axes = tuple(sorted(one % rank for one in given))
    if len(set(axes)) < len(axes):
        raise ValueError(f"`axis` must name each axis once. {received}")
    if axes[0] == 0:
        raise ValueError(
            "`axis` must not be the first one, that of the examples: gates "
            f"are learned for features. {received}"
        )
    if any(shape[one] is None for one in axes):
        raise ValueError(
            "`axis` must be of known size: there is a weight for each gate. "
            f"{received}"
        )
    return axes


def check_gated(inputs: Tensor) -> None:
    """Raise unless a gate can multiply the inputs."""
    dtype = dtype_name(inputs)
    if "float" not in dtype:
        raise TypeError(
            "`inputs` must be a float tensor. "
            f"Received: inputs of dtype {dtype}"
        )


def check_log_alpha(log_alpha: Any) -> None:
    """Raise unless it is a float tensor of known rank."""
    dtype = dtype_name(log_alpha)
    if "float" not in dtype:
        raise TypeError(
            "`log_alpha` must be a float tensor. "
            f"Received: log_alpha of dtype {dtype}"
        )
    if backend.rank(log_alpha) is None:
        raise ValueError(
            "`log_alpha` must have a known rank. "
            f"Received: log_alpha of shape {log_alpha.shape}"
        )


def hard_concrete_arguments(
    log_alpha: Tensor | None,
    temperature: Any,
    class_mask: Any,
    shape: Shape,
    dtype: str,
) -> Arguments:
    """Check and return the arguments of gates of this shape.

    A layer passes no `log_alpha`: it is yet to be made of the layer's weight.
    """
    check_temperature(temperature)
    learned = is_learned(temperature)
    temperature = backend.to_tensor(temperature, dtype)
    _check_fits(temperature, "temperature", shape)
    if class_mask is not None:
        class_mask = dense(class_mask, "class_mask")
        if dtype_name(class_mask) != "bool":
            raise TypeError(
                "`class_mask` must be bool, True where a gate may open. "
                f"Received: class_mask of dtype {dtype_name(class_mask)}"
            )
        _check_fits(class_mask, "class_mask", shape)
    return Arguments(log_alpha, temperature, class_mask, learned=learned)


def _check_fits(x: Tensor, name: str, target: Shape) -> None:
    shape = backend.static_shape(x)
    if not broadcasts(shape, target):
        raise ValueError(
            f"`{name}` must broadcast to the gates. "
            f"Received: {name} of shape {shape}, gates of shape {target}"
        )
