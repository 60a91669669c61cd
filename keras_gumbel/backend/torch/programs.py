"""Functions that run as they are called, or by a torch kernel instead."""

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from keras import ops

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.torch.tracing import is_eager

P = ParamSpec("P")
R = TypeVar("R")


def unchecked(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` unchanged: torch's anomaly detection sees gradients."""
    return function


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` of tensors; users decide what to compile."""

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        return function(
            *(
                ops.convert_to_tensor(x) if isinstance(x, np.ndarray) else x
                for x in args
            )
        )

    return run


def cached(function: Callable[..., R]) -> Callable[..., R]:
    """Cache `function` by its arguments, except in a compiler's trace."""
    once = functools.cache(function)

    @functools.wraps(function)
    def run(*args: Any) -> R:
        if torch.compiler.is_compiling():
            return function(*args)
        return once(*args)

    vars(run)["cache_info"] = once.cache_info
    return run


def programs_are_sized() -> bool:
    """Return False: no program is compiled for a call's sizes."""
    return False


def is_known_zero(x: Tensor) -> bool:
    """Return whether all of `x` is known to be 0."""
    return is_plain((x,)) and not bool(x.any())


def fuses() -> bool:
    """Return False: elementwise operations do not become one loop."""
    return False


def unfused_unless_zero(
    scale: Tensor, noisy: Callable[[], Tensor], quiet: Callable[[], Tensor]
) -> Tensor:
    """Return `noisy()`, or `quiet()` if `scale` is 0.

    If `scale` has no value yet, compute both: noise is finite.
    """
    if not is_eager(scale):
        return torch.where(torch.as_tensor(scale) != 0, noisy(), quiet())
    if isinstance(scale, torch.Tensor) and scale.device.type != "cpu":
        # The host must not wait for the device.
        return torch.where(scale != 0, noisy(), quiet())
    return noisy() if scale != 0 else quiet()


def native(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` by a kernel of torch's, where one applies.

    torch cannot differentiate, map or trace a kernel, so a kernel is only for
    tensors that have values and need no gradient. Elsewhere `function` runs
    as it is written.
    """
    name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        plain = is_plain(args)
        if not plain and not torch.compiler.is_compiling():
            return function(*args, **kwargs)
        # Import kernels late: they import this module.
        from keras_gumbel.backend.torch import kernels

        if plain:
            found: R = kernels.BY_NAME[name](function, *args, **kwargs)
            return found
        if name in kernels.IN_PROGRAMS and kernels.is_opaque():
            return kernels.IN_PROGRAMS[name](name, *args)
        return function(*args, **kwargs)

    _NATIVE[name] = run
    return run


# All functions of `native`, by module and name.
_NATIVE: dict[str, Callable[..., Any]] = {}


def native_function(name: str) -> Callable[..., Any]:
    """Return the function that `native` made, by its name."""
    return _NATIVE[name]


def is_plain(args: Any) -> bool:
    """Return whether all tensors have values on the host and no gradient."""
    return is_eager() and _is_plain(args, torch.is_grad_enabled())


def _is_plain(args: Any, grad: bool) -> bool:
    for x in args:
        if isinstance(x, torch.Tensor):
            if x.device.type != "cpu" or (grad and x.requires_grad):
                return False
        elif isinstance(x, tuple) and not _is_plain(x, grad):
            return False
    return True


class _Wanted(threading.local):
    def __init__(self) -> None:
        # An attribute added later would fail a compiler's guard.
        self.others = True


_WANTED = _Wanted()


class gradients_wanted:
    """A context where only the first gradient is wanted, or all are.

    Formulas do not ask: where programs are compiled, unread results are not
    computed.
    """

    def __init__(self, others: bool) -> None:
        self._others = others

    def __enter__(self) -> None:
        self._before, _WANTED.others = _WANTED.others, self._others

    def __exit__(self, *_: object) -> None:
        _WANTED.others = self._before


def others_are_wanted() -> bool:
    """Return whether anyone reads more than the first gradient."""
    return _WANTED.others
