"""What a layer samples, as a distribution of TensorFlow Probability."""

from collections.abc import Callable
from typing import Any

from tensorflow_probability import distributions as tfd

from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_has_law
from keras_gumbel.distributions.laws import LAWS, LOG_LAWS, given_to
from keras_gumbel.layers.logits import LogitsLayer


def from_layer(
    layer: LogitsLayer,
    logits: Tensor,
    *,
    temperature: Tensor | None = None,
    class_mask: Tensor | None = None,
) -> tfd.Distribution:
    """Return the law of `layer(logits, training=True)`, with densities.

        GumbelSoftmax soft:      RelaxedOneHotCategorical
        GumbelSoftmax hard:      StraightThroughOneHotCategorical
        SampleArgmaxIndex hard:  Categorical, float32
        GumbelSigmoid soft:      RelaxedBernoulli
        GumbelSigmoid hard:      Bernoulli, float32

    of logits / noise_scale and temperature / noise_scale. The temperature is
    the layer's live one: the distribution reads it at each use, so that what
    is assigned or annealed later counts too. (A slice of it, d[0], keeps that
    of its making.)

    A forbidden class, of -inf or by `class_mask`, is exactly 0 in a sample.
    The density of a relaxed one is then that of the other classes, on their
    face of the simplex, and 0 for a sample that is elsewhere. So too a gate of
    an infinite logit: 1 for its one state, 0 for others.

    In float32 a relaxed sample is rounded to 0 or 1 and its density lost: NaN
    for classes, infinite for gates. It happens at temperatures below 0.3 for
    classes, and at any temperature for gates of a large logit: take
    `log_from_layer` there.

    Args:
        layer: One of the above, with noise. It is not called.
        logits: Float tensor, what the layer would be called with, its classes
            on the last axis: logits, or probabilities with
            `from_logits=False`.
        temperature: Optional, as in a call of the layer, in place of its own.
            Defaults to `None`.
        class_mask: Optional, as in a call of the layer. Defaults to `None`.

    Returns:
        A `tfp.distributions.Distribution` in float32, whatever the policy
        (float64 for float64 logits).

    Gradient:
        Of densities: exact. Of samples: as of the layer, by its `estimator`
        where they are hard. (With a noise scale s other than 1 it is that at
        logits / s and temperature / s.)

    Raises:
        ValueError: For a layer without noise or with another axis, and for a
            temperature out of range.
        TypeError: For a layer that has no law here, and for logits that are
            not floats.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelSoftmax(temperature=0.5)
    >>> logits = keras.ops.zeros((2, 3))
    >>> d = kg.distributions.from_layer(layer, logits)
    >>> z = layer(logits, training=True)
    >>> tuple(d.log_prob(z).shape)
    (2,)
    >>> layer.temperature = 0.25
    >>> float(d.temperature.numpy())
    0.25

    Reference:
        Maddison, Mnih, Teh, "The Concrete Distribution", 2017, definition 1,
        https://arxiv.org/abs/1611.00712
    """
    law = _law(layer, LAWS)
    return law(layer, given_to(layer, logits, temperature, class_mask))


def log_from_layer(
    layer: LogitsLayer,
    logits: Tensor,
    *,
    temperature: Tensor | None = None,
    class_mask: Tensor | None = None,
) -> tfd.Distribution:
    """Return the law of a relaxed sample on a scale where it is never rounded.

        GumbelSoftmax soft:  ExpRelaxedOneHotCategorical, of log(z)
        GumbelSigmoid soft:  Logistic, of log(z / (1 - z)), the log-odds:
                             loc = logits / temperature,
                             scale = noise_scale / temperature

    Densities are finite here at every temperature and logit. A divergence
    between two relaxed distributions is the same as between these, so that
    this is where to compute it. Sample from it, and take `keras.ops.exp` of a
    class's sample, `keras.ops.sigmoid` of a gate's, for what the layer gives.

    Forbidden classes and certain gates are as for `from_layer`: -inf in a
    sample of classes, and -inf or +inf in one of gates.

    Args:
        layer: A soft `GumbelSoftmax` or `GumbelSigmoid`, with noise. It is not
            called.
        logits: As for `from_layer`.
        temperature: As for `from_layer`. Defaults to `None`.
        class_mask: As for `from_layer`. Defaults to `None`.

    Returns:
        A `tfp.distributions.Distribution` in float32, whatever the policy
        (float64 for float64 logits).

    Gradient:
        Exact. Forbidden classes and certain gates get none.

    Raises:
        ValueError: As `from_layer`.
        TypeError: As `from_layer`.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelSoftmax(temperature=0.1)
    >>> q = kg.distributions.log_from_layer(layer, keras.ops.zeros((2, 3)))
    >>> log_z = q.sample(5, seed=1)
    >>> bool(keras.ops.all(keras.ops.isfinite(q.log_prob(log_z))))
    True
    >>> gates = kg.GumbelSigmoid(temperature=0.5)
    >>> q = kg.distributions.log_from_layer(gates, keras.ops.full((4,), 20.0))
    >>> log_odds = q.sample(seed=1)
    >>> bool(keras.ops.all(keras.ops.sigmoid(log_odds) == 1.0))
    True
    >>> bool(keras.ops.all(keras.ops.isfinite(q.log_prob(log_odds))))
    True

    Reference:
        Maddison, Mnih, Teh, "The Concrete Distribution", 2017, appendices B
        and C, https://arxiv.org/abs/1611.00712
    """
    law = _law(layer, LOG_LAWS)
    return law(layer, given_to(layer, logits, temperature, class_mask))


def _law(layer: Any, laws: dict[Any, Any]) -> Callable[..., tfd.Distribution]:
    """That of the layer's class, or of the nearest one above it."""
    variants = (
        (above, getattr(layer, "hard", None)) for above in type(layer).__mro__
    )
    found = [laws[variant] for variant in variants if variant in laws]
    supported = [f"{cls.__name__}(hard={hard})" for cls, hard in laws]
    check_has_law(layer, bool(found), supported)
    return found[0]
