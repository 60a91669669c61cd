"""Backward rules of programs and of their parts."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# `tf` exports neither the optimization barrier nor the pause of all tapes.
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

    def with_rule(*args: Any) -> Any:
        results = tuple(run_forward(*args))
        given, residuals = results[:outputs], results[outputs:]
        if not tf.executing_eagerly():
            # Otherwise the derivative of a whole graph would need one of the
            # forward pass, which may have none.
            residuals = tuple(map(tf.stop_gradient, residuals))

        def grad(dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
            return tuple(run_backward(dy, *residuals, *as_read(args)))

        return given if outputs > 1 else given[0], grad

    # The rule holds two compiled functions. If it were inside one, TensorFlow
    # would have that return a copy of each argument, too.
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
    """Apply `tf.custom_gradient`, correctly in forward mode, too.

    TensorFlow's own lets accumulators see the operations within. Their result
    then overrides the rule: a wrong number, or 0.

    Args:
        function: `(*tensors) -> (tensor or several, rule)`. The results are
            new tensors; `rule` maps their gradients to the arguments.
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
                # Gradients of the whole graph use this rule; tapes and
                # accumulators within it use the record below.
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
    """Apply `function` by an expression, where rules get lost.

    The rule is linear in its gradients. So its transpose at x - x is an
    expression with value 0, and its derivative is the rule.
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
    """Return `x` as a tensor of the graph being traced.

    It enters before the pause, so that tapes of this graph see its origin.
    The rule uses this tensor, in derivatives of the graph too.
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
            # Differentiate by the given gradient alone: see `_by_expression`.
            dy, *fixed = args
            return run_backward(dy, *map(tf.stop_gradient, fixed))
        wanted: list[bool] = []

        @custom_gradient
        def call(*args: Tensor) -> Any:
            # An outer tape may need no second derivatives, so do not raise yet.
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
    """Return `x -> d sum(function(x)) / dx`, as one graph.

    The result is 0 where nothing connects the two. XLA does not compile the
    graph, since it cannot compile every user's function.
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
    """Return `x` behind a barrier. Inside `compiled` only.

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
    """Sum `zeros` and `term(n, *args)` over n < count, one n at a time.

    The derivatives to `args` are such sums too, and compute each term again.
    A term must depend on no tensors but its arguments.
    """

    def add(n: Tensor, sums: Any) -> tuple[Tensor, Any]:
        # `slope` can differentiate by these, the loop's own tensors.
        found = term(n, *map(tf.identity, args))
        return n + 1, tuple(map(tf.add, sums, found))

    def slope(n: Tensor, *given: Tensor) -> Any:
        args, dys = given[: -len(zeros)], given[-len(zeros) :]
        # A tape would record nothing while an accumulator is active.
        return tf.gradients(
            term(n, *args), args, dys, unconnected_gradients="zero"
        )

    @custom_gradient
    def call(*args: Tensor) -> Any:
        def grad(*dys: Tensor) -> Tensors:
            # TensorFlow gives None for a sum that nothing uses.
            given = (
                tf.zeros_like(zero) if dy is None else dy
                for zero, dy in zip(zeros, dys, strict=True)
            )
            none = tuple(map(tf.zeros_like, args))
            return sum_over(count, slope, none, *args, *given)

        return total(), grad

    def total() -> Any:
        return tf.while_loop(lambda n, _: n < count, add, (0, zeros))[1]

    # `_by_expression` cannot express a rule whose derivative is a rule.
    sums: Tensors = total() if is_vectorised() else call(*args)
    return sums


@custom_gradient
def straight_through(hard: Tensor, soft: Tensor) -> Any:
    """Return `hard`, bit for bit; pass the gradient unchanged to `soft`."""

    def grad(dy: Tensor) -> tuple[None, Tensor]:
        return None, tf.cast(dy, soft.dtype)

    return tf.identity(hard), grad
