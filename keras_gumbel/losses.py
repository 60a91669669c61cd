"""Terms of a loss that are functions of the distribution, not of a sample."""

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel._validation import (
    categorical_arguments,
    check_prior_logits,
    check_prior_of_gates,
    dense,
    gate_arguments,
)

# Below it exp(-s) - 1 + s is summed as a series, of this many terms.
_SMALL, _TERMS = 0.25, 14


@backend.unchecked
def categorical_kl(
    logits: Tensor, prior_logits: Tensor | None = None, *, axis: int = -1
) -> Tensor:
    """Return the divergence of a categorical distribution from its prior.

    In nats, as the KL term of an ELBO with discrete latents:

        KL(q || p) = sum_k q_k log(q_k / p_k)
        q = softmax(logits),  p = softmax(prior_logits), or 1 / K

    With hard samples the ELBO stays a bound. With relaxed samples it does not:
    use the divergence between the relaxed distributions of
    `keras_gumbel.distributions` there.

    Computed as sum_k (q_k log(q_k / p_k) - q_k + p_k), in which no term is
    negative, so that small divergences keep their digits; in float32, or
    float64 for float64 logits.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class, which then adds 0 to the divergence. A row in
            which all are forbidden, padding, gives 0.
        prior_logits: Optional float tensor that broadcasts to the logits,
            with all K classes along `axis`. Where it forbids a class that
            the logits do not, the divergence is +inf. `None`: the uniform
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
            Functional model, which are no tensors yet: call it in a layer.

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
    # p is what is left of a term without q, and 0 where p is forbidden.
    kl = ops.sum(ops.where(both, _terms(q, p, ratio), p), axis=axis)
    # The shorter formula has the same gradient.
    kl = backend.straight_through(kl, ops.sum(q * ratio, axis=axis))
    unforeseen = ops.logical_and(possible, ops.logical_not(foreseen))
    unforeseen = ops.any(unforeseen, axis=axis)
    kl = ops.where(unforeseen, kl + float("inf"), kl)
    return ops.where(ops.any(possible, axis=axis), kl, 0.0)


def _terms(q: Tensor, p: Tensor, ratio: Tensor) -> Tensor:
    """q * ratio - q + p, where ratio is log(q / p); none is negative."""
    above = ratio >= 0
    size = ops.where(above, ratio, -ratio)
    # Of q where that is the larger, of p otherwise: nothing overflows.
    rest = ops.expm1(-size)
    of_q, of_p = size + rest, -rest - size * (1.0 + rest)
    return ops.where(above, q, p) * ops.where(above, of_q, of_p)


@backend.unchecked
def bernoulli_kl(logits: Tensor, prior_logits: Tensor | None = None) -> Tensor:
    """Return the divergence of each gate from its prior, in nats.

        KL(q || p) = q log(q / p) + (1 - q) log((1 - q) / (1 - p))
        q = sigmoid(logits),  p = sigmoid(prior_logits), or 1 / 2

    Each entry is a gate of its own, as in `GumbelSigmoid`: sum over the
    gates of an example for the term of an ELBO. Hard gates keep the bound
    with it; relaxed ones do not, as for `categorical_kl`.

    Small divergences keep all their digits. Computed in float32, whatever
    the dtype of the logits; in float64 for float64.

    Args:
        logits: Float tensor, log-odds in nats: log(q / (1 - q)). -inf is a
            gate that is certainly 0, and +inf one that is certainly 1.
        prior_logits: Optional float tensor that broadcasts to the logits.
            Where the prior is certain and the gate is not the same, the
            divergence is +inf; where both are certain of the same, 0. (To
            leave out a gate, padding, give both -inf.) `None`: 1 / 2 for
            every gate. Defaults to `None`.

    Returns:
        A tensor of the shape of `logits`. A logit of NaN gives NaN.

    Gradient:
        Exact, to both. Infinite logits get none.

    Raises:
        ValueError: For a prior that does not fit.
        TypeError: For logits that are not floats, and for the inputs of a
            Functional model, which are no tensors yet: call it in a layer.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> infinity = float("inf")
    >>> logits = keras.ops.convert_to_tensor([0.0, 2.0, -infinity])
    >>> [round(float(x), 4) for x in kg.losses.bernoulli_kl(logits)]
    [0.0, 0.3278, 0.6931]

    Reference:
        Kingma, Welling, "Auto-Encoding Variational Bayes", 2014, eq. 3,
        https://arxiv.org/abs/1312.6114
    """
    logits = gate_arguments(logits, 1.0, None).logits
    wide = numerics.widen(logits)
    if prior_logits is None:
        return _bernoulli(wide, ops.zeros_like(wide))
    prior = dense(prior_logits, "prior_logits")
    check_prior_of_gates(prior, logits)
    prior = ops.cast(prior, wide.dtype)
    return _bernoulli(wide, ops.broadcast_to(prior, ops.shape(wide)))


def _bernoulli_kl(x: Tensor, y: Tensor) -> tuple[Tensor]:
    """The divergence of gates of logits `x` from those of `y`, one shape."""
    certain, never = ops.isinf(x), ops.isinf(y)
    safe, prior = ops.where(certain, 0.0, x), ops.where(never, 0.0, y)
    # Mirrored, so that the prior is the lower of the two.
    lower = safe >= prior
    mirrored = (ops.where(lower, z, -z) for z in (safe, prior))
    kl = _of_lower_prior(*mirrored)
    toward = ops.where(x > 0, -prior, prior)
    kl = ops.where(certain, ops.softplus(toward), kl)
    # NaN shows beside a prior that is certain, too.
    ruled_out = ops.where(ops.isnan(x), x, float("inf"))
    return (ops.where(never, ops.where(x == y, 0.0, ruled_out), kl),)


def _of_lower_prior(x: Tensor, y: Tensor) -> Tensor:
    """q (a - 1 + e**-a) + (1 - p) (1 - (1 + b) e**-b), of finite x >= y.

    With a = log(q / p) and b = log((1 - p) / (1 - q)), both at least 0.
    """
    near = x - y < 1.0
    rise = ops.expm1(ops.where(near, x - y, 0.0))
    a = ops.softplus(-y) - ops.softplus(-x)
    a = ops.where(near, ops.log1p(ops.sigmoid(-x) * rise), a)
    b = ops.softplus(x) - ops.softplus(y)
    b = ops.where(near, ops.log1p(ops.sigmoid(y) * rise), b)
    fall = -ops.expm1(-b)
    of_p = ops.where(b < 1.0, b * fall - _excess(b), fall - b * ops.exp(-b))
    return ops.sigmoid(x) * _excess(a) + ops.sigmoid(-y) * of_p


def _excess(s: Tensor) -> Tensor:
    """exp(-s) - 1 + s of s >= 0, with all its digits."""
    small = backend.minimum(s, _SMALL)
    series = ops.ones_like(s)
    for k in range(_TERMS, 2, -1):
        # s**2 / 2 (1 - s / 3 (1 - s / 4 (1 - ...)))
        series = 1.0 - small / k * series
    series = small * small / 2 * series
    return ops.where(s < _SMALL, series, s + ops.expm1(-s))


def _bernoulli_kl_vjp(d_kl: Tensor, x: Tensor, y: Tensor) -> Tensors:
    """q (1 - q) (x - y), and p - q as a product, by which it keeps digits."""
    certain, never = ops.isinf(x), ops.isinf(y)
    safe, prior = ops.where(certain, 0.0, x), ops.where(never, 0.0, y)
    slope = ops.sigmoid(safe) * ops.sigmoid(-safe)
    # Where it is 0, the difference may be infinite.
    dx = slope * ops.where(slope == 0.0, 0.0, safe - prior)
    lower = safe >= prior
    q, p = (ops.where(lower, z, -z) for z in (safe, prior))
    dy = ops.sigmoid(q) * ops.sigmoid(-p) * ops.expm1(p - q)
    dy = ops.where(lower, dy, -dy)
    toward = ops.where(x > 0, -ops.sigmoid(-prior), ops.sigmoid(prior))
    dy = ops.where(certain, toward, dy)
    return (
        ops.where(certain | never, 0.0, numerics.scaled(dx, d_kl)),
        ops.where(never, 0.0, numerics.scaled(dy, d_kl)),
    )


_bernoulli = backend.with_gradient(_bernoulli_kl, _bernoulli_kl_vjp)


@backend.unchecked
def diversity_loss(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the share of the codes that a batch leaves unused, on average.

        1 - exp(H(p)) / K,  p = mean of softmax(logits) over the batch

    Least, 0, where all K codes are as likely over the batch, however sure
    each row is of its own. Of several groups it is the mean. The batch is
    that of all replicas. wav2vec 2.0 maximises the entropy itself in its
    equation 4; this is the form in which its authors trained.

    Args:
        logits: Float tensor `(..., num_groups, num_codes)`, in nats; -inf
            forbids a code.
        mask: Optional bool tensor `(...)`, False for what is left out.

    Returns:
        A float32 scalar in [0, 1).

    Gradient:
        Exact.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = 50.0 * keras.ops.eye(4)[:2, None]
    >>> round(float(kg.losses.diversity_loss(logits)), 4)
    0.5

    Reference:
        Baevski, Zhou, Mohamed, Auli, "wav2vec 2.0", 2020, eq. 4,
        https://arxiv.org/abs/2006.11477
    """
    logits = dense(logits, "logits")
    groups, codes = logits.shape[-2:]
    x = ops.cast(ops.reshape(logits, (-1, groups, codes)), "float32")
    # A row without a code that is allowed is none.
    real = ops.any(x > numerics.FORBIDDEN, axis=(1, 2))
    if mask is not None:
        real = real & ops.reshape(dense(mask, "mask"), (-1,))
    x = ops.where(real[:, None, None], x, 0.0)
    p, _ = numerics.log_softmax(x, -1)
    p = ops.where(real[:, None, None], p, 0.0)
    count = ops.sum(ops.cast(real, "float32"))
    count = ops.maximum(backend.sum_over_replicas(count), 1.0)
    mean = backend.sum_over_replicas(ops.sum(p, axis=0)) / count
    log = ops.log(ops.where(mean > 0, mean, 1.0))
    entropy = -ops.sum(mean * log, axis=-1)
    return 1.0 - ops.mean(ops.exp(entropy)) / codes


# Bits whose codes are counted together: 2**8 of them.
_BITS_TOGETHER = 8


def bit_entropy_gap(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return how far bits are from being sure, and codes from equal use.

        mean of H(q)  -  H(mean of q),  in nats

    The first term is the sum over bits of the entropy of Bernoulli(sigmoid(
    logits)): least where every bit is certain. The second is the entropy of
    the codes in the batch, of all replicas: largest where all are used
    alike. It is computed of 8 bits at a time and summed, exact for up to 8
    bits, and above that an upper bound.

    Args:
        logits: Float tensor `(..., bits)`.
        mask: Optional bool tensor `(...)`, False for what is left out.

    Returns:
        A float32 scalar, between -bits log 2 and bits log 2; 0 where nothing
        is left.

    Gradient:
        Exact for what is computed.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.convert_to_tensor([[40.0, 40.0], [-40.0, 40.0]])
    >>> round(float(kg.losses.bit_entropy_gap(logits)), 4)
    -0.6931

    Reference:
        Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual
        Generation", 2023, section 3.1, https://arxiv.org/abs/2310.05737
    """
    logits = dense(logits, "logits")
    bits = logits.shape[-1]
    x = ops.cast(ops.reshape(logits, (-1, bits)), "float32")
    weight = ops.ones(ops.shape(x)[:1], "float32")
    if mask is not None:
        mask = ops.reshape(dense(mask, "mask"), (-1,))
        # What is masked may be anything, NaN too.
        x = ops.where(mask[:, None], x, 0.0)
        weight = ops.cast(mask, "float32")
    total = ops.sum(weight)
    weight = weight / ops.maximum(total, 1.0)
    # H = softplus(-x) + (1 - p) x, of which no term is large.
    entropy = ops.softplus(-x) + ops.sigmoid(-x) * x
    sure = ops.sum(weight * ops.sum(entropy, axis=-1))
    both = ops.log_sigmoid(ops.stack([-x, x], axis=-1))
    used = 0.0
    share = total / ops.maximum(backend.sum_over_replicas(total), 1.0)
    for first in range(0, bits, _BITS_TOGETHER):
        codes = both[:, first]
        for n in range(first + 1, min(first + _BITS_TOGETHER, bits)):
            codes = codes[:, :, None] + both[:, n][:, None]
            codes = ops.reshape(codes, (-1, codes.shape[1] * 2))
        mean = ops.sum(weight[:, None] * ops.exp(codes), axis=0)
        mean = backend.sum_over_replicas(share * mean)
        some = ops.where(mean > 0, mean, 1.0)
        used = used - ops.sum(mean * ops.log(some))
    return sure - used
