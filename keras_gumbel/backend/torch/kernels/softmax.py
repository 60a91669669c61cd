"""The way back from softmax."""

from collections.abc import Callable

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.programs import others_are_wanted


def softmax_vjp(
    function: Callable[..., tuple[Tensor, Tensor]],
    x: Tensor,
    peak: Tensor,
    temperature: Tensor,
    dy: Tensor,
    axis: int,
) -> tuple[Tensor, Tensor]:
    """`softmax_vjp(x, peak, temperature, dy, axis)`, where all is finite."""
    gap = x - peak
    scaled = gap / temperature if others_are_wanted() else gap.div_(temperature)
    y = torch.softmax(scaled, axis)
    dx = torch._softmax_backward_data(dy.to(y.dtype), y, axis, y.dtype)
    dx /= temperature
    # Forbidden rows, NaN, and an infinite gradient at a class that is 0.
    if not bool(torch.isfinite(dx.sum())):
        return function(x, peak, temperature, dy, axis)
    if not others_are_wanted():
        return dx, torch.zeros(()).expand_as(dx)
    least = torch.finfo(x.dtype).min
    return dx, -dx * gap.clamp_(min=least) / temperature
