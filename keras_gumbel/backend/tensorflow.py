"""TensorFlow: the only file of the package that imports it."""

import functools
import sys
import types
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, ParamSpec, TypeVar

import keras
import numpy as np
import tensorflow as tf

# Keras keeps these to itself. The generator behind `seed=None` must be its
# own, so that `keras.utils.set_random_seed` reaches it.
from keras.src.backend import compute_output_spec
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.common.variables import AutocastScope
from keras.src.export.export_utils import get_input_signature
from keras.src.random.seed_generator import global_seed_generator
from keras.src.utils.tracking import DotNotTrackScope

# The optimization barrier has no name under `tf.`; this module is where
# jax2tf takes it from too.
from tensorflow.compiler.tf2xla.python import xla

# Nor have the pause of every tape, the list of what looks at each operation,
# and the call of a function by its name.
from tensorflow.python.eager import context, execute, record

from keras_gumbel._typing import Seed, Tensor
from keras_gumbel.backend import replay

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


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one XLA program, called from eager, graph or XLA code.

    Threefry has an XLA kernel only. Compiling the few lines that draw from
    it gives every mode the same bits, and eager code the fused speed. Given
    what `next_key` has not read yet, the program reads it too.
    """
    program = tf.function(
        function, jit_compile=True, autograph=False, reduce_retracing=True
    )

    traces: dict[Any, Callable[..., Any]] = {}

    @functools.cache
    def drawing(place: int) -> Any:
        def draw(handle: Tensor, amount: Tensor, *args: Any) -> Any:
            key = _fetch_then_add(handle, amount)
            return key, function(*args[:place], key, *args[place:])

        return tf.function(
            draw, jit_compile=True, autograph=False, reduce_retracing=True
        )

    @unchecked
    @functools.wraps(function)
    def run(*args: Any) -> Any:
        place = _place_of_unread(args)
        if place is not None:
            unread, rest = args[place], (*args[:place], *args[place + 1 :])
            unread.key, results = drawing(place)(
                unread.handle, unread.amount, *rest
            )
            return results
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


def with_gradient(
    run_forward: Callable[..., tuple[Tensor, ...]],
    run_backward: Callable[..., tuple[Tensor | None, ...]],
    outputs: int = 1,
) -> Callable[..., Any]:
    """A function with a gradient rule of its own.

    Args:
        run_forward: `(*args) -> (*outputs, *residuals)`, the residuals being
            what is kept for the backward pass. Compiled, or never.
        run_backward: `(d_output, *residuals, *args) -> gradients`, one or
            None for each of these arguments, from that of the first output.
        outputs: How many there are; those after the first have no gradient.

    Returns:
        `(*args) -> output`, a tuple where there are several. Higher
        derivatives are those of `run_backward`.
    """

    def with_rule(*args: Any) -> Any:
        results = tuple(run_forward(*args))
        given, residuals = results[:outputs], results[outputs:]
        if not tf.executing_eagerly():
            # Or a graph that is differentiated as a whole would look for a
            # derivative of the forward pass, and not every one has it.
            residuals = tuple(map(tf.stop_gradient, residuals))

        def grad(dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
            known = (x.key if isinstance(x, _Unread) else x for x in args)
            return tuple(run_backward(dy, *residuals, *known))

        return given if outputs > 1 else given[0], grad

    # Two compiled functions in a gradient rule, and not a rule in one: there
    # TensorFlow has the function return its arguments too, a copy of each.
    of_tensors = custom_gradient(with_rule)

    def call(*args: Any) -> Any:
        place = _place_of_unread(args)
        if place is None:
            return of_tensors(*args)
        before, unread, after = args[:place], args[place], args[place + 1 :]

        @custom_gradient
        def of_the_others(*rest: Tensor) -> Any:
            given, grad = with_rule(*rest[:place], unread, *rest[place:])

            def to_the_others(*dy: Tensor) -> tuple[Tensor | None, ...]:
                found = grad(*dy)
                return *found[:place], *found[place + 1 :]

            return given, to_the_others

        return of_the_others(*before, *after)

    return call


class _Unread:
    """A key that the program which draws by it reads, in a graph.

    A program of its own, which reads a stream and moves it in one step, would
    cost each run of the graph what a program costs to start.

    Attributes:
        key: What was read, once the program has been called.
    """

    def __init__(self, handle: Tensor, amount: Tensor) -> None:
        self.handle, self.amount = handle, amount
        self.key: Tensor = None


def _place_of_unread(args: Sequence[Any]) -> int | None:
    unread = (n for n, x in enumerate(args) if isinstance(x, _Unread))
    return next(unread, None)


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """`tf.custom_gradient`, right in forward mode too.

    TensorFlow's lets accumulators see the operations within, and what they
    make of these goes before the rule: another number, or 0.

    Args:
        function: `(*tensors) -> (tensor or several, rule)`. These are new
            tensors, and `rule` takes their gradients to the arguments.
    """

    @unchecked
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        eager = tf.executing_eagerly()
        args = tuple(map(tf.convert_to_tensor if eager else _inside, args))
        rules: list[Callable[..., Any]] = []

        def noted(*args: Tensor) -> Any:
            results, rule = function(*args)
            rules.append(unchecked(rule))
            return results, rules[0]

        with record.stop_recording():
            if eager:
                results, _ = noted(*args)
            else:
                # By this the graph is differentiated, by what follows the
                # tapes and accumulators within it.
                results = tf.custom_gradient(noted)(*args)
        if record.could_possibly_record():
            record.record_operation(
                "custom_gradient",
                tf.nest.flatten(results),
                args,
                lambda *grads: list(rules[0](*grads)),
            )
        return results

    return call


def _inside(x: Any) -> Tensor:
    """`x` as a tensor of the graph that is being made.

    It enters before the pause, or no tape of this graph would see whence it
    came; and the rule knows it by this name, in derivatives of the graph too.
    """
    x = tf.convert_to_tensor(x)
    here = getattr(x, "graph", None) is tf.compat.v1.get_default_graph()
    return x if here else tf.identity(x)


def once_only(
    backward: Callable[..., tuple[Tensor | None, ...]], what: str
) -> Callable[..., tuple[Tensor | None, ...]]:
    """A backward pass of `what`, compiled, that is not to be differentiated.

    That is a LookupError, and not before a second derivative is asked for.
    """
    run_backward = compiled(backward)

    def run(*args: Tensor) -> tuple[Tensor | None, ...]:
        wanted: list[bool] = []

        @custom_gradient
        def call(*args: Tensor) -> Any:
            # An outer tape may have no use for second derivatives.
            found = run_backward(*args)
            wanted.extend(x is not None for x in found)

            def grad(*_: Tensor) -> None:
                raise LookupError(
                    f"{what} has first derivatives only, by `tf.GradientTape`: "
                    "its gradient is not to be differentiated again, as a "
                    "second derivative and `tf.autodiff.ForwardAccumulator` "
                    "would."
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


@custom_gradient
def materialize(x: Tensor) -> Any:
    """`x` as it stands. Inside `compiled` only.

    XLA would otherwise fold a reduction in two steps into one.
    """
    return xla.optimization_barrier(x)[0], lambda dy: (dy,)


def sum_over(
    count: int,
    term: Callable[..., tuple[Tensor, ...]],
    zeros: tuple[Tensor, ...],
    *args: Tensor,
) -> tuple[Tensor, ...]:
    """`zeros` and `term(n, *args)` over n < count, one n held at a time.

    In the derivatives to `args` too, for which each term is computed again:
    they are such sums as well. All tensors that a term depends on are among
    its arguments.
    """

    def add(n: Tensor, sums: Any) -> tuple[Tensor, Any]:
        # The loop's own tensors, by which `slope` can differentiate.
        found = term(n, *map(tf.identity, args))
        return n + 1, tuple(map(tf.add, sums, found))

    def slope(n: Tensor, *given: Tensor) -> Any:
        args, dys = given[: -len(zeros)], given[-len(zeros) :]
        # No tape: while an accumulator is at work, none records.
        return tf.gradients(
            term(n, *args), args, dys, unconnected_gradients="zero"
        )

    @custom_gradient
    def call(*args: Tensor) -> Any:
        def grad(*dys: Tensor) -> tuple[Tensor, ...]:
            # TensorFlow has None for a sum that nothing is made of.
            given = (
                tf.zeros_like(zero) if dy is None else dy
                for zero, dy in zip(zeros, dys, strict=True)
            )
            none = tuple(map(tf.zeros_like, args))
            return sum_over(count, slope, none, *args, *given)

        return tf.while_loop(lambda n, _: n < count, add, (0, zeros))[1], grad

    sums: tuple[Tensor, ...] = call(*args)
    return sums


@custom_gradient
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


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Run `function` for its errors alone, with symbolic arguments.

    Where an argument is a `KerasTensor`, one without a value takes its place.
    Nothing is drawn, assigned or added.
    """
    compute_output_spec(function, *args, **kwargs)


def input_signature(model: keras.Model) -> Any:
    """One structure of specs for what a model is called with.

    By it `model.export` goes.
    """
    (signature,) = get_input_signature(model)
    return signature


def layout(x: Any) -> str:
    """`"dense"`, `"ragged"` or `"sparse"`."""
    if isinstance(x, tf.RaggedTensor):
        return "ragged"
    if isinstance(x, tf.SparseTensor):
        return "sparse"
    if isinstance(x, keras.KerasTensor):
        # Keras 3.10 has no ragged ones.
        ragged = getattr(x, "ragged", False)
        return "ragged" if ragged else "sparse" if x.sparse else "dense"
    return "dense"


def with_at_least(x: Tensor, size: int, axis: int, message: str) -> Tensor:
    """`x`, or an error when the program runs: its `axis` is below `size`.

    The error ends with the `message` and the size that came.
    """
    shape = tf.shape(x)
    given = shape[axis]
    check = tf.debugging.Assert(given >= size, [message, given])
    least = tf.one_hot(axis, len(x.shape), on_value=size, dtype=shape.dtype)
    # XLA drops the assertion. This slice, which is all of `x`, it refuses.
    with tf.control_dependencies([check] if check is not None else []):
        start, end = tf.zeros_like(shape), tf.maximum(shape, least)
        whole = tf.slice(x, start, end, name="with_at_least")
    return tf.ensure_shape(whole, x.shape)


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


# Where TensorFlow traces loops and branches into graphs of their own.
_CONTROL_FLOW = (
    "tensorflow.python.ops.while_v2",
    "tensorflow.python.ops.cond_v2",
    "tensorflow.python.ops.parallel_for.control_flow_ops",
)


def is_in_inner_graph() -> bool:
    """Whether a layer up the stack traces a loop or a branch, and this in it.

    What is computed in there, that layer's caller cannot have. (A loop over
    whole training steps is outside of every layer.)
    """
    if tf.executing_eagerly():
        return False
    inside = False
    for module, frame in _callers():
        inside |= module in _CONTROL_FLOW
        is_call = frame.f_code.co_name == "__call__"
        if inside and is_call and module == "keras.src.layers.layer":
            return True
    return False


def value_now(variable: keras.Variable) -> np.ndarray | None:
    """What a variable holds while a graph is traced; None if out of reach."""
    with tf.init_scope():
        return tf.get_static_value(tf.convert_to_tensor(variable.value))


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

    In a graph it is what `compiled` and `with_gradient` read it by, in the
    program that they call: nothing else can be done with it, and that once.

    Threefry's own key is 64 bits: the low words of these two, which are the
    seed and the count of draws, so that no two draws of a generator share it.
    """
    return replay.once(lambda: _drawn_key(seed), _graph())


def _drawn_key(seed: Seed) -> Tensor:
    here = tf.distribute.get_replica_context()
    replicas = here.num_replicas_in_sync if here else 1
    if isinstance(seed, int | np.integer):
        key = tf.constant((seed, 0), tf.int64)
    else:
        generator = global_seed_generator() if seed is None else seed
        part = getattr(seed, _PART, None)
        if part is None and replicas == 1 and _can_be_read_later(generator):
            return _Unread(generator.state.value.handle, _int64(_ONE_DRAW))
        key = _advance(generator)
        if part is not None:
            key = _part_key(key, _int64(part))
    if replicas > 1:
        key = _replica_key(key, replicas, here.replica_id_in_sync_group)
    return key


def _advance(generator: keras.random.SeedGenerator) -> Tensor:
    """`generator.next()`, which no other thread reads in between."""
    if in_stateless_scope():
        return generator.next()
    return _fetched(generator.state, _ONE_DRAW)


def _can_be_read_later(generator: keras.random.SeedGenerator) -> bool:
    """In a graph, by one program, which XLA lets reach the state."""
    if tf.executing_eagerly() or in_stateless_scope() or replay.is_running():
        return False
    return not _is_elsewhere(generator.state.value)


def _is_elsewhere(state: Any) -> bool:
    """On a parameter server; or several variables, of each replica one."""
    on_server = "/job:ps" in (state.device or "")
    return on_server or tf.distribute.in_cross_replica_context()


def fetch_and_add(
    variable: keras.Variable, amount: int | tuple[int, ...]
) -> Tensor:
    """What an int64 `variable` is, and add `amount` to it, in one step.

    Neither other threads nor other runs of a graph find it in between, which
    XLA locks.
    """
    return replay.once(lambda: _fetched(variable, amount), _graph())


def _fetched(variable: keras.Variable, amount: int | tuple[int, ...]) -> Tensor:
    if in_stateless_scope():
        before = keras.ops.convert_to_tensor(variable)
        variable.assign_add(amount)
        return before
    state, added = variable.value, _int64(amount)
    if _is_elsewhere(state):
        # XLA does not reach it.
        before = state.read_value()
        state.assign_add(added, read_value=False)
        return before
    if not tf.executing_eagerly():
        return _fetch_and_add(state.handle, added)
    # What a call of the trace comes to, in a fraction of its time.
    trace = _fetching(added.shape)
    name, inputs = tf.compat.as_str(trace.name), [state.handle, added]
    return execute.execute(name, 1, inputs, None, context.context())[0]


@functools.cache
def _int64(number: int | tuple[int, ...]) -> Tensor:
    with tf.init_scope():
        return tf.constant(number, tf.int64)


def _fetch_then_add(handle: Tensor, amount: Tensor) -> Tensor:
    before = tf.raw_ops.ReadVariableOp(resource=handle, dtype=amount.dtype)
    before.set_shape(amount.shape)
    tf.raw_ops.AssignAddVariableOp(resource=handle, value=amount)
    return before


_fetch_and_add = compiled(_fetch_then_add)


@functools.cache
def _fetching(shape: tf.TensorShape) -> Any:
    """The trace of `_fetch_and_add`."""
    program = tf.function(_fetch_then_add, jit_compile=True, autograph=False)
    return program.get_concrete_function(
        tf.TensorSpec((), tf.resource), tf.TensorSpec(shape, tf.int64)
    )


def set_apart(generator: keras.random.SeedGenerator, name: str) -> None:
    """Have its draws be others than those of any other name, or of none.

    Whatever its state is, which files hold: two generators that are apart may
    be in one state.
    """
    setattr(generator, _PART, zlib.crc32(name.encode()))


def is_set_apart(generator: keras.random.SeedGenerator) -> bool:
    """Whether `set_apart` was called with it."""
    return hasattr(generator, _PART)


_PART = "_keras_gumbel_part"
_ONE_DRAW = (0, 1)


@compiled
def _part_key(key: Tensor, part: Tensor) -> Tensor:
    return tf.cast(_random_bits((2,), key, 2 * part), tf.int64)


def shares_objects() -> bool:
    """Whether Keras reads or writes a file, in which what is one stays one."""
    shared = get_global_attribute("shared_objects/id_to_obj_map")
    return shared is not None


@compiled
def _replica_key(key: Tensor, replicas: int, replica: Tensor) -> Tensor:
    return tf.random.split(key, replicas, alg="threefry")[replica]


def _graph() -> Any:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def remat(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, run again in the backward pass with what it decided before.

    That and its arguments are all that is kept between the passes.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        given = tf.nest.flatten((args, kwargs), expand_composites=True)
        places = [i for i, x in enumerate(given) if _is_tensor(x)]

        def block(tensors: Sequence[Tensor]) -> Any:
            leaves = [*given]
            for i, x in zip(places, tensors, strict=True):
                leaves[i] = x
            args_, kwargs_ = tf.nest.pack_sequence_as(
                (args, kwargs), leaves, expand_composites=True
            )
            return function(*args_, **kwargs_)

        return _run_twice(block, [given[i] for i in places])

    return run


def _run_twice(
    block: Callable[[Sequence[Tensor]], Any], tensors: Sequence[Tensor]
) -> Any:
    """`block(tensors)`, of which its gradient makes everything again."""
    around, first = replay.Surroundings(), replay.Run(_graph())
    made: list[Any] = []

    def outgoing(run: replay.Run, tensors: Sequence[Tensor]) -> list[Tensor]:
        with run.active():
            made[:] = [block(tensors)]
        leaves = tf.nest.flatten(made[0], expand_composites=True)
        values = [tf.convert_to_tensor(x) for x in leaves if tf.is_tensor(x)]
        return values + [value for _, value in run.handed]

    @tf.custom_gradient
    def call(*tensors: Tensor) -> Any:
        def grad(*dys: Tensor, variables: Sequence[Any] = ()) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                inputs = _after(dys, tensors)
                learned = [x for x in inputs if x.dtype.is_floating]
                tape.watch([*learned, *variables])
                with around.again():
                    ys = outgoing(replay.Run(_graph(), first.decided), inputs)
            known = [i for i, y in enumerate(ys) if y.dtype.is_floating]
            found = iter(
                tape.gradient(
                    [ys[i] for i in known],
                    [*learned, *variables],
                    [dys[i] for i in known],
                )
            )
            of_inputs = [
                next(found) if x.dtype.is_floating else None for x in inputs
            ]
            return (of_inputs, list(found)) if variables else of_inputs

        with record.stop_recording():
            return outgoing(first, tensors), grad

    results = iter(call(*tensors))
    leaves = [
        _with_mask_of(x, next(results)) if tf.is_tensor(x) else x
        for x in tf.nest.flatten(made[0], expand_composites=True)
    ]
    for (take, _), value in zip(first.handed, results, strict=True):
        replay.hand_on(take, value)
    return tf.nest.pack_sequence_as(made[0], leaves, expand_composites=True)


def _is_tensor(x: Any) -> bool:
    # The gradient to a variable goes by another way.
    return tf.is_tensor(x) and not isinstance(x, tf.Variable)


def _after(dys: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors once more, not to be had before `dys`.

    In a graph, what is made of them would otherwise be found to be there
    already, and kept from the forward pass.
    """
    copies = [tf.identity(x) for x in tensors]
    floats = [dy for dy in dys if dy.dtype.is_floating]
    if floats and not tf.executing_eagerly():
        # XLA drops dependencies of control, and barriers on a CPU. That a
        # number is not this one of the NaNs is nothing that it could know.
        number = tf.reduce_max(tf.reshape(floats[0], [-1])[:1])
        bits = tf.bitcast(tf.cast(number, tf.float32), tf.int32)
        always = tf.not_equal(bits, 0x7FC5A5A5)
        copies = [tf.where(always, x, tf.zeros_like(x)) for x in copies]
    return list(map(_with_mask_of, tensors, copies))


def _with_mask_of(source: Tensor, x: Tensor) -> Tensor:
    mask = get_keras_mask(source)
    if mask is not None:
        set_keras_mask(x, mask)
    return x


def random_bits(
    shape: Tensor, key: Tensor, start: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """64 random bits for each number: two words, the low one first, uint32.

    Inside `compiled` only.

    Args:
        shape: Integers or an integer tensor.
        key: What `next_key` gave.
        start: The first number's place among the 2**64 of the key.
    """
    bits = _random_bits(shape, key, start)
    high = tf.cast(tf.bitwise.right_shift(bits, np.uint64(32)), tf.uint32)
    return tf.cast(bits, tf.uint32), high


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


def bitcast(x: Tensor, dtype: str) -> Tensor:
    """The same bits as another type of the same width."""
    # `keras.ops.view` cannot where a size is unknown.
    return tf.bitcast(x, dtype)


def log_gamma(x: Tensor) -> Tensor:
    """log((x - 1)!)."""
    return tf.math.lgamma(x)


def is_eager() -> bool:
    """Whether operations run as they are called."""
    eager: bool = tf.executing_eagerly()
    return eager


@unchecked
def enlarged(
    x: Tensor, shape: Sequence[Tensor | int], filler: float | bool
) -> Tensor:
    """`x` of at least the `shape`: with entries of the `filler` at the ends."""
    more = (
        goal - size
        for goal, size in zip(shape, keras.ops.shape(x), strict=True)
    )
    return tf.pad(x, [[0, size] for size in more], constant_values=filler)


def corner(x: Tensor, shape: Sequence[Tensor | int]) -> Tensor:
    """The first entries of `x`, so that it has the `shape`; all for -1."""
    return tf.slice(x, [0] * len(shape), shape)


def sum_to_shape(x: Tensor, shape: Tensor) -> Tensor:
    """`x` summed to `shape`: the transpose of broadcasting from it."""
    axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=shape).r1
    return tf.reshape(tf.reduce_sum(x, axes), shape)


def to_tensor(x: Tensor, dtype: str | None = None) -> Tensor:
    """`x` as a tensor; a variable is read, which Keras leaves to later."""
    if isinstance(x, float):
        number = _number if tf.executing_eagerly() else tf.convert_to_tensor
        return number(x, dtype)
    if isinstance(x, keras.Variable):
        # Not by way of the dtype that a layer computes in. And in one
        # operation, where Keras takes three.
        value = tf.convert_to_tensor(x.value if dtype is None else read(x))
        return tf.cast(value, dtype or value.dtype)
    return tf.convert_to_tensor(keras.ops.convert_to_tensor(x, dtype))


def read(variable: keras.Variable) -> Tensor:
    """What is behind `variable`, in its own dtype.

    Inside a layer of a mixed policy Keras would cast it to half precision.
    """
    with AutocastScope(None):
        return variable.value


@functools.lru_cache(maxsize=64)
def _number(x: float, dtype: str | None) -> Tensor:
    """Eager code is called again with the same few settings."""
    return tf.convert_to_tensor(x, dtype)


def static_value(x: Tensor) -> np.ndarray | None:
    """`x` as an array where its value is known now, otherwise None."""
    if isinstance(x, keras.Variable | tf.Variable):
        return None
    return tf.get_static_value(x) if tf.is_tensor(x) else np.asarray(x)
