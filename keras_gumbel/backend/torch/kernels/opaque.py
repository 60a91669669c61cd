"""Noise as one operation of a program that a user compiles.

Inductor would draw it again in each loop that reads it, and take minutes over
that; if the key is a constant, it would draw as it compiles. So the noise is an
operation that shows only its size, and runs a program of its own.
"""

import math
from collections.abc import Sequence

import torch
from keras.src.backend.torch.core import to_torch_dtype

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.kernels import fused
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
