"""One axis, or several."""

from typing import Any

from keras_gumbel import backend
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation.scalars import check_integer
from keras_gumbel._validation.tensors import broadcasts, canonical_axis


def check_axis(axis: Any) -> int | tuple[int, ...]:
    """Return `axis` as an integer or a tuple of integers."""
    if isinstance(axis, str) or not hasattr(axis, "__len__"):
        check_integer(axis, "axis")
        return int(axis)
    for one in axis:
        check_integer(one, "axis")
    if not len(axis):
        raise ValueError(
            f"`axis` must name at least one axis. Received: axis={axis!r}"
        )
    return tuple(int(one) for one in axis)


def check_axes_fit(axes: tuple[int, ...], shape: Shape) -> tuple[int, ...]:
    """Return several axes of logits, counted from the front, in order."""
    found = tuple(canonical_axis(axis, shape) for axis in axes)
    if len(set(found)) < len(found):
        raise ValueError(
            "`axis` must name each axis once. "
            f"Received: axis={axes}, logits of shape {tuple(shape)}"
        )
    return found


def check_one_a_distribution(
    temperature: Tensor, shape: Shape, axes: tuple[int, ...]
) -> None:
    """Raise unless it broadcasts to logits, with size 1 along all axes."""
    pairs = enumerate(shape)
    goal = tuple(1 if axis in axes else size for axis, size in pairs)
    given = backend.static_shape(temperature)
    if not broadcasts(given, goal):
        raise ValueError(
            "`temperature` must broadcast to the logits and have size 1 "
            "along the axes of the classes. Received: temperature of shape "
            f"{given}, logits of shape {tuple(shape)}, axis={axes}"
        )
