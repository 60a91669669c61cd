"""What remains without noise: the choice made at inference.

Plain `keras.ops` throughout, so that a model in inference mode exports to
every format that knows softmax and argmax.
"""

from keras import ops

from keras_gumbel import backend, formulas
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import categorical_arguments


def noiseless_softmax(
    logits: Tensor,
    temperature: Tensor,
    *,
    axis: int,
    class_mask: Tensor | None = None,
) -> Tensor:
    """softmax(logits / temperature), forbidden classes exactly 0."""
    logits, temperature, axis = _prepare(logits, temperature, axis, class_mask)
    return formulas.softmax(logits, temperature, axis)


def mode(
    logits: Tensor,
    temperature: Tensor,
    *,
    axis: int,
    class_mask: Tensor | None = None,
) -> Tensor:
    """One-hot of the likeliest class, the first on ties.

    Its gradient is that of `noiseless_softmax`, straight through.
    """
    logits, temperature, axis = _prepare(logits, temperature, axis, class_mask)
    soft = formulas.softmax(logits, temperature, axis)
    size = logits.shape[axis] or ops.shape(logits)[axis]
    one_hot = ops.one_hot(
        ops.argmax(logits, axis=axis), size, axis=axis, dtype=logits.dtype
    )
    # The sum is 0 where no class is allowed, and NaN where a logit is.
    total = ops.sum(soft, axis=axis, keepdims=True)
    hard = ops.where(total > 0, one_hot, total * one_hot)
    return backend.straight_through(hard, soft)


def _prepare(
    logits: Tensor, temperature: Tensor, axis: int, class_mask: Tensor | None
) -> tuple[Tensor, Tensor, int]:
    logits, temperature, axis, class_mask = categorical_arguments(
        logits, temperature, axis, class_mask
    )
    logits = formulas.widen(logits)
    if class_mask is not None:
        logits = ops.where(class_mask, logits, formulas.FORBIDDEN)
    return logits, formulas.positive_or_nan(temperature, logits.dtype), axis
