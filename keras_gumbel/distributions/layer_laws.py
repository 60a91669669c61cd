"""The distribution of a layer's samples, in TensorFlow Probability."""

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
    """Return the distribution of `layer(logits, training=True)`.

    Use it for the density, entropy or divergence of a layer's samples. It is a
    distribution of TensorFlow Probability:

        GumbelSoftmax soft:      RelaxedOneHotCategorical
        GumbelSoftmax hard:      StraightThroughOneHotCategorical
        SampleArgmaxIndex hard:  Categorical, float32
        GumbelSigmoid soft:      RelaxedBernoulli
        GumbelSigmoid hard:      Bernoulli, float32

    with logits / noise_scale and temperature / noise_scale. It reads the
    layer's live temperature at each use, so a later assignment or annealing
    changes it too. (A slice of it, d[0], keeps the temperature it was made
    at.)

    A class that -inf or `class_mask` forbids is exactly 0 in a sample. A
    relaxed sample then has the density of the allowed classes on their face of
    the simplex, and 0 off it. A gate with an infinite logit has one state, with
    density 1.

    In float32, entries of a relaxed sample can round to 0 or 1. Its density is
    then NaN for classes and infinite for gates. For classes that happens at
    temperatures below 0.3, for gates with large logits at any temperature. Use
    `log_from_layer` there.

    Args:
        layer: One of the layers above, with noise. It is not called.
        logits: Float tensor, the input of the layer, with the classes on the
            last axis: logits, or probabilities if the layer has
            `from_logits=False`.
        temperature: Optional, in place of the layer's own, as in a call of
            the layer. Defaults to `None`.
        class_mask: Optional bool tensor, True where a class is allowed, as in
            a call of the layer. Defaults to `None`.

    Returns:
        A `tfp.distributions.Distribution` in float32, whatever the policy
        (float64 for float64 logits).

    Gradient:
        Densities have an exact gradient. Samples have the gradient of the
        layer, by its `estimator` if they are hard, at logits / s and
        temperature / s for a noise scale s.

    Raises:
        ValueError: For a layer without noise or with another axis, and for a
            temperature out of range.
        TypeError: For a layer that is not listed above, and for logits that
            are not floats.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelSoftmax(temperature=0.5)
    >>> logits = keras.ops.zeros((2, 3))
    >>> d = kg.distributions.from_layer(layer, logits)
    >>> z = layer(logits, training=True)
    >>> tuple(d.log_prob(z).shape)
    (2,)
    >>> layer.temperature = 0.25
    >>> float(keras.ops.convert_to_numpy(d.temperature))
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
    """Return the distribution of log(z), where rounding does no harm.

        GumbelSoftmax soft:  ExpRelaxedOneHotCategorical, of log(z)
        GumbelSigmoid soft:  Logistic, of log(z / (1 - z)), the log-odds:
                             loc = logits / temperature,
                             scale = noise_scale / temperature

    z is a relaxed sample of the layer. The densities of its logarithm are
    finite at every temperature and logit. Relaxed distributions have the same
    divergence as their logarithms: compute it here. To get a sample of the
    layer, apply `keras.ops.exp` to a sample of classes and `keras.ops.sigmoid`
    to a sample of gates.

    As in `from_layer`, classes can be forbidden and gates certain: they are
    -inf in a sample of classes, and -inf or +inf in a sample of gates.

    Args:
        layer: A soft `GumbelSoftmax` or `GumbelSigmoid`, with noise. It is not
            called.
        logits: Float tensor, the input of the layer, with the classes on the
            last axis.
        temperature: Optional, in place of the layer's own. Defaults to
            `None`.
        class_mask: Optional bool tensor, True where a class is allowed.
            Defaults to `None`.

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
    """Return the entry of the layer's class, or of its nearest ancestor."""
    variants = (
        (above, getattr(layer, "hard", None)) for above in type(layer).__mro__
    )
    found = [laws[variant] for variant in variants if variant in laws]
    supported = [f"{cls.__name__}(hard={hard})" for cls, hard in laws]
    check_has_law(layer, bool(found), supported)
    return found[0]
