"""The program of a sample: the steps that all ops share."""

# Without this, tracing would evaluate annotations of nested functions.
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._tracing import portable_format
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import (
    Arguments,
    check_has_no_schedule,
    check_noise_scale,
    check_seed,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.numerics import Draw
from keras_gumbel.ops import _ladder
from keras_gumbel.ops._op import Op


def run(
    op: Op,
    arguments: Arguments,
    noise_scale: Tensor,
    seed: Seed,
    *others: Tensor,
) -> Any:
    """Sample an op, with a new key from `seed`."""
    check_noise_scale(noise_scale)
    check_seed(seed)
    scale = backend.to_tensor(noise_scale, arguments.temperature.dtype)
    return run_by_key(op, arguments, (backend.next_key(seed), scale), *others)


def run_by_key(
    op: Op, arguments: Arguments, noise: Tensors, *others: Tensor
) -> Any:
    """Sample an op by a key and a noise scale, or by neither: no noise."""
    sample = functools.partial(_by_program, op)
    if not op.forward_is_compiled or portable_format():
        return sample(arguments, noise, *others)
    return _ladder.by_rungs(op, sample, arguments, noise, others)


def _by_program(
    op: Op, arguments: Arguments, noise: Tensors, *others: Tensor
) -> Any:
    logits, temperature, class_mask, axis, learned = arguments
    mask = () if class_mask is None else (class_mask,)
    tensors = (logits, temperature, *mask, *others)
    # If one program were called with several of these, TensorFlow would
    # generalise it: that loses speed, and which tensors are one row for all.
    signature = (
        backend.static_shape(logits)[axis] if axis >= 0 else None,
        *(tuple(n == 1 for n in backend.static_shape(x)) for x in tensors),
    )
    rule = _rule(op, axis, learned, len(noise), len(mask), signature)
    return rule(logits, temperature, *noise, *mask, *others)


def at_its_temperature(
    estimator: Estimator, arguments: Arguments
) -> tuple[Estimator, Arguments]:
    """Return rule and arguments, at the rule's own temperature if it has one.

    It replaces the call's temperature, which affects only the gradient of a
    hard sample. The program takes it as a number, so no new one is compiled.
    """
    own = estimator.backward_temperature
    if own is None:
        return estimator, arguments
    check_has_no_schedule(estimator)
    plain = estimator.at(None)
    own = backend.to_tensor(own, arguments.temperature.dtype)
    return plain, arguments._replace(temperature=own, learned=False)


@backend.cached
def _rule(
    op: Op,
    axis: int,
    learned: bool,
    noise: int,
    mask: int,
    signature: tuple[int | tuple[bool, ...] | None, ...],
) -> Callable[..., Any]:
    """Return the compiled function of an op, with its gradient.

    Its arguments are logits and temperature; `noise` tensors: the key, the
    scale and perhaps the real sizes; perhaps a `mask`; and the op's other
    tensors. One function serves any number of rows.
    """
    del signature

    def prepared(
        logits: Tensor, temperature: Tensor, *rest: Tensor
    ) -> tuple[Draw, Tensor, Tensors]:
        sources = (logits, *rest[noise : noise + mask])
        key, scale, *sizes = rest[:noise] or (None, None)
        if noise:
            scale = numerics.scale_or_nan(scale, logits)
        draw = numerics.draw_from(sources, scale, key, axis, *sizes)
        tau = numerics.positive_or_nan(temperature, numerics.wide_dtype(logits))
        return draw, tau, rest[noise + mask :]

    def forward(*args: Tensor) -> Tensors:
        draw, tau, others = prepared(*args)
        result, *more = op.forward(draw, tau, *others)
        if not op.own_dtype:
            result = ops.cast(result, args[0].dtype)
        return result, *more

    def backward(dy: Tensor, *saved: Tensor) -> tuple[Tensor | None, ...]:
        first = len(saved) - (2 + noise + mask + op.others)
        kept, args = saved[:first], saved[first:]
        draw, tau, others = prepared(*args)
        if not op.own_dtype:
            dy = ops.cast(dy, tau.dtype)
        d_logits, parts, *rest = op.backward(draw, kept, tau, dy, *others)
        d_temperature = numerics.temperature_gradient(parts, args[1], learned)
        d_logits = ops.cast(d_logits, args[0].dtype)
        return d_logits, d_temperature, *[None] * (noise + mask), *rest

    compiled = backend.compiled
    return backend.with_gradient(
        compiled(forward) if op.forward_is_compiled else forward,
        backend.once_only(backward, op.trained_once)
        if op.trained_once
        else compiled(backward),
        op.outputs,
    )
