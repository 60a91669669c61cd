"""Compiled programs, and barriers to XLA's simplification in them."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from keras_gumbel._typing import Tensor
from keras_gumbel.backend import frames

P = ParamSpec("P")
R = TypeVar("R")


def unchecked(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` unchanged: `jax_debug_nans` checks results only."""
    return function


cached = functools.cache


def is_known_zero(x: Tensor) -> bool:
    """Return False: in a program, nothing is known to be 0."""
    del x
    return False


def fuses() -> bool:
    """Return True: XLA makes one loop of elementwise operations."""
    return True


def native(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` unchanged: XLA compiles all of them."""
    return function


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as one XLA program; non-arrays are static.

    It has 64-bit numbers, whatever JAX is set to: places in a stream and
    sums of probabilities need them.
    """
    programs: dict[tuple[tuple[int, ...], str | None], Any] = {}

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        static = tuple(n for n, x in enumerate(args) if not is_array(x))
        is_traced = any(isinstance(x, jax.core.Tracer) for x in args)
        target = frames.export_format({}) if is_traced else None
        if (static, target) not in programs:
            # JAX caches traces by the function, not by `jit`.
            own = functools.partial(function)
            programs[static, target] = jax.jit(own, static_argnums=static)
        with jax.enable_x64(True):
            return programs[static, target](*args)

    return run


def is_array(x: Any) -> bool:
    """Return whether `x` is an array, or stands for one."""
    return isinstance(x, jax.Array | np.ndarray | np.generic)


def unfused_unless_zero(
    scale: Tensor, noisy: Callable[[], Tensor], quiet: Callable[[], Tensor]
) -> Tensor:
    """Return `noisy()`, or `quiet()` if `scale` is 0. In `compiled` only.

    The result is computed once and stored. XLA would otherwise fuse the
    random generator into every reader of the noise and run it once for each.
    On CPUs it never fuses across a branch; elsewhere a branch may make the
    host wait, but a barrier works.
    """
    scale = lax.optimization_barrier(jnp.asarray(scale))

    def branch() -> Tensor:
        return lax.cond(scale != 0, noisy, quiet)

    def barrier() -> Tensor:
        return lax.optimization_barrier(jnp.where(scale != 0, noisy(), quiet()))

    return lax.platform_dependent(cpu=branch, default=barrier)
