"""Functions of each entry by itself."""

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor


def sigmoid_vjp(
    x: Tensor, temperature: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor]:
    """Take gradient `dy` at sigmoid(x / temperature) back to its arguments.

    Returns:
        The gradient to `x`, and each entry's part of `temperature`'s.
    """
    # The sigmoid keeps its digits on the side where it is small.
    y = ops.sigmoid(-ops.abs(x / temperature))
    dx = scaled(y * (1.0 - y) / temperature, dy)
    return dx, -dx * x / temperature


def scaled(weight: Tensor, dy: Tensor) -> Tensor:
    """Return weight * dy, but 0 at weight 0, even for an infinite gradient."""
    return ops.where(weight != 0.0, weight * dy, 0.0)


def select(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return `where`; the value not chosen may be infinite or NaN.

    For ONNX a `where` becomes a sum of products with 0 and 1, unless it asks
    for NaN.
    """
    if backend.export_format() == "onnx":
        condition = ops.isnan(ops.where(condition, float("nan"), 0.0))
    return ops.where(condition, x, y)


def step(x: Tensor) -> Tensor:
    """Return 1 where x > 0, else 0; NaN where x is NaN."""
    return ops.where(backend.isnan(x), x, ops.cast(x > 0, x.dtype))
