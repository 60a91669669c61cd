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
from keras_gumbel.backend.torch.kernels.memory import empty


def blocks(shape: torch.Size, axis: int) -> Iterator[Any]:
    """Yield slices of the first axis; all of it if it is the `axis`."""
    if axis % len(shape) == 0:
        yield slice(None)
        return
    # A row may have no entries.
    step = max(1, BLOCK // max(1, math.prod(shape[1:])))
    for first in range(0, shape[0], step):
        yield slice(first, first + step)


def rows_of(x: Tensor | float, rows: slice, rank: int) -> Tensor | float:
    """Return these rows of `x`, which broadcasts to tensors of this rank."""
    if not isinstance(x, torch.Tensor) or x.ndim < rank or len(x) == 1:
        return x
    return x[rows]


def in_blocks(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """Return `function(*args)`, a formula of rows, whose last is the axis."""
    *args_, axis = args
    tensors = [x for x in args_ if isinstance(x, torch.Tensor)]
    shape = torch.broadcast_shapes(*(x.shape for x in tensors))
    if 0 in shape:
        return function(*args)
    out = None
    for rows in blocks(shape, axis):
        part = function(*(rows_of(x, rows, len(shape)) for x in args_), axis)
        if out is None:
            out = empty(shape, part.dtype)
        out[rows] = part
    return out
