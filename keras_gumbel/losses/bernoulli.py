"""The Kullback-Leibler divergence of Bernoulli distributions."""

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel._validation import check_prior_of_gates, dense, gate_arguments

# Below `_SMALL`, exp(-s) - 1 + s is summed as a series of `_TERMS` terms.
_SMALL, _TERMS = 0.25, 14


@backend.unchecked
def bernoulli_kl(logits: Tensor, prior_logits: Tensor | None = None) -> Tensor:
    """Return the divergence of each gate from its prior, in nats.

        KL(q || p) = q log(q / p) + (1 - q) log((1 - q) / (1 - p))
        q = sigmoid(logits),  p = sigmoid(prior_logits), or 1 / 2

    Each entry is a gate of its own, as in `GumbelSigmoid`: sum over the
    gates of an example for the term of an ELBO. With hard gates the ELBO
    stays a bound; with relaxed gates it does not, as for `categorical_kl`.

    Small divergences keep all their digits. It is computed in float32,
    whatever the dtype of the logits; in float64 for float64.

    Args:
        logits: Float tensor, log-odds in nats: log(q / (1 - q)). -inf is a
            gate that is certainly 0, and +inf one that is certainly 1.
        prior_logits: Optional float tensor that broadcasts to the logits.
            If the prior is certain and the gate differs, the divergence is
            +inf; if both are certain of the same state, it is 0. (To leave
            out a padded gate, set both to -inf.) `None`: 1 / 2 for every
            gate. Defaults to `None`.

    Returns:
        A tensor of the shape of `logits`. A logit of NaN gives NaN.

    Gradient:
        Exact, to both. Infinite logits get none.

    Raises:
        ValueError: For a prior that does not fit.
        TypeError: For logits that are not floats, and for the inputs of a
            Functional model, which are not tensors yet: call it in a layer.

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
    """Return the divergence of gates of logits `x` from gates of `y`."""
    certain, never = ops.isinf(x), ops.isinf(y)
    safe, prior = ops.where(certain, 0.0, x), ops.where(never, 0.0, y)
    # Mirror both, so that the prior is the lower of the two.
    lower = safe >= prior
    mirrored = (ops.where(lower, z, -z) for z in (safe, prior))
    kl = _of_lower_prior(*mirrored)
    toward = ops.where(x > 0, -prior, prior)
    kl = ops.where(certain, ops.softplus(toward), kl)
    # A certain prior must not hide a NaN.
    ruled_out = ops.where(ops.isnan(x), x, float("inf"))
    return (ops.where(never, ops.where(x == y, 0.0, ruled_out), kl),)


def _of_lower_prior(x: Tensor, y: Tensor) -> Tensor:
    """Return q (a - 1 + e**-a) + (1 - p) (1 - (1 + b) e**-b).

    Here x >= y are finite, and a = log(q / p) and b = log((1 - p) / (1 - q))
    are at least 0.
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
    """Return exp(-s) - 1 + s of s >= 0, with all its digits."""
    small = backend.minimum(s, _SMALL)
    series = ops.ones_like(s)
    for k in range(_TERMS, 2, -1):
        # s**2 / 2 (1 - s / 3 (1 - s / 4 (1 - ...)))
        series = 1.0 - small / k * series
    series = small * small / 2 * series
    return ops.where(s < _SMALL, series, s + ops.expm1(-s))


def _bernoulli_kl_vjp(d_kl: Tensor, x: Tensor, y: Tensor) -> Tensors:
    """Return q (1 - q) (x - y), and p - q as a product, to keep its digits."""
    certain, never = ops.isinf(x), ops.isinf(y)
    safe, prior = ops.where(certain, 0.0, x), ops.where(never, 0.0, y)
    slope = ops.sigmoid(safe) * ops.sigmoid(-safe)
    # If the slope is 0, the difference may be infinite.
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
