"""Formulas of rows, block by block, so that a block's buffers stay in cache.

A new buffer of the logits' size costs as much as a pass over it: the system
clears each of its pages.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.kernels.fused import BLOCK


def blocks(shape: torch.Size, axis: int) -> Iterator[Any]:
    """Yield slices of the first axis; all of it if it is the `axis`."""
    if axis % len(shape) == 0:
        yield slice(None)
        return
    step = max(1, BLOCK // math.prod(shape[1:]))
    for first in range(0, shape[0], step):
        yield slice(first, first + step)


def rows_of(x: Tensor | float, rows: slice, rank: int) -> Tensor | float:
    """Return these rows of `x`, which broadcasts to tensors of this rank."""
    if not isinstance(x, torch.Tensor) or x.ndim < rank or len(x) == 1:
        return x
    return x[rows]


def heun(
    function: Callable[..., Tensor],
    temperature: Tensor | float,
    scale: Tensor | float,
    logits: Tensor,
    choice: Tensor,
    dy: Tensor,
    axis: int,
) -> Tensor:
    """Return ReinMax's rule, `function(temperature, scale, ...)`."""
    if 0 in logits.shape:
        return function(temperature, scale, logits, choice, dy, axis)
    rank = logits.ndim
    out = torch.empty_like(logits, memory_format=torch.contiguous_format)
    for rows in blocks(logits.shape, axis):
        numbers = rows_of(temperature, rows, rank), rows_of(scale, rows, rank)
        tensors = (rows_of(x, rows, rank) for x in (logits, choice, dy))
        out[rows] = function(*numbers, *tensors, axis)
    return out
