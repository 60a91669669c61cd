"""Compiled programs, and what XLA is to leave as it stands in them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import tensorflow as tf

# The optimization barrier has no name under `tf.`; this module is where
# jax2tf takes it from too.
from tensorflow.compiler.tf2xla.python import xla

# Nor has the list of what looks at each operation.
from tensorflow.python.eager import context, record

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.tensorflow.tracing import is_vectorised

P = ParamSpec("P")
R = TypeVar("R")


def unchecked(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, at which `tf.debugging.enable_check_numerics` does not look.

    For what makes infinity and NaN on purpose, such as a mask, and for what
    XLA compiles, which has no kernel for such a look. Nothing of it is left in
    a graph that is traced meanwhile.
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
    """Whether all of it is known to be 0: nothing is, in a program."""
    del x
    return False


def fuses() -> bool:
    """Whether what is done to each element is one loop: XLA sees to it."""
    return True


def native(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as it is: of all of them XLA makes programs."""
    return function


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one XLA program, called from eager, graph or XLA code.

    Threefry has an XLA kernel only. Compiling the few lines that draw from
    it gives every mode the same bits, and eager code the fused speed. Given
    what `next_key` has not read yet, the program reads it too. Where there
    can be no program, see `is_vectorised`, it runs as it is.
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
        # TensorFlow's switch for debugging: what runs uncompiled there has no
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
    """The trace of `program` for eager tensors like these.

    TensorFlow finds it too, in a time that small calls are made of. It must
    do so where the call is to be differentiated.
    """
    if not tf.executing_eagerly() or record.could_possibly_record():
        return None
    if not all(map(tf.is_tensor, args)):
        return None
    key = tuple((x.dtype, tuple(x.shape)) for x in args)
    if key not in traces:
        traces[key] = program.get_concrete_function(*args)
    return traces[key]


def fetch_then_add(handle: Tensor, amount: Tensor) -> Tensor:
    """What is behind `handle`; and add to it. In a graph only."""
    before = tf.raw_ops.ReadVariableOp(resource=handle, dtype=amount.dtype)
    before.set_shape(amount.shape)
    tf.raw_ops.AssignAddVariableOp(resource=handle, value=amount)
    return before


class Unread:
    """A key that the program which draws by it reads, in a graph.

    A program of its own, which reads a stream and moves it in one step, would
    cost each run of the graph what a program costs to start.

    Attributes:
        key: What was read, once the program has been called.
    """

    def __init__(self, handle: Tensor, amount: Tensor) -> None:
        self.handle, self.amount = handle, amount
        self.key: Tensor = None


def as_read(args: Sequence[Any]) -> tuple[Any, ...]:
    """The arguments, with the keys in place of what was read before."""
    return tuple(
        x.key if isinstance(x, Unread) and x.key is not None else x
        for x in args
    )


def place_of_unread(args: Sequence[Any]) -> int | None:
    """Where among the arguments one is, None if there is none."""
    unread = (n for n, x in enumerate(args) if isinstance(x, Unread))
    return next(unread, None)


def unfused_unless_zero(
    scale: Tensor, noisy: Callable[[], Tensor], quiet: Callable[[], Tensor]
) -> Tensor:
    """`noisy()`, or `quiet()` where `scale` is 0. Inside `compiled` only.

    The result is computed once and stored. XLA would otherwise fuse the
    random generator into every reader of the noise and run it once for each.
    On CPUs it drops optimization barriers before it fuses, but never fuses
    across a branch.
    """
    if is_vectorised():
        return tf.where(tf.not_equal(scale, 0), noisy(), quiet())
    # A constant would have the branch decided, and gone, in the compiler.
    (scale,) = xla.optimization_barrier(scale)
    return tf.cond(tf.not_equal(scale, 0), noisy, quiet)
