"""Backward rules of functions and of their parts."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from keras import ops
from torch.utils.checkpoint import checkpoint

from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.backend.torch.programs import gradients_wanted, is_plain
from keras_gumbel.backend.torch.tracing import export_format, is_eager


def with_gradient(
    run_forward: Callable[..., Tensors],
    run_backward: Callable[..., tuple[Tensor | None, ...]],
    outputs: int = 1,
) -> Callable[..., Any]:
    """Return a function with its own backward rule.

    Args:
        run_forward: `(*args) -> (*outputs, *residuals)`; the residuals go to
            the backward pass.
        run_backward: `(d_output, *residuals, *args) -> gradients`, one or
            None for each of `args`, from the first output's gradient.
        outputs: Their number; those after the first have no gradient.

    Returns:
        `(*args) -> output`, a tuple if there are several. Higher
        derivatives come from `run_backward`.
    """

    @functools.wraps(run_forward)
    def call(*args: Any) -> Any:
        tensors = tuple(map(ops.convert_to_tensor, args))
        if _is_differentiated(*tensors):
            results = _Rule.apply(run_forward, run_backward, outputs, *tensors)
        else:
            results = tuple(run_forward(*tensors))
        return results[:outputs] if outputs > 1 else results[0]

    return call


def _is_differentiated(*args: Tensor) -> bool:
    """Return whether a gradient to any of these may be asked for."""
    if not torch.compiler.is_compiling() and not is_eager():
        # A file has no gradient, and no rule; `torch.func` does not say.
        return export_format() is None
    return torch.is_grad_enabled() and any(x.requires_grad for x in args)


class _Rule(torch.autograd.Function):
    """A forward and a backward pass.

    As `torch.func` requires, residuals are results, and `forward` has no
    context.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        run_forward: Callable[..., Tensors],
        run_backward: Callable[..., Any],
        outputs: int,
        *args: Tensor,
    ) -> Tensors:
        return tuple(run_forward(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensors) -> None:
        _, ctx.run_backward, outputs, *args = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[outputs:], *args)
        if is_eager():
            # Residuals need no zeros, which are as large as the logits.
            ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: Any) -> tuple[Any, ...]:
        if dy is None:
            return (None,) * len(ctx.needs_input_grad)
        wanted = any(ctx.needs_input_grad[4:])
        with gradients_wanted(wanted):
            found = ctx.run_backward(dy, *ctx.saved_tensors)
        return None, None, None, *found


# Otherwise torch makes it at each call.
vars(_Rule.forward)["__signature__"] = inspect.signature(_Rule.forward)


def once_only(
    backward: Callable[..., tuple[Tensor | None, ...]], what: str
) -> Callable[..., tuple[Tensor | None, ...]]:
    """Make `backward` raise LookupError if it is differentiated.

    The error comes only when a second derivative is asked for.
    """

    def run(*args: Tensor) -> tuple[Tensor | None, ...]:
        if torch.compiler.is_compiling():
            return backward(*args)
        wanted: list[bool] = []
        found = iter(_Once.apply(backward, what, wanted, *args))
        return tuple(next(found) if one else None for one in wanted)

    return run


class _Once(torch.autograd.Function):
    """A backward pass without a derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        backward: Callable[..., Any],
        what: str,
        wanted: list[bool],
        *args: Tensor,
    ) -> Tensors:
        found = backward(*args)
        wanted[:] = [x is not None for x in found]
        return tuple(x for x in found if x is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensors) -> None:
        ctx.what = inputs[1]

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise LookupError(
            f"{ctx.what} has first derivatives only: its gradient is not to "
            "be differentiated again, as a second derivative would."
        )


def traced_gradient(
    function: Callable[[Tensor], Tensor],
) -> Callable[[Tensor], Tensor]:
    """Return `x -> d sum(function(x)) / dx`; 0 if nothing connects them."""

    def gradient(x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = ops.convert_to_tensor(x).detach().requires_grad_()
            total = function(x).sum()
            if not total.requires_grad:
                return torch.zeros_like(x)
            (found,) = torch.autograd.grad(total, x, allow_unused=True)
        return torch.zeros_like(x) if found is None else found

    return gradient


def materialize(x: Tensor) -> Tensor:
    """Return `x`: nothing here would simplify it."""
    return x


def sum_over(
    count: int,
    term: Callable[..., Tensors],
    zeros: Tensors,
    *args: Tensor,
) -> Tensors:
    """Sum `zeros` and `term(n, *args)` over n < count, one n at a time.

    So do the derivatives to `args`, which compute each term again.
    """
    if is_plain((*zeros, *args)):
        sums = tuple(x.clone() for x in zeros)
        for n in range(count):
            for total, x in zip(sums, term(n, *args), strict=True):
                total += x
        return sums
    sums = zeros
    for n in range(count):
        # `torch.func` does not take a checkpoint.
        if torch.is_grad_enabled() and is_eager():
            found = checkpoint(term, n, *args, use_reentrant=False)
        else:
            found = term(n, *args)
        sums = tuple(map(torch.add, sums, found))
    return sums


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return `hard`, bit for bit; pass the gradient unchanged to `soft`."""
    if not _is_differentiated(hard, soft):
        return hard
    found: Tensor = _StraightThrough.apply(hard, soft)
    return found


class _StraightThrough(torch.autograd.Function):
    """The value of one tensor, with the gradient of another."""

    generate_vmap_rule = True

    @staticmethod
    def forward(hard: Tensor, soft: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: Tensor) -> None:
        ctx.dtype = inputs[1].dtype

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[None, Tensor]:
        return None, dy.to(ctx.dtype)
