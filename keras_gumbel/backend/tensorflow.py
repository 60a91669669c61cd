"""TensorFlow: the only file of the package that imports it."""

import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

# Keras keeps these to itself. The generator behind `seed=None` must be its
# own, so that `keras.utils.set_random_seed` reaches it.
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.random.seed_generator import global_seed_generator
from keras.src.utils.tracking import DotNotTrackScope

# The optimization barrier has no name under `tf.`; this module is where
# jax2tf takes it from too.
from tensorflow.compiler.tf2xla.python import xla

# Nor has the pause of every tape.
from tensorflow.python.eager import record

from keras_gumbel._typing import Seed, Tensor


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one XLA program, called from eager, graph or XLA code.

    Threefry has an XLA kernel only. Compiling the few lines that draw from
    it gives every mode the same bits, and eager code the fused speed.
    """
    program = tf.function(
        function, jit_compile=True, autograph=False, reduce_retracing=True
    )

    traces: dict[Any, Callable[..., Any]] = {}

    @functools.wraps(function)
    def run(*args: Any) -> Any:
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


def differentiable(
    forward: Callable[..., tuple[Tensor, ...]],
    backward: Callable[..., tuple[Tensor | None, ...]],
    outputs: int = 1,
) -> Callable[..., Any]:
    """A function with a gradient rule of its own, both sides compiled.

    Args:
        forward: `(*args) -> (*outputs, *residuals)`, the residuals being what
            is kept for the backward pass.
        backward: `(d_output, *residuals, *args) -> gradients`, one or None
            for each of these arguments, from that of the first output.
        outputs: How many there are; those after the first have no gradient.

    Returns:
        `(*args) -> output`, a tuple where there are several. Higher
        derivatives are those of `backward`.
    """
    return with_gradient(compiled(forward), compiled(backward), outputs)


def with_gradient(
    run_forward: Callable[..., tuple[Tensor, ...]],
    run_backward: Callable[..., tuple[Tensor | None, ...]],
    outputs: int = 1,
) -> Callable[..., Any]:
    """`differentiable`, of passes that are compiled already, or never."""

    # Two compiled functions in a gradient rule, and not a rule in one: there
    # TensorFlow has the function return its arguments too, a copy of each.
    @tf.custom_gradient
    def call(*args: Tensor) -> Any:
        # A tape would have it keep all that a derivative of its parts needs.
        with record.stop_recording():
            results = tuple(run_forward(*args))
        given, residuals = results[:outputs], results[outputs:]

        def grad(dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
            return tuple(run_backward(dy, *residuals, *args))

        return given if outputs > 1 else given[0], grad

    return call


def once_only(
    backward: Callable[..., tuple[Tensor | None, ...]], what: str
) -> Callable[..., tuple[Tensor | None, ...]]:
    """A backward pass of `what`, compiled, that is not to be differentiated.

    That is a LookupError, and not before a second derivative is asked for.
    """
    run_backward = compiled(backward)

    def run(*args: Tensor) -> tuple[Tensor | None, ...]:
        wanted: list[bool] = []

        @tf.custom_gradient
        def call(*args: Tensor) -> Any:
            # An outer tape may have no use for second derivatives.
            with record.stop_recording():
                found = run_backward(*args)
            wanted.extend(x is not None for x in found)

            def grad(*_: Tensor) -> None:
                raise LookupError(
                    f"{what} has first derivatives only: its gradient is not "
                    "to be differentiated again."
                )

            return [x for x in found if x is not None], grad

        gradients = iter(call(*args))
        return tuple(next(gradients) if one else None for one in wanted)

    return run


def traced_gradient(
    function: Callable[[Tensor], Tensor],
) -> Callable[[Tensor], Tensor]:
    """`x -> d sum(function(x)) / dx`, as one graph.

    0 where nothing connects the two. Not compiled by XLA, which not every
    function of a user's can be.
    """

    @tf.function(autograph=False)
    def gradient(x: Tensor) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x, unconnected_gradients="zero")

    return gradient


def unfused_unless_zero(
    scale: Tensor, noisy: Callable[[], Tensor], quiet: Callable[[], Tensor]
) -> Tensor:
    """`noisy()`, or `quiet()` where `scale` is 0. Inside `compiled` only.

    The result is computed once and stored. XLA would otherwise fuse the
    random generator into every reader of the noise and run it once for each.
    On CPUs it drops optimization barriers before it fuses, but never fuses
    across a branch.
    """
    # A constant would have the branch decided, and gone, in the compiler.
    (scale,) = xla.optimization_barrier(scale)
    return tf.cond(tf.not_equal(scale, 0), noisy, quiet)


@tf.custom_gradient
def materialize(x: Tensor) -> Any:
    """`x` as it stands. Inside `compiled` only.

    XLA would otherwise fold a reduction in two steps into one.
    """
    return xla.optimization_barrier(x)[0], lambda dy: dy


def sum_over(
    count: int,
    term: Callable[..., tuple[Tensor, ...]],
    zeros: tuple[Tensor, ...],
    *args: Tensor,
) -> tuple[Tensor, ...]:
    """`zeros` and `term(n, *args)` over n < count, one n held at a time.

    In the derivatives to `args` too, for which each term is computed again.
    """

    def accumulate(step: Callable[[Tensor], Any], zeros: Any) -> Any:
        def add(n: Tensor, sums: Any) -> tuple[Tensor, Any]:
            return n + 1, tuple(map(tf.add, sums, step(n)))

        return tf.while_loop(lambda n, _: n < count, add, (0, zeros))[1]

    @tf.custom_gradient
    def call(*args: Tensor) -> Any:
        def grad(*dys: Tensor) -> Any:
            def step(n: Tensor) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(args)
                    found = term(n, *args)
                none = tf.UnconnectedGradients.ZERO
                return tape.gradient(found, args, dys, none)

            return accumulate(step, tuple(map(tf.zeros_like, args)))

        return accumulate(lambda n: term(n, *args), zeros), grad

    sums: tuple[Tensor, ...] = call(*args)
    return sums


@tf.custom_gradient
def straight_through(hard: Tensor, soft: Tensor) -> Any:
    """Forward: `hard`, bit for bit. Backward: identity to `soft`."""

    def grad(dy: Tensor) -> tuple[None, Tensor]:
        return None, tf.cast(dy, soft.dtype)

    return tf.identity(hard), grad


def argmax(x: Tensor, axis: int) -> Tensor:
    """The place of the first largest entry, int32.

    Keras's own tells 0 from -0 by their bits, which LiteRT has no way to do.
    """
    return tf.argmax(x, axis, output_type=tf.int32)


def checkpoint_with(
    layer: keras.Layer, name: str, variable: keras.Variable
) -> None:
    """Have `tf.train.Checkpoint` of `layer` hold `variable`, as `name`.

    It finds the attributes that are variables, and none that hold one.
    """
    # Keras watches the list that TensorFlow notes it in, and would make a
    # weight of what is none.
    with DotNotTrackScope():
        layer._track_trackable(variable, name)


# Converters that trace a model themselves, and what they write.
_LITE = "tensorflow.lite.python.lite"
_CONVERTERS = {_LITE: "litert", "tf2onnx.convert": "onnx"}


def export_format() -> str | None:
    """What a call is traced for by an exporter, None if it is not.

    `"saved_model"`, `"litert"`, `"onnx"` or `"openvino"`: by Keras's `export`,
    or by a converter that is given the model. They tell layers nothing of it,
    but their own functions are on the stack, the format's outermost.
    """
    if tf.executing_eagerly():
        return None
    found = None
    for module, _ in _callers():
        folder, _, file = module.rpartition(".")
        if folder == "keras.src.export":
            found = file.removesuffix("_export_archive")
        found = _CONVERTERS.get(module, found)
    return found


def refuse_export(reason: str) -> NoReturn:
    """Raise a ValueError to whoever exports.

    TensorFlow's converter drops what is raised as it traces a model, and
    tries another way, which fails for a reason of its own, and may leave the
    model's programs broken. So the other way is made to raise this, too.
    """
    error = ValueError(reason)

    def again() -> NoReturn:
        raise error

    for module, frame in _callers():
        converter = frame.f_locals.get("self") if module == _LITE else None
        for way in ("_freeze_keras_model", "_freeze_concrete_function"):
            if hasattr(converter, way):
                setattr(converter, way, again)
    raise error


def _callers() -> Iterator[tuple[str, types.FrameType]]:
    """The modules on the stack and their frames, the innermost first."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_globals.get("__name__", ""), frame
        frame = frame.f_back


def next_key(seed: Seed) -> Tensor:
    """The key of the next draw: int64, shape (2,), other on every replica.

    Threefry's own key is 64 bits: the low words of these two, which are the
    seed and the count of draws, so that no two draws of a generator share it.
    """
    if isinstance(seed, int | np.integer):
        key = tf.constant((seed, 0), tf.int64)
    else:
        key = _advance(global_seed_generator() if seed is None else seed)
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync if context else 1
    if replicas > 1:
        key = _replica_key(key, replicas, context.replica_id_in_sync_group)
    return key


def _advance(generator: keras.random.SeedGenerator) -> Tensor:
    """`generator.next()`, in two operations where that takes six."""
    if in_stateless_scope():
        return generator.next()
    state = generator.state.value
    seed = state.read_value()
    state.assign_add(_one_draw(), read_value=False)
    return seed


@functools.cache
def _one_draw() -> Tensor:
    with tf.init_scope():
        return tf.constant((0, 1), tf.int64)


@compiled
def _replica_key(key: Tensor, replicas: int, replica: Tensor) -> Tensor:
    return tf.random.split(key, replicas, alg="threefry")[replica]


def random_unit(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Uniform in the open interval (0, 1). Inside `compiled` only.

    (bits + 1/2) / 2**64, rounded to `dtype`: never 0, as small as 2**-65,
    and at most the largest number below 1.

    Args:
        shape: Integers or an integer tensor.
        key: What `next_key` gave.
        dtype: `"float32"` or `"float64"`.
        start: The first number's place among the 2**64 of the key.
    """
    return _unit(_random_bits(shape, key, start), dtype)


def random_half(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """Uniform in (0, 1/2), and a coin. Inside `compiled` only.

    A uniform number told by its distance to the nearer end, and which end
    that is: as fine at 1 as at 0. The bits are those of `random_unit`, of
    which the coin is the first.
    """
    bits = _random_bits(shape, key, start)
    unit = _unit(tf.bitwise.left_shift(bits, np.uint64(1)), dtype)
    return unit / 2, tf.cast(
        tf.bitwise.right_shift(bits, np.uint64(63)), "bool"
    )


def _random_bits(shape: Tensor, key: Tensor, start: Tensor | int) -> Tensor:
    """64 bits for each number, by Threefry."""
    # A constant key would have small draws computed by the compiler itself,
    # whose arithmetic differs in the last digit.
    (key,) = xla.optimization_barrier(key)
    # What `tf.random.stateless_uniform(alg="threefry")` does with a seed,
    # which always counts from 0.
    bits: Tensor = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape,
        key=tf.reshape(tf.bitcast(tf.cast(key, tf.int32), tf.uint64), [1]),
        counter=tf.reshape(tf.cast(start, tf.uint64), [1]),
        alg=tf.random.Algorithm.THREEFRY.value,
        dtype=tf.uint64,
    )
    return bits


def _unit(bits: Tensor, dtype: str) -> Tensor:
    """(bits + 1/2) / 2**64, below 1."""
    # Two words convert faster than one of 64 bits, and lose nothing: the
    # low one counts only where the high one is small.
    high = tf.cast(tf.bitwise.right_shift(bits, np.uint64(32)), tf.uint32)
    low = tf.cast(bits, tf.uint32)
    unit = tf.cast(low, dtype) * 2.0**-64 + 2.0**-65
    unit += tf.cast(high, dtype) * 2.0**-32
    below_one = np.nextafter(1, 0, dtype=tf.as_dtype(dtype).as_numpy_dtype)
    return tf.minimum(unit, below_one)


def bitcast(x: Tensor, dtype: str) -> Tensor:
    """The same bits as another type of the same width."""
    # `keras.ops.view` cannot where a size is unknown.
    return tf.bitcast(x, dtype)


def log_gamma(x: Tensor) -> Tensor:
    """log((x - 1)!)."""
    return tf.math.lgamma(x)


def sum_to_shape(x: Tensor, shape: Tensor) -> Tensor:
    """`x` summed to `shape`: the transpose of broadcasting from it."""
    axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=shape).r1
    return tf.reshape(tf.reduce_sum(x, axes), shape)


def to_tensor(x: Tensor, dtype: str | None = None) -> Tensor:
    """`x` as a tensor; a variable is read, which Keras leaves to later."""
    if isinstance(x, float):
        number = _number if tf.executing_eagerly() else tf.convert_to_tensor
        return number(x, dtype)
    return tf.convert_to_tensor(keras.ops.convert_to_tensor(x, dtype))


@functools.lru_cache(maxsize=64)
def _number(x: float, dtype: str | None) -> Tensor:
    """Eager code is called again with the same few settings."""
    return tf.convert_to_tensor(x, dtype)


def static_value(x: Tensor) -> np.ndarray | None:
    """`x` as an array where its value is known now, otherwise None."""
    if isinstance(x, keras.Variable | tf.Variable):
        return None
    return tf.get_static_value(x) if tf.is_tensor(x) else np.asarray(x)
