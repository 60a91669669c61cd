"""Gradient rules: of a program's own, and of what it is made of."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# The optimization barrier has no name under `tf.`, nor has the pause of every
# tape.
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.eager import record

from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.backend.tensorflow.programs import (
    as_read,
    compiled,
    place_of_unread,
    unchecked,
)
from keras_gumbel.backend.tensorflow.tracing import is_vectorised


def with_gradient(
    run_forward: Callable[..., Tensors],
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
            return tuple(run_backward(dy, *residuals, *as_read(args)))

        return given if outputs > 1 else given[0], grad

    # Two compiled functions in a gradient rule, and not a rule in one: there
    # TensorFlow has the function return its arguments too, a copy of each.
    of_tensors = custom_gradient(with_rule)

    def call(*args: Any) -> Any:
        args = as_read(args)
        place = place_of_unread(args)
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
        if is_vectorised():
            return _by_expression(function, args)
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


def _by_expression(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """`custom_gradient` without one, where rules get lost.

    The rule is linear in the gradients that it is given. So its transpose, at
    x - x, is an expression of value 0 which is differentiated to the rule.
    """
    args = tuple(map(tf.convert_to_tensor, args))
    results, rule = function(*args)
    flat = [tf.stop_gradient(x) for x in tf.nest.flatten(results)]
    given = [tf.zeros_like(x) for x in flat]
    product = []
    for x, found in zip(args, rule(*given), strict=True):
        if found is not None and x.dtype.is_floating:
            x = tf.where(tf.math.is_finite(x), x, tf.zeros_like(x))
            product.append(tf.reduce_sum(found * (x - tf.stop_gradient(x))))
    if product:
        nothing = tf.gradients(product, given)
        flat = [
            y if zero is None else tf.where(tf.equal(zero, 0), y + zero, y)
            for y, zero in zip(flat, nothing, strict=True)
        ]
    return tf.nest.pack_sequence_as(results, flat)


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
    """Compile `backward`, and raise LookupError if it is differentiated.

    The error comes only when a second derivative is asked for.
    """
    run_backward = compiled(backward)

    message = (
        f"{what} has first derivatives only, by `tf.GradientTape`. A second "
        "derivative and `tf.autodiff.ForwardAccumulator` would differentiate "
        "its gradient again, and that has no derivative."
    )

    def run(*args: Tensor) -> tuple[Tensor | None, ...]:
        if is_vectorised():
            # By the gradient that it is given alone: see `_by_expression`.
            dy, *fixed = args
            return run_backward(dy, *map(tf.stop_gradient, fixed))
        wanted: list[bool] = []

        @custom_gradient
        def call(*args: Tensor) -> Any:
            # An outer tape may have no use for second derivatives.
            found = run_backward(*args)
            wanted.extend(x is not None for x in found)

            def grad(*_: Tensor) -> None:
                raise LookupError(message)

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


@custom_gradient
def materialize(x: Tensor) -> Any:
    """`x` as it stands. Inside `compiled` only.

    XLA would otherwise fold a reduction in two steps into one.
    """
    if is_vectorised():
        return x, lambda dy: (dy,)
    return xla.optimization_barrier(x)[0], lambda dy: (dy,)


def sum_over(
    count: int,
    term: Callable[..., Tensors],
    zeros: Tensors,
    *args: Tensor,
) -> Tensors:
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
        def grad(*dys: Tensor) -> Tensors:
            # TensorFlow has None for a sum that nothing is made of.
            given = (
                tf.zeros_like(zero) if dy is None else dy
                for zero, dy in zip(zeros, dys, strict=True)
            )
            none = tuple(map(tf.zeros_like, args))
            return sum_over(count, slope, none, *args, *given)

        return total(), grad

    def total() -> Any:
        return tf.while_loop(lambda n, _: n < count, add, (0, zeros))[1]

    # A rule whose derivative is such a rule has no expression.
    sums: Tensors = total() if is_vectorised() else call(*args)
    return sums


@custom_gradient
def straight_through(hard: Tensor, soft: Tensor) -> Any:
    """Forward: `hard`, bit for bit. Backward: identity to `soft`."""

    def grad(dy: Tensor) -> tuple[None, Tensor]:
        return None, tf.cast(dy, soft.dtype)

    return tf.identity(hard), grad
