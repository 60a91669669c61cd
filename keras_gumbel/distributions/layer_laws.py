"""What a layer samples, as a distribution of TensorFlow Probability."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops
from tensorflow_probability import distributions as tfd, util as tfp_util

from keras_gumbel import backend, formulas
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    check_categories_are_last,
    check_class_mask,
    check_has_law,
    check_index_is_exact,
    check_is_noisy,
    check_logits,
    check_temperature,
    check_temperature_shape,
)
from keras_gumbel.distributions.classes import (
    Categorical,
    ExpRelaxedOneHotCategorical,
    RelaxedOneHotCategorical,
)
from keras_gumbel.distributions.gates import (
    Bernoulli,
    Logistic,
    RelaxedBernoulli,
    without_gradient_if_infinite,
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
    of its making; every distribution keeps the `noise_scale` of its making.)

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
    law = _law(layer, _LAWS)
    return law(layer, _given(layer, logits, temperature, class_mask))


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
    law = _law(layer, _LOG_LAWS)
    return law(layer, _given(layer, logits, temperature, class_mask))


def _law(layer: Any, laws: dict[Any, Any]) -> Callable[..., tfd.Distribution]:
    """That of the layer's class, or of the nearest one above it."""
    variants = (
        (above, getattr(layer, "hard", None)) for above in type(layer).__mro__
    )
    found = [laws[variant] for variant in variants if variant in laws]
    supported = [f"{cls.__name__}(hard={hard})" for cls, hard in laws]
    check_has_law(layer, bool(found), supported)
    return found[0]


class _Given(NamedTuple):
    """What a law is made of. What is a variable here is live."""

    logits: Tensor
    temperature: Tensor
    noise_scale: Tensor

    def live(self, formula: Callable[..., Tensor], *parts: Tensor) -> Tensor:
        """Return `formula(*parts)`, read at each use if a part is live."""
        dtype = self.logits.dtype

        def read(_: Any = None) -> Tensor:
            return formula(*(backend.to_tensor(x, dtype) for x in parts))

        variables = [x.value for x in parts if isinstance(x, keras.Variable)]
        if not variables:
            return read()
        return tfp_util.DeferredTensor(
            variables[0],
            read,
            dtype=dtype,
            shape=read().shape,
            also_track=variables[1:] or None,
        )

    def unit_logits(self) -> Tensor:
        """Return the logits of noise of scale 1."""
        return self.live(lambda scale: self.logits / scale, self.noise_scale)

    def unit_temperature(self) -> Tensor:
        """Return the temperature of noise of scale 1."""
        return self.live(ops.divide, self.temperature, self.noise_scale)


def _given(
    layer: LogitsLayer,
    logits: Tensor,
    temperature: Tensor | None,
    class_mask: Tensor | None,
) -> _Given:
    check_is_noisy(layer)
    logits = backend.to_tensor(logits)
    check_logits(logits)
    logits = formulas.widen(logits)
    if not layer.from_logits:
        logits = layer._logits(logits)
    if class_mask is not None:
        class_mask = backend.to_tensor(class_mask)
        check_class_mask(class_mask, logits)
        logits = formulas.allowed(logits, class_mask)
    if temperature is None:
        return _Given(logits, layer.temperature, layer.noise_scale)
    check_temperature(temperature)
    temperature = backend.to_tensor(temperature, logits.dtype)
    return _Given(logits, temperature, layer.noise_scale)


def _of_rows(layer: Any, given: _Given) -> _Given:
    """The temperature without the category axis, on which it has size 1."""
    check_categories_are_last(layer, given.logits)
    temperature = given.temperature
    if not len(temperature.shape):
        return given
    check_temperature_shape(
        temperature, given.logits, len(given.logits.shape) - 1
    )
    return given._replace(temperature=temperature[..., 0])


def _of_gates(given: _Given) -> _Given:
    logits = without_gradient_if_infinite(given.logits)
    return given._replace(logits=logits)


def _relaxed(layer: Any, given: _Given) -> tfd.Distribution:
    given = _of_rows(layer, given)
    return RelaxedOneHotCategorical(
        given.unit_temperature(), logits=given.unit_logits()
    )


def _log_relaxed(layer: Any, given: _Given) -> tfd.Distribution:
    given = _of_rows(layer, given)
    return ExpRelaxedOneHotCategorical(
        given.unit_temperature(), logits=given.unit_logits()
    )


def _one_hot(layer: Any, given: _Given) -> tfd.Distribution:
    given, rule = _of_rows(layer, given), layer.estimator
    if rule.backward_temperature is not None:
        # It takes the place of the layer's, and is in units of the noise too.
        own = backend.to_tensor(rule.backward_temperature, given.logits.dtype)
        given = given._replace(temperature=own)
        rule = dataclasses.replace(rule, backward_temperature=None)
    return StraightThroughOneHotCategorical(
        given.unit_logits(),
        temperature=given.unit_temperature(),
        estimator=rule,
        dtype=given.logits.dtype,
    )


def _index(layer: Any, given: _Given) -> tfd.Distribution:
    check_index_is_exact(tuple(given.logits.shape), layer.axis)
    logits = _of_rows(layer, given).unit_logits()
    return Categorical(logits, dtype=backend.to_tensor(0.0).dtype)


def _relaxed_gate(layer: Any, given: _Given) -> tfd.Distribution:
    del layer
    given = _of_gates(given)
    return RelaxedBernoulli(
        given.unit_temperature(), logits=given.unit_logits()
    )


def _log_relaxed_gate(layer: Any, given: _Given) -> tfd.Distribution:
    """The scale of the noise is in the scale alone: the two cancel in `loc`."""
    del layer
    logits = _of_gates(given).logits
    certain = ops.isinf(logits)
    # A temperature divides none of these: infinity would be its gradient.
    finite = ops.where(certain, 0.0, logits)

    def place(temperature: Tensor) -> Tensor:
        return ops.where(certain, logits, finite / temperature)

    def spread(noise_scale: Tensor, temperature: Tensor) -> Tensor:
        return noise_scale / temperature

    return Logistic(
        given.live(place, given.temperature),
        given.live(spread, given.noise_scale, given.temperature),
    )


def _gate(layer: Any, given: _Given) -> tfd.Distribution:
    del layer
    logits = _of_gates(given).unit_logits()
    return Bernoulli(logits, dtype=given.logits.dtype)


# By the layer's class and whether it is hard.
_LAWS = {
    (GumbelSoftmax, False): _relaxed,
    (GumbelSoftmax, True): _one_hot,
    (SampleArgmaxIndex, True): _index,
    (GumbelSigmoid, False): _relaxed_gate,
    (GumbelSigmoid, True): _gate,
}
_LOG_LAWS = {
    (GumbelSoftmax, False): _log_relaxed,
    (GumbelSigmoid, False): _log_relaxed_gate,
}
