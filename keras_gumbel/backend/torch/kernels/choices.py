"""The choice of a class, and its one-hot code."""

import math
from collections.abc import Callable

import torch

from keras_gumbel._typing import Tensor

_LONGEST_RUN = 64


def first_argmax(
    function: Callable[..., Tensor], x: Tensor, axis: int
) -> Tensor:
    """Return the first largest entry, by peaks of runs and one run per row."""
    del function
    size, last = x.shape[axis], axis % x.ndim == x.ndim - 1
    run = math.gcd(size, _LONGEST_RUN)
    if last and run >= 16 and size > run and x.is_contiguous() and len(x):
        runs = x.view(-1, size // run, run)
        peak, which = runs.amax(-1).max(-1)
        rows = torch.arange(len(runs))
        first = runs[rows, which].argmax(-1).add_(which, alpha=run)
        shape = (*x.shape[:-1], 1)
        peak, first = peak.view(shape), first.view(shape)
    else:
        peak, first = x.max(axis, keepdim=True)
    first = first.to(torch.int32)
    first = first.masked_fill_(peak == -math.inf, size)
    return first.masked_fill_(peak == math.inf, -1)


def one_hot(
    function: Callable[..., Tensor], choice: Tensor, like: Tensor, axis: int
) -> Tensor:
    """Return 1 at the choice, else 0; a row of `like` may have many choices."""
    del function
    size = like.shape[axis]
    shape = list(torch.broadcast_shapes(choice.shape, like.shape))
    hot = like.new_zeros(shape)
    shape[axis] = 1
    choice = choice.expand(shape)
    inside = choice.clamp(0, size - 1).long()
    chosen = ((choice >= 0) & (choice < size)).to(like.dtype)
    hot.scatter_(axis, inside, chosen)
    bad = choice < 0
    return hot.masked_fill_(bad, math.nan) if bool(bad.any()) else hot
