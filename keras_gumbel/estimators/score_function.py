"""The score function, with a baseline that costs nothing."""

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    categorical_arguments,
    check_samples,
    check_values,
)


@backend.unchecked
def score_function_loss(
    values: Tensor,
    logits: Tensor,
    samples: Tensor,
    *,
    axis: int = -1,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Return a loss whose gradient is REINFORCE with a leave-one-out baseline.

    Use when the function f of the samples has no gradient, such as a
    simulator's reward, or when no bias is acceptable. Draw S samples, compute
    f of each, and minimise this loss.

        loss = mean_s f_s
        d loss / d logits = sum_s (f_s - mean f) (D_s - p) / (S - 1)
        p = softmax(logits)

    D_s is sample s, f_s the value of f there, and mean f the mean of all S
    values. This subtracts from each value the mean of the others, which lowers
    the variance and adds no bias.

    Args:
        values: Float tensor `(S, *batch)`, f at each sample. If logits have
            the shape `(*batch, *variables, K)`, each value depends on all the
            variables of its example.
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class.
        samples: One-hot tensor `(S, *logits.shape)`, S >= 2 independent
            samples of softmax(logits), such as `gumbel_softmax` with
            `hard=True` draws from logits repeated S times. (If they were
            drawn with a `noise_scale` of s, pass logits / s.)
        axis: Integer, the category axis of the logits.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Pass the mask that the samples were
            drawn with.

    Returns:
        A tensor of the shape `batch` and dtype of `values`, the mean of the
        values.

    Gradient:
        To `logits` it is unbiased, for every f; forbidden classes get none. To
        `values` it is 1 / S, which trains the parameters of f. Samples count
        as constants: compute f at `keras.ops.stop_gradient(samples)`, or
        their straight-through gradient is added.

    Raises:
        ValueError: For shapes that do not fit, a single sample, an axis or
            mask out of range.
        TypeError: For values or logits that are not floats.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.zeros((4, 3))
    >>> many = keras.ops.repeat(logits[None], 8, axis=0)
    >>> z = kg.ops.gumbel_softmax(many, hard=True, seed=1)
    >>> z = keras.ops.stop_gradient(z)
    >>> cost = keras.ops.matmul(z, [3.0, 1.0, 2.0])
    >>> loss = kg.estimators.score_function_loss(cost, logits, z)
    >>> bool(keras.ops.all(loss == keras.ops.mean(cost, axis=0)))
    True

    Reference:
        Williams, "Simple Statistical Gradient-Following Algorithms for
        Connectionist Reinforcement Learning", 1992;
        Kool, van Hoof, Welling, "Buy 4 REINFORCE Samples, Get a Baseline
        for Free!", 2019, https://openreview.net/forum?id=r1lgTGL5DE
    """
    logits, _, class_mask, axis, _ = categorical_arguments(
        logits, 1.0, axis, class_mask
    )
    samples, values = backend.to_tensor(samples), backend.to_tensor(values)
    check_samples(samples, logits)
    check_values(values, samples, axis)
    wide = numerics.widen(logits)
    if class_mask is not None:
        wide = ops.where(class_mask, wide, numerics.FORBIDDEN)
    wide_values = numerics.widen(values)
    count = ops.cast(ops.shape(samples)[0], wide.dtype)
    mean = ops.sum(wide_values, axis=0) / ops.cast(count, wide_values.dtype)
    # One number for each sample of each example, over variables and classes.
    advantage = ops.cast(wide_values - mean, wide.dtype)
    batch, lead = len(mean.shape), len(logits.shape) - 1
    for _ in range(lead - batch):
        advantage = ops.expand_dims(advantage, -1)
    advantage = ops.expand_dims(advantage, axis + 1)
    score = ops.cast(samples, wide.dtype) - numerics.softmax(wide, 1.0, axis)
    gradient = ops.sum(advantage * score, axis=0) / (count - 1.0)
    # The surrogate is linear in the logits, with that gradient. It leaves out
    # forbidden logits, which are -inf.
    finite = ops.where(wide == numerics.FORBIDDEN, 0.0, wide)
    surrogate = ops.sum(ops.stop_gradient(gradient) * finite, axis=axis)
    surrogate = ops.sum(surrogate, axis=tuple(range(batch, lead)))
    nothing = backend.straight_through(ops.zeros_like(mean), surrogate)
    return ops.cast(mean + nothing, values.dtype)
