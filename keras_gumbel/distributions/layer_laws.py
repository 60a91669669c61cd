"""What a layer samples, as a distribution of TensorFlow Probability."""

from collections.abc import Callable
from typing import Any

from keras import ops
from tensorflow_probability import distributions as tfd, util as tfp_util

from keras_gumbel import backend, formulas
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    check_categories_are_last,
    check_has_law,
    check_is_noisy,
    check_logits,
    check_temperature,
    check_temperature_shape,
)
from keras_gumbel.distributions.straight_through import (
    StraightThroughOneHotCategorical,
)
from keras_gumbel.layers import (
    GumbelSigmoid,
    GumbelSoftmax,
    SampleArgmaxIndex,
)
from keras_gumbel.layers.logits import LogitsLayer


def from_layer(
    layer: LogitsLayer, logits: Tensor, *, temperature: Tensor | None = None
) -> tfd.Distribution:
    """The law of `layer(logits, training=True)`, with densities.

        GumbelSoftmax soft:      RelaxedOneHotCategorical
        GumbelSoftmax hard:      StraightThroughOneHotCategorical
        SampleArgmaxIndex hard:  Categorical, float32
        GumbelSigmoid soft:      RelaxedBernoulli
        GumbelSigmoid hard:      Bernoulli, float32

    of logits / noise_scale and temperature / noise_scale. The temperature is
    the layer's live one: the distribution reads it at each use, so that what
    is assigned or annealed later counts too. (A slice of it, d[0], keeps that
    of its making; every distribution keeps the `noise_scale` of its making.)

    The density of a relaxed sample overflows where an entry of it underflows,
    in float32 at temperatures below 0.3: take `log_from_layer` there.

    Args:
        layer: One of the above, with noise. It is not called.
        logits: Float tensor, what the layer would be called with, its classes
            on the last axis: logits, or probabilities with
            `from_logits=False`.
        temperature: Optional, as in a call of the layer, in place of its own.
            Defaults to `None`.

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
    law = _law(layer, _LAWS)
    return law(layer, *_parameters(layer, logits, temperature))


def log_from_layer(
    layer: LogitsLayer, logits: Tensor, *, temperature: Tensor | None = None
) -> tfd.Distribution:
    """The law of the logarithm of a relaxed sample.

        GumbelSoftmax soft:  ExpRelaxedOneHotCategorical

    Densities are finite here at every temperature. A divergence between two
    relaxed distributions is the same as between their logarithms, so that
    this is where to compute it.

    Args:
        layer: A soft `GumbelSoftmax`, with noise. It is not called.
        logits: As for `from_layer`.
        temperature: As for `from_layer`. Defaults to `None`.

    Returns:
        A `tfp.distributions.Distribution` in float32, whatever the policy
        (float64 for float64 logits).

    Gradient:
        Exact.

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

    Reference:
        Maddison, Mnih, Teh, "The Concrete Distribution", 2017, appendix C,
        https://arxiv.org/abs/1611.00712
    """
    law = _law(layer, _LOG_LAWS)
    return law(layer, *_parameters(layer, logits, temperature))


def _law(layer: Any, laws: dict[Any, Any]) -> Callable[..., tfd.Distribution]:
    """That of the layer's class, or of the nearest one above it."""
    variants = (
        (above, getattr(layer, "hard", None)) for above in type(layer).__mro__
    )
    found = [laws[variant] for variant in variants if variant in laws]
    supported = [f"{cls.__name__}(hard={hard})" for cls, hard in laws]
    check_has_law(layer, bool(found), supported)
    return found[0]


def _parameters(
    layer: LogitsLayer, logits: Tensor, temperature: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Logits and temperature, of noise of scale 1."""
    check_is_noisy(layer)
    logits = backend.to_tensor(logits)
    check_logits(logits)
    logits = formulas.widen(logits)
    if not layer.from_logits:
        logits = layer._logits(logits)
    dtype = logits.dtype
    scale = formulas.scale_or_nan(layer.noise_scale, logits)
    if temperature is not None:
        check_temperature(temperature)
        return logits / scale, backend.to_tensor(temperature, dtype) / scale
    live = tfp_util.DeferredTensor(
        layer.temperature.value,
        lambda now: ops.cast(now, dtype) / scale,
        dtype=dtype,
        name="temperature",
    )
    return logits / scale, live


def _of_each(layer: LogitsLayer, logits: Tensor, temperature: Tensor) -> Tensor:
    """The temperature without the category axis, on which it has size 1."""
    check_categories_are_last(layer, logits)
    if not len(temperature.shape):
        return temperature
    check_temperature_shape(temperature, logits, len(logits.shape) - 1)
    return temperature[..., 0]


def _relaxed(
    layer: Any, logits: Tensor, temperature: Tensor
) -> tfd.Distribution:
    temperature = _of_each(layer, logits, temperature)
    return tfd.RelaxedOneHotCategorical(temperature, logits=logits)


def _log_relaxed(
    layer: Any, logits: Tensor, temperature: Tensor
) -> tfd.Distribution:
    temperature = _of_each(layer, logits, temperature)
    return tfd.ExpRelaxedOneHotCategorical(temperature, logits=logits)


def _one_hot(
    layer: Any, logits: Tensor, temperature: Tensor
) -> tfd.Distribution:
    return StraightThroughOneHotCategorical(
        logits,
        temperature=_of_each(layer, logits, temperature),
        estimator=layer.estimator,
        dtype=logits.dtype,
    )


def _index(layer: Any, logits: Tensor, temperature: Tensor) -> tfd.Distribution:
    _of_each(layer, logits, temperature)
    return tfd.Categorical(logits, dtype=backend.to_tensor(0.0).dtype)


def _relaxed_gate(
    layer: Any, logits: Tensor, temperature: Tensor
) -> tfd.Distribution:
    del layer
    return tfd.RelaxedBernoulli(temperature, logits=logits)


def _gate(layer: Any, logits: Tensor, temperature: Tensor) -> tfd.Distribution:
    del layer, temperature
    return tfd.Bernoulli(logits, dtype=logits.dtype)


# By the layer's class and whether it is hard.
_LAWS = {
    (GumbelSoftmax, False): _relaxed,
    (GumbelSoftmax, True): _one_hot,
    (SampleArgmaxIndex, True): _index,
    (GumbelSigmoid, False): _relaxed_gate,
    (GumbelSigmoid, True): _gate,
}
_LOG_LAWS = {(GumbelSoftmax, False): _log_relaxed}
