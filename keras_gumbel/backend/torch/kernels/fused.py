"""Uniform numbers by a compiled kernel of any size, where there is a compiler.

Compiling takes seconds, and pays once the draws have taken as long. The
numbers are the same to the last bit. Logarithms are not compiled, since two
libraries' logarithms differ in that bit.
"""

import contextlib
import functools
import inspect
import os
import threading
import warnings
from collections.abc import Callable, Iterator

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.programs import native_function

# From here on the kernel saves more time than its call and Python cost.
_SMALLEST = 2**12
# Blocks of this size stay in the caches of several threads.
BLOCK = 2**18
# Drawing this many takes about as long as compiling.
_PAYS_FROM = 2**30
# "0": never; "1": from the first draw; otherwise as above.
SETTING = "KERAS_GUMBEL_COMPILE"


class _State(threading.local):
    def __init__(self) -> None:
        # An attribute added later would fail a compiler's guard.
        self.at_once = False
        self.within = False


_STATE = _State()
_DRAWN = [0]
_LOCK = threading.Lock()


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Use the kernel at once in this context: its caller is compiled, too."""
    before, _STATE.at_once = _STATE.at_once, True
    try:
        yield
    finally:
        _STATE.at_once = before


def is_within() -> bool:
    """Return whether the noise's own program is traced."""
    return _STATE.within


def pays(count: int) -> bool:
    """Return whether to draw `count` numbers by the compiled kernel."""
    setting = os.environ.get(SETTING)
    if setting == "0" or count < _SMALLEST:
        return False
    _DRAWN[0] += count
    wanted = setting == "1" or _STATE.at_once or _DRAWN[0] > _PAYS_FROM
    return wanted and _works()


@functools.cache
def _works() -> bool:
    """Return whether Inductor finds what it needs here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = torch.compile(lambda x: x + 1, dynamic=True)
            return bool(one(torch.zeros(_SMALLEST)).sum() == _SMALLEST)
    except Exception:
        return False


def fill(out: Tensor, half: bool, key: Tensor, place: int) -> Tensor:
    """Fill in uniform numbers; if `half`, in (0, 1/2), with a coin, 0 or -1."""
    program = _program(half, str(out.dtype)[6:])
    with _LOCK, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _STATE.within = True
        try:
            found: Tensor = program(out, key, torch.tensor(place))
        finally:
            _STATE.within = False
    return found


@functools.cache
def _program(half: bool, dtype: str) -> Callable[..., Tensor]:
    # Compile the formulas as written in `numerics/noise.py`.
    name = "noise.random_half" if half else "noise.random_unit"
    draw = inspect.unwrap(native_function(name))

    def formula(out: Tensor, key: Tensor, place: Tensor) -> Tensor:
        if not half:
            return out.copy_(draw(out.shape, key, dtype, place))
        t, negative = draw(out.shape, key, dtype, place)
        out.copy_(t)
        return -negative.to(torch.int32)

    return torch.compile(formula, dynamic=True, fullgraph=True)
