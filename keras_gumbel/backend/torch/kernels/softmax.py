"""Softmax and its backward rule."""

import math
from collections.abc import Callable

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.kernels.blocks import blocks, rows_of
from keras_gumbel.backend.torch.kernels.memory import empty
from keras_gumbel.backend.torch.programs import others_are_wanted


def softmax(
    function: Callable[..., Tensor], x: Tensor, temperature: Tensor, axis: int
) -> Tensor:
    """Return `softmax(x, temperature, axis)`, fast if all is finite."""
    if 0 in x.shape:
        return function(x, temperature, axis)
    y = empty(x.shape, x.dtype)
    for rows in blocks(x.shape, axis):
        part = x[rows]
        gap = (part - part.amax(axis, True)).div_(
            rows_of(temperature, rows, x.ndim)
        )
        torch.softmax(gap, axis, out=y[rows])
    if not math.isfinite(y.sum()):
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
    if not math.isfinite(mean.sum()):
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
    dx = empty(x.shape, x.dtype)
    for rows in blocks(x.shape, axis):
        tau = rows_of(temperature, rows, x.ndim)
        gap = (x[rows] - rows_of(peak, rows, x.ndim)).div_(tau)
        y = torch.softmax(gap, axis)
        part = dx[rows]
        torch._softmax_backward_data(
            dy[rows].to(y.dtype), y, axis, y.dtype, grad_input=part
        )
        part /= tau
    # Forbidden rows, NaN, or infinite gradients at classes that are 0.
    if not math.isfinite(dx.sum()):
        return function(x, peak, temperature, dy, axis)
    if not others_are_wanted():
        return dx, dx.new_zeros(()).expand_as(dx)
    gap = (x - peak).clamp_(min=torch.finfo(x.dtype).min)
    return dx, -dx * gap / temperature
