"""The way back from softmax."""

from collections.abc import Callable

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.programs import others_are_wanted


def softmax(
    function: Callable[..., Tensor], x: Tensor, temperature: Tensor, axis: int
) -> Tensor:
    """`softmax(x, temperature, axis)`, where all is finite."""
    if 0 in x.shape:
        return function(x, temperature, axis)
    y = torch.softmax((x - x.amax(axis, True)).div_(temperature), axis)
    if not bool(torch.isfinite(y.sum())):
        return function(x, temperature, axis)
    return y


def softmax_terms(
    function: Callable[..., tuple[Tensor, Tensor, Tensor]],
    x: Tensor,
    temperature: Tensor | float,
    dy: Tensor,
    axis: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`softmax_terms(x, temperature, dy, axis)`, where all is finite."""
    if 0 in x.shape:
        return function(x, temperature, dy, axis)
    weight = (x - x.amax(axis, True)).div_(temperature).exp_()
    total = weight.sum(axis, True)
    mean = torch.mul(weight, dy).sum(axis, True) / total
    if not bool(torch.isfinite(mean.sum())):
        return function(x, temperature, dy, axis)
    return weight, total, mean


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
    del scaled
    if not others_are_wanted():
        del gap  # as large as what follows
    dx = torch._softmax_backward_data(dy.to(y.dtype), y, axis, y.dtype)
    dx /= temperature
    # Forbidden rows, NaN, and an infinite gradient at a class that is 0.
    if not bool(torch.isfinite(dx.sum())):
        return function(x, peak, temperature, dy, axis)
    if not others_are_wanted():
        return dx, torch.zeros(()).expand_as(dx)
    least = torch.finfo(x.dtype).min
    return dx, -dx * gap.clamp_(min=least) / temperature
