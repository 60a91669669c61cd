"""Noise as one operation of a program that a user compiles.

Inductor would draw it again in each loop that reads it, and take minutes over
that; if the key is a constant, it would draw as it compiles. So the noise is an
operation that shows only its size, and runs a program of its own.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from keras.src.backend.torch.core import to_torch_dtype

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.kernels import fused, loops
from keras_gumbel.backend.torch.programs import native_function


def noise(
    name: str,
    shape: Sequence[int],
    key: Tensor,
    dtype: str,
    start: Tensor | int = 0,
) -> Tensor:
    """Draw by a formula of `numerics/noise.py`, by its name."""
    start = torch.as_tensor(start)
    found: Tensor = _noise(
        name, math.prod(shape), key, start, to_torch_dtype(dtype)
    )
    return found.reshape(tuple(shape))


def best_columns(name: str, scores: Tensor) -> Tensor:
    """Return `best_columns(scores)` of `numerics/assignment.py`."""
    found: Tensor = _best_columns(name, scores)
    return found


@torch.library.custom_op("keras_gumbel::best_columns", mutates_args=())
def _best_columns(name: str, scores: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = native_function(name)(scores)
    return found


@_best_columns.register_fake
def _(name: str, scores: torch.Tensor) -> torch.Tensor:
    return scores.new_empty(scores.shape[:-1], dtype=torch.int32)


_Four = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def sinkhorn_path(name: str, matrices: Any, num_iterations: int) -> _Four:
    """Return `path(matrices, num_iterations)` of `numerics/sinkhorn.py`."""
    del name
    found: _Four = _sinkhorn_path(*matrices, num_iterations)
    return found


@torch.library.custom_op("keras_gumbel::sinkhorn_path", mutates_args=())
def _sinkhorn_path(
    x: torch.Tensor,
    temperature: torch.Tensor,
    across: int,
    down: int,
    weight: torch.Tensor | None,
    num_iterations: int,
) -> _Four:
    matrices = (x, temperature, across, down, weight)
    if 0 in x.shape:
        return _empty_path(*matrices, num_iterations)
    found: _Four = loops.sinkhorn_path(None, matrices, num_iterations)
    return found


@_sinkhorn_path.register_fake
def _empty_path(
    x: torch.Tensor, _: torch.Tensor, across: int, down: int, *rest: Any
) -> _Four:
    *_, num_iterations = rest

    def sums(axis: int) -> torch.Tensor:
        shape = list(x.shape)
        shape[axis] = 1
        return x.new_zeros((num_iterations, *shape))

    return sums(across), sums(across), sums(down), sums(down)


def is_used() -> bool:
    """Return whether a user's program is traced, and not for a file."""
    return not torch.compiler.is_exporting() and not fused.is_within()


@torch.library.custom_op("keras_gumbel::noise", mutates_args=())
def _noise(
    name: str,
    count: int,
    key: torch.Tensor,
    start: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    with fused.at_once():
        return native_function(name)((count,), key, str(dtype)[6:], start)


@_noise.register_fake
def _(
    name: str,
    count: int,
    key: torch.Tensor,
    start: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    return key.new_empty((count,), dtype=dtype)
