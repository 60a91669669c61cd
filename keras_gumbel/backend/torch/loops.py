"""Loops, which run as they are written."""

from collections.abc import Callable

import torch
from keras.ops import scan as scan

from keras_gumbel._typing import Tensor, Tensors


def loop(
    count: Tensor | int, step: Callable[..., Tensors], state: Tensors
) -> Tensors:
    """Return `state` after `state = step(n, *state)` for each n < count."""
    for n in range(int(count)):
        state = tuple(step(n, *state))
    return tuple(state)


def loops_are_written_out() -> bool:
    """Return whether a program is traced, in which a loop is a run of steps."""
    return torch.compiler.is_compiling()
