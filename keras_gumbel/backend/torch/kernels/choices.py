"""The choice of a class, and its one-hot code."""

import math
from collections.abc import Callable

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.kernels.memory import zeros

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


def entry(
    function: Callable[..., Tensor], x: Tensor, choice: Tensor, axis: int
) -> Tensor:
    """Return `entry(x, choice, axis)`, fast if each choice is a class."""
    if not _are_classes(choice, x.shape[axis]):
        return function(x, choice, axis)
    return torch.gather(x, axis, choice.long())


def peak(name: str, x: Tensor, choice: Tensor, axis: int) -> Tensor:
    """Return `peak(x, choice, axis)`.

    A compiler has this reduction already, and keeps no copy of `x` for a read.
    """
    del name
    return torch.where(choice < 0, math.nan, x.amax(axis, True))


def one_hot(
    function: Callable[..., Tensor], choice: Tensor, like: Tensor, axis: int
) -> Tensor:
    """Return 1 at the choice, else 0; a row of `like` may have many choices."""
    del function
    size = like.shape[axis]
    choice, like = torch.broadcast_tensors(choice, like)
    choice, hot = choice.narrow(axis, 0, 1), zeros(like.shape, like.dtype)
    if _are_classes(choice, size):
        return hot.scatter_(axis, choice.long(), 1)
    inside = choice.clamp(0, size - 1).long()
    chosen = ((choice >= 0) & (choice < size)).to(like.dtype)
    return hot.scatter_(axis, inside, chosen).masked_fill_(choice < 0, math.nan)


def _are_classes(choice: Tensor, count: int) -> bool:
    """Return whether all choices are classes, and no marks for NaN or none."""
    if not choice.numel():
        return False
    least, most = torch.aminmax(choice)
    return int(least) >= 0 and int(most) < count
