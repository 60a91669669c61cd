"""The choice made at inference, without noise.

Plain `keras.ops` throughout, so that a model in inference mode exports to
every format that knows softmax and argmax.
"""

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import categorical_arguments, gate_arguments
from keras_gumbel.numerics.portable import in_any_format, moderate


@backend.unchecked
def noiseless_softmax(
    logits: Tensor,
    temperature: Tensor,
    *,
    axis: int,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Return softmax(logits / temperature), forbidden classes exactly 0."""
    logits, temperature, axis = _prepare(logits, temperature, axis, class_mask)

    def soft(x: Tensor) -> Tensor:
        return numerics.softmax(x, temperature, axis)

    return in_any_format(soft, logits, axis, temperature)


@backend.unchecked
def mode(
    logits: Tensor,
    temperature: Tensor,
    *,
    axis: int,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Return the one-hot of the likeliest class, the first on ties.

    Its gradient is `noiseless_softmax`'s, straight through.
    """
    logits, temperature, axis = _prepare(logits, temperature, axis, class_mask)

    def hard(x: Tensor) -> Tensor:
        soft = numerics.softmax(x, temperature, axis)
        size = ops.shape(x)[axis]
        one_hot = backend.one_hot(backend.argmax(x, axis), size, axis, x.dtype)
        # The sum is 0 where no class is allowed, and NaN where a logit is.
        total = ops.sum(soft, axis=axis, keepdims=True)
        chosen = ops.where(total > 0, one_hot, total * one_hot)
        return backend.straight_through(chosen, soft)

    return in_any_format(hard, logits, axis, temperature)


def _prepare(
    logits: Tensor, temperature: Tensor, axis: int, class_mask: Tensor | None
) -> tuple[Tensor, Tensor, int]:
    given = categorical_arguments(logits, temperature, axis, class_mask)
    x = numerics.allowed(given.logits, given.class_mask)
    tau = numerics.positive_or_nan(given.temperature, x.dtype)
    return x, tau, given.axis


@backend.unchecked
def noiseless_sigmoid(
    logits: Tensor, temperature: Tensor, *, class_mask: Tensor | None = None
) -> Tensor:
    """Return sigmoid(logits / temperature), for gates."""
    return _relaxed_gates(*_prepare_gates(logits, temperature, class_mask))


@backend.unchecked
def gate_mode(
    logits: Tensor, temperature: Tensor, *, class_mask: Tensor | None = None
) -> Tensor:
    """Return the likelier state of gates: 1 for positive logits, else 0.

    Its gradient is `noiseless_sigmoid`'s, straight through.
    """
    logits, temperature = _prepare_gates(logits, temperature, class_mask)
    soft = _relaxed_gates(logits, temperature)
    return backend.straight_through(numerics.step(logits), soft)


def _relaxed_gates(logits: Tensor, temperature: Tensor) -> Tensor:
    # Infinite logits give no gradient, not even to the temperature.
    certain = ops.isinf(logits)
    x = ops.where(certain, 0.0, logits) / temperature
    soft = ops.sigmoid(moderate(x))
    return ops.where(certain, numerics.step(logits), soft)


def _prepare_gates(
    logits: Tensor, temperature: Tensor, class_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    given = gate_arguments(logits, temperature, class_mask)
    x = numerics.allowed(given.logits, given.class_mask)
    return x, numerics.positive_or_nan(given.temperature, x.dtype)
