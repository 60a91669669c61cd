"""Backward rules of programs and of their parts."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.backend.jax.programs import compiled, is_array
from keras_gumbel.backend.jax.states import Pure


def with_gradient(
    run_forward: Callable[..., Tensors],
    run_backward: Callable[..., tuple[Tensor | None, ...]],
    outputs: int = 1,
) -> Callable[..., Any]:
    """Return a function with its own backward rule.

    Args:
        run_forward: `(*args) -> (*outputs, *residuals)`; the residuals go to
            the backward pass. It is compiled by itself, or not at all.
        run_backward: `(d_output, *residuals, *args) -> gradients`, one or
            None for each of `args`, from the first output's gradient.
        outputs: Their number; those after the first have no gradient.

    Returns:
        `(*args) -> output`, a tuple if there are several. Higher
        derivatives come from `run_backward`.
    """

    def split(args: Tensors) -> tuple[Any, Tensors]:
        results = tuple(run_forward(*args))
        given = results[:outputs] if outputs > 1 else results[0]
        return given, results[outputs:]

    @jax.custom_vjp
    def call(*args: Tensor) -> Any:
        return split(args)[0]

    def forward(*args: Tensor) -> Any:
        given, residuals = split(args)
        # Second derivatives come from the backward pass alone.
        return given, (lax.stop_gradient(residuals), args)

    def backward(saved: Any, dy: Any) -> tuple[Tensor | None, ...]:
        residuals, args = saved
        dy = dy[0] if outputs > 1 else dy
        return tuple(run_backward(dy, *residuals, *args))

    call.defvjp(forward, backward)

    @functools.wraps(run_forward)
    def run(*args: Any) -> Any:
        return call(*(x if is_array(x) else jnp.asarray(x) for x in args))

    return run


def once_only(
    backward: Callable[..., tuple[Tensor | None, ...]], what: str
) -> Callable[..., tuple[Tensor | None, ...]]:
    """Compile `backward`, and raise LookupError if it is differentiated.

    The error comes only when a second derivative is asked for.
    """
    run_backward = compiled(backward)

    def refuse(*_: Any) -> Any:
        raise LookupError(
            f"{what} has first derivatives only: its gradient is not to be "
            "differentiated again, as a second derivative would."
        )

    def run(*args: Tensor) -> tuple[Tensor | None, ...]:
        wanted: list[bool] = []

        @jax.custom_vjp
        def call(*args: Tensor) -> list[Tensor]:
            found = run_backward(*args)
            wanted[:] = [x is not None for x in found]
            return [x for x in found if x is not None]

        call.defvjp(lambda *args: (call(*args), None), refuse)
        gradients = iter(call(*args))
        return tuple(next(gradients) if one else None for one in wanted)

    return run


def traced_gradient(
    function: Callable[[Tensor], Tensor],
) -> Callable[[Tensor], Tensor]:
    """Return `x -> d sum(function(x)) / dx`, as one program.

    The draws of `function` move their streams.
    """
    return Pure(jax.grad(lambda x: jnp.sum(function(x)))).compiled


def materialize(x: Tensor) -> Tensor:
    """Return `x` behind a barrier. Inside `compiled` only.

    XLA would otherwise fold a reduction in two steps into one.
    """
    return lax.optimization_barrier(x)


def sum_over(
    count: int,
    term: Callable[..., Tensors],
    zeros: Tensors,
    *args: Tensor,
) -> Tensors:
    """Sum `zeros` and `term(n, *args)` over n < count, one n at a time.

    So do the derivatives to `args`, which compute each term again.
    """

    @jax.checkpoint
    def add(sums: Tensors, n: Tensor) -> tuple[Tensors, None]:
        return tuple(map(jnp.add, sums, term(n, *args))), None

    numbers = jnp.arange(count, dtype="int32")
    sums: Tensors = lax.scan(add, tuple(zeros), numbers)[0]
    return sums


@jax.custom_jvp
def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return `hard`, bit for bit; pass the gradient unchanged to `soft`."""
    del soft
    return hard


@straight_through.defjvp
def _(primals: Tensors, tangents: Tensors) -> tuple[Tensor, Tensor]:
    hard, _ = primals
    return hard, tangents[1].astype(hard.dtype)
