"""Noise by one compiled kernel of any size, where there is a compiler.

Compiling takes seconds, and saves as many once so much has been drawn as
would have taken them. Numbers are the same to the last bit.
"""

import functools
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch

from keras_gumbel._typing import Tensor

# Where Python's and the compiled call's own time is less than what is saved.
_SMALLEST = 2**12
# What is drawn in about the time that compiling takes.
_PAYS_FROM = 2**30
# "0": never, "1": from the first; otherwise as above.
SETTING = "KERAS_GUMBEL_COMPILE"


class _State:
    drawn = 0
    failed = False


_LOCK = threading.Lock()


def pays(count: int) -> bool:
    """Whether to draw so many by the compiled kernel."""
    setting = os.environ.get(SETTING)
    if setting == "0" or _State.failed or count < _SMALLEST:
        return False
    _State.drawn += count
    return (setting == "1" or _State.drawn > _PAYS_FROM) and _works()


@functools.cache
def _works() -> bool:
    """Whether inductor finds what it needs here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = torch.compile(lambda x: x + 1, dynamic=True)
            return bool(one(torch.zeros(_SMALLEST)).sum() == _SMALLEST)
    except Exception:  # noqa: BLE001: whatever is not there
        return False


def drawn(
    function: Callable[..., Tensor],
    count: int,
    key: Tensor,
    dtype: str,
    start: Tensor | int,
) -> Tensor:
    """`function((count,), key, dtype, start)`."""
    program = _program(function, None, dtype)
    return _run(program, _sized(count), None, key, torch.as_tensor(start))


def added(
    draw: Any,
    flat: Tensor,
    noise: Callable[..., Tensor],
    then: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """then(flat + noise_scale * noise)."""
    program = _program(noise, then or _same, str(flat.dtype).split(".")[1])
    return _run(
        program, flat, draw.noise_scale, draw.key, draw.places((-1,))
    )


def _same(x: Tensor) -> Tensor:
    return x


def _sized(count: int) -> Tensor:
    """A tensor of no memory with this size, which the program is open to."""
    return torch.empty(0).expand(count, 0)


def _run(program: Callable[..., Tensor], *args: Any) -> Tensor:
    with _LOCK, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program(*args)


@functools.cache
def _program(
    noise: Callable[..., Tensor],
    then: Callable[[Tensor], Tensor] | None,
    dtype: str,
) -> Callable[..., Tensor]:
    def formula(
        x: Tensor, scale: Tensor, key: Tensor, start: Tensor
    ) -> Tensor:
        found = noise((x.shape[0],), key, dtype, start)
        return found if then is None else then(x + scale * found)

    return torch.compile(formula, dynamic=True, fullgraph=True)
