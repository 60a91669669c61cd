"""Softmax and its backward rule."""

from collections.abc import Callable

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.programs import others_are_wanted


def softmax(
    function: Callable[..., Tensor], x: Tensor, temperature: Tensor, axis: int
) -> Tensor:
    """Return `softmax(x, temperature, axis)`, fast if all is finite."""
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
    """Return `softmax_terms(x, temperature, dy, axis)`, fast if finite."""
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
    """Return `softmax_vjp(x, peak, temperature, dy, axis)`, fast if finite."""
    gap = x - peak
    scaled = gap / temperature if others_are_wanted() else gap.div_(temperature)
    y = torch.softmax(scaled, axis)
    del scaled
    if not others_are_wanted():
        del gap  # as large as the results
    dx = torch._softmax_backward_data(dy.to(y.dtype), y, axis, y.dtype)
    dx /= temperature
    # Forbidden rows, NaN, or infinite gradients at classes that are 0.
    if not bool(torch.isfinite(dx.sum())):
        return function(x, peak, temperature, dy, axis)
    if not others_are_wanted():
        return dx, torch.zeros(()).expand_as(dx)
    least = torch.finfo(x.dtype).min
    return dx, -dx * gap.clamp_(min=least) / temperature
