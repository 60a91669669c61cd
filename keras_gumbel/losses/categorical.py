"""The Kullback-Leibler divergence of categorical distributions."""

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    categorical_arguments,
    check_prior_logits,
    dense,
)


@backend.unchecked
def categorical_kl(
    logits: Tensor, prior_logits: Tensor | None = None, *, axis: int = -1
) -> Tensor:
    """Return the divergence of a categorical distribution from its prior.

    It is the KL term of an ELBO with discrete latents, in nats:

        KL(q || p) = sum_k q_k log(q_k / p_k)
        q = softmax(logits),  p = softmax(prior_logits), or 1 / K

    With hard samples the ELBO stays a bound. With relaxed samples it does not:
    then use the divergence between the relaxed distributions of
    `keras_gumbel.distributions`.

    It is computed as sum_k (q_k log(q_k / p_k) - q_k + p_k), where no term is
    negative, so that small divergences keep their digits; in float32, or
    float64 for float64 logits.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class, which then adds 0 to the divergence. A padded
            row, with all classes forbidden, gives 0.
        prior_logits: Optional float tensor that broadcasts to the logits,
            with all K classes along `axis`. If it forbids a class that the
            logits allow, the divergence is +inf. `None`: the uniform
            prior over all K classes. Defaults to `None`.
        axis: Integer, the category axis. Defaults to `-1`.

    Returns:
        A tensor of the shape of `logits` less `axis`. A logit of NaN or +inf
        gives NaN.

    Gradient:
        Exact, to both. Forbidden classes get none.

    Raises:
        ValueError: For an axis out of range or a prior that does not fit.
        TypeError: For logits that are not floats, and for the inputs of a
            Functional model, which are not tensors yet: call it in a layer.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.log([[0.5, 0.5, 0.0, 0.0], [0.25] * 4])
    >>> kl = kg.losses.categorical_kl(logits)
    >>> [round(float(x), 4) for x in kl]
    [0.6931, 0.0]

    Reference:
        Kingma, Welling, "Auto-Encoding Variational Bayes", 2014, eq. 3,
        https://arxiv.org/abs/1312.6114
    """
    logits, _, _, axis, _ = categorical_arguments(logits, 1.0, axis, None)
    wide = numerics.widen(logits)
    if prior_logits is None:
        prior = ops.zeros_like(wide)
    else:
        prior = dense(prior_logits, "prior_logits")
        check_prior_logits(prior, logits, axis)
        prior = ops.cast(prior, wide.dtype)
    axis -= len(logits.shape)
    q, log_q = numerics.log_softmax(wide, axis)
    p, log_p = numerics.log_softmax(prior, axis)
    possible, foreseen = wide != numerics.FORBIDDEN, prior != numerics.FORBIDDEN
    both = ops.logical_and(possible, foreseen)
    ratio = ops.where(both, log_q - log_p, 0.0)
    # A term without q is p, which is 0 where the prior forbids the class.
    kl = ops.sum(ops.where(both, _terms(q, p, ratio), p), axis=axis)
    # The shorter formula has the same gradient.
    kl = backend.straight_through(kl, ops.sum(q * ratio, axis=axis))
    unforeseen = ops.logical_and(possible, ops.logical_not(foreseen))
    unforeseen = ops.any(unforeseen, axis=axis)
    kl = ops.where(unforeseen, kl + float("inf"), kl)
    return ops.where(ops.any(possible, axis=axis), kl, 0.0)


def _terms(q: Tensor, p: Tensor, ratio: Tensor) -> Tensor:
    """Return q * ratio - q + p, where ratio is log(q / p); never negative."""
    above = ratio >= 0
    size = ops.where(above, ratio, -ratio)
    # Multiples of the larger of q and p, so that nothing overflows.
    rest = ops.expm1(-size)
    of_q, of_p = size + rest, -rest - size * (1.0 + rest)
    return ops.where(above, q, p) * ops.where(above, of_q, of_p)
