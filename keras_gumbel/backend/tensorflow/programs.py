"""Compiled programs, and barriers to XLA's simplification in them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import tensorflow as tf

# `tf` does not export the optimization barrier; jax2tf imports it from here,
# too.
from tensorflow.compiler.tf2xla.python import xla

# `tf` does not export the callbacks on operations and the tapes, either.
from tensorflow.python.eager import context, record

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.tensorflow.tracing import is_vectorised

P = ParamSpec("P")
R = TypeVar("R")


def unchecked(function: Callable[P, R]) -> Callable[P, R]:
    """Exempt `function` from `tf.debugging.enable_check_numerics`.

    This is for code that makes infinity and NaN on purpose, such as a mask,
    and for XLA, which has no kernel for the checks. A graph traced meanwhile
    has no checks.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        callbacks = context.context().op_callbacks
        if not callbacks:
            return function(*args, **kwargs)
        held = tuple(callbacks)
        callbacks.clear()
        try:
            return function(*args, **kwargs)
        finally:
            callbacks.extend(held)

    return run


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
    """Return `function` as one XLA program, for eager, graph or XLA code.

    Threefry has an XLA kernel only. Compiling the few lines that draw from
    it gives every mode the same bits, and eager code the fused speed. If
    `next_key` has not read the key yet, the program reads it. Where no
    program works, see `is_vectorised`, `function` runs as it is.
    """
    program = tf.function(
        function, jit_compile=True, autograph=False, reduce_retracing=True
    )

    traces: dict[Any, Callable[..., Any]] = {}

    @functools.cache
    def drawing(place: int) -> Any:
        def draw(handle: Tensor, amount: Tensor, *args: Any) -> Any:
            key = fetch_then_add(handle, amount)
            return key, function(*args[:place], key, *args[place:])

        return tf.function(
            draw, jit_compile=True, autograph=False, reduce_retracing=True
        )

    @unchecked
    @functools.wraps(function)
    def run(*args: Any) -> Any:
        args = as_read(args)
        place = place_of_unread(args)
        if place is not None:
            unread, rest = args[place], (*args[:place], *args[place + 1 :])
            unread.key, results = drawing(place)(
                unread.handle, unread.amount, *rest
            )
            return results
        if is_vectorised():
            return function(*args)
        if not tf.config.functions_run_eagerly():
            return (_trace(program, traces, args) or program)(*args)
        # TensorFlow's debugging switch would run this uncompiled, without a
        # kernel for Threefry.
        tf.config.run_functions_eagerly(False)
        try:
            return program(*args)
        finally:
            tf.config.run_functions_eagerly(True)

    return run


def _trace(
    program: Any, traces: dict[Any, Callable[..., Any]], args: tuple[Any, ...]
) -> Callable[..., Any] | None:
    """Return the trace of `program` for eager tensors like these.

    TensorFlow's own lookup and binding dominate the cost of small calls. Only
    they work where the call is differentiated: return None there.
    """
    if not tf.executing_eagerly() or record.could_possibly_record():
        return None
    if not all(map(tf.is_tensor, args)):
        return None
    key = tuple((x.dtype, tuple(x.shape)) for x in args)
    if key not in traces:
        traces[key] = _bound(program.get_concrete_function(*args))
    return traces[key]


def _bound(trace: Any) -> Callable[..., Any]:
    """Return a trace as a function of its tensors, in their order."""
    captured = trace.captured_inputs

    def run(*args: Tensor) -> Any:
        return trace.inference_fn.call_preflattened([*args, *captured])

    return run


def fetch_then_add(handle: Tensor, amount: Tensor) -> Tensor:
    """Return the value at `handle`, then add to it. In a graph only."""
    before = tf.raw_ops.ReadVariableOp(resource=handle, dtype=amount.dtype)
    before.set_shape(amount.shape)
    tf.raw_ops.AssignAddVariableOp(resource=handle, value=amount)
    return before


class Unread:
    """A key in a graph that is read by the program that draws with it.

    A separate program, to read a stream and move it in one step, would cost
    each run of the graph the start of one more program.

    Attributes:
        key: The key, once the program has been called.
    """

    def __init__(self, handle: Tensor, amount: Tensor) -> None:
        self.handle, self.amount = handle, amount
        self.key: Tensor = None


def as_read(args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the arguments, with keys in place of those already read."""
    return tuple(
        x.key if isinstance(x, Unread) and x.key is not None else x
        for x in args
    )


def place_of_unread(args: Sequence[Any]) -> int | None:
    """Return the place of the first `Unread` argument, None without one."""
    unread = (n for n, x in enumerate(args) if isinstance(x, Unread))
    return next(unread, None)


def unfused_unless_zero(
    scale: Tensor, noisy: Callable[[], Tensor], quiet: Callable[[], Tensor]
) -> Tensor:
    """Return `noisy()`, or `quiet()` if `scale` is 0. In `compiled` only.

    The result is computed once and stored. XLA would otherwise fuse the
    random generator into every reader of the noise and run it once for each.
    On CPUs it drops optimization barriers before it fuses, but never fuses
    across a branch.
    """
    if is_vectorised():
        return tf.where(tf.not_equal(scale, 0), noisy(), quiet())
    # With a constant scale the compiler would remove the branch.
    (scale,) = xla.optimization_barrier(scale)
    return tf.cond(tf.not_equal(scale, 0), noisy, quiet)
