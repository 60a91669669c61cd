"""What runs as it is called, and what is run by a kernel of torch's instead."""

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
    """`function` as it is: torch's detection of anomalies sees gradients."""
    return function


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of tensors; what is to be one program, the user says."""

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
    """`function`, once for each of its arguments; what traces it, goes in."""
    once = functools.cache(function)

    @functools.wraps(function)
    def run(*args: Any) -> R:
        if torch.compiler.is_compiling():
            return function(*args)
        return once(*args)

    vars(run)["cache_info"] = once.cache_info
    return run


def programs_are_sized() -> bool:
    """Whether a program is compiled for the sizes of each call: never."""
    return False


def is_known_zero(x: Tensor) -> bool:
    """Whether all of it is known to be 0."""
    return is_plain((x,)) and not bool(x.any())


def fuses() -> bool:
    """Whether what is done to each element is one loop."""
    return False


def unfused_unless_zero(
    scale: Tensor, noisy: Callable[[], Tensor], quiet: Callable[[], Tensor]
) -> Tensor:
    """`noisy()`, or `quiet()` where `scale` is 0.

    Where `scale` has no value yet, both are computed: noise is finite.
    """
    if not is_eager(scale):
        return torch.where(torch.as_tensor(scale) != 0, noisy(), quiet())
    if isinstance(scale, torch.Tensor) and scale.device.type != "cpu":
        # The host is not to wait.
        return torch.where(scale != 0, noisy(), quiet())
    return noisy() if scale != 0 else quiet()


def native(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, by a kernel of torch's where there is one and it can.

    A kernel is no formula that torch could differentiate, map or trace: it is
    for tensors with values, of which no gradient is asked. Elsewhere the
    function is run as it is written.
    """
    name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            from keras_gumbel.backend.torch import kernels

            if name in kernels.IN_PROGRAMS and kernels.is_opaque():
                return kernels.IN_PROGRAMS[name](name, *args)
            return function(*args, **kwargs)
        if not is_plain(args):
            return function(*args, **kwargs)
        # Kernels come last: they are of what the modules above are made of.
        from keras_gumbel.backend.torch import kernels

        kernel = kernels.BY_NAME[name]
        found: R = kernel(function, *args, **kwargs)
        return found

    _NATIVE[name] = run
    return run


# All of them, by module and name.
_NATIVE: dict[str, Callable[..., Any]] = {}


def native_function(name: str) -> Callable[..., Any]:
    """What `native` made of the function of that name."""
    return _NATIVE[name]


def is_plain(args: Any) -> bool:
    """Whether all tensors have values on the host, and no gradient."""
    if torch.compiler.is_compiling() or not is_eager():
        return False
    return _is_plain(args, torch.is_grad_enabled())


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
        # An attribute that comes later would fail a compiler's guard.
        self.others = True


_WANTED = _Wanted()


class gradients_wanted:
    """In this context only the first gradient is wanted, or all are.

    Which a formula does not ask: where programs are compiled, what nobody
    reads is not computed.
    """

    def __init__(self, others: bool) -> None:
        self._others = others

    def __enter__(self) -> None:
        self._before, _WANTED.others = _WANTED.others, self._others

    def __exit__(self, *_: object) -> None:
        _WANTED.others = self._before


def others_are_wanted() -> bool:
    """Whether more than the first gradient is read by anyone."""
    return _WANTED.others
