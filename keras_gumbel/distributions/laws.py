"""Each layer's distribution, from its logits, temperature and noise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops
from tensorflow_probability import distributions as tfd, util as tfp_util

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    check_categories_are_last,
    check_class_mask,
    check_index_is_exact,
    check_is_noisy,
    check_logits,
    check_temperature,
    check_temperature_shape,
    dense,
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


class Given(NamedTuple):
    """The parameters of a distribution. Variables among them are live."""

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
        """Return the logits for noise of scale 1."""
        return self.live(lambda scale: self.logits / scale, self.noise_scale)

    def unit_temperature(self) -> Tensor:
        """Return the temperature for noise of scale 1."""
        return self.live(ops.divide, self.temperature, self.noise_scale)


def given_to(
    layer: LogitsLayer,
    logits: Tensor,
    temperature: Tensor | None,
    class_mask: Tensor | None,
) -> Given:
    """Check the arguments of `from_layer`."""
    check_is_noisy(layer)
    logits = dense(logits, "logits")
    check_logits(logits)
    logits = numerics.widen(logits)
    if not layer.from_logits:
        logits = layer._logits(logits)
    if class_mask is not None:
        class_mask = dense(class_mask, "class_mask")
        check_class_mask(class_mask, logits)
        logits = numerics.allowed(logits, class_mask)
    if temperature is None:
        return Given(logits, layer.temperature, layer.noise_scale)
    check_temperature(temperature)
    temperature = backend.to_tensor(temperature, logits.dtype)
    return Given(logits, temperature, layer.noise_scale)


def _of_rows(layer: Any, given: Given) -> Given:
    """Drop the temperature's category axis, which has size 1."""
    check_categories_are_last(layer, given.logits)
    temperature = given.temperature
    if not len(temperature.shape):
        return given
    check_temperature_shape(
        temperature, given.logits, len(given.logits.shape) - 1
    )
    return given._replace(temperature=temperature[..., 0])


def _of_gates(given: Given) -> Given:
    logits = without_gradient_if_infinite(given.logits)
    return given._replace(logits=logits)


def _relaxed(layer: Any, given: Given) -> tfd.Distribution:
    given = _of_rows(layer, given)
    return RelaxedOneHotCategorical(
        given.unit_temperature(), logits=given.unit_logits()
    )


def _log_relaxed(layer: Any, given: Given) -> tfd.Distribution:
    given = _of_rows(layer, given)
    return ExpRelaxedOneHotCategorical(
        given.unit_temperature(), logits=given.unit_logits()
    )


def _one_hot(layer: Any, given: Given) -> tfd.Distribution:
    given, rule = _of_rows(layer, given), layer.current_estimator
    if rule.backward_temperature is not None:
        # It replaces the layer's temperature; the noise scale divides it too.
        own = backend.to_tensor(rule.backward_temperature, given.logits.dtype)
        given = given._replace(temperature=own)
        rule = rule.at(None)
    return StraightThroughOneHotCategorical(
        given.unit_logits(),
        temperature=given.unit_temperature(),
        estimator=rule,
        dtype=given.logits.dtype,
    )


def _index(layer: Any, given: Given) -> tfd.Distribution:
    check_index_is_exact(tuple(given.logits.shape), layer.axis)
    logits = _of_rows(layer, given).unit_logits()
    return Categorical(logits, dtype=backend.to_tensor(0.0).dtype)


def _relaxed_gate(layer: Any, given: Given) -> tfd.Distribution:
    del layer
    given = _of_gates(given)
    return RelaxedBernoulli(
        given.unit_temperature(), logits=given.unit_logits()
    )


def _log_relaxed_gate(layer: Any, given: Given) -> tfd.Distribution:
    """Return the log-odds; the scale of the noise cancels in `loc`."""
    del layer
    logits = _of_gates(given).logits
    certain = ops.isinf(logits)
    # No infinite logit is divided: the temperature's gradient stays finite.
    finite = ops.where(certain, 0.0, logits)

    def place(temperature: Tensor) -> Tensor:
        return ops.where(certain, logits, finite / temperature)

    def spread(noise_scale: Tensor, temperature: Tensor) -> Tensor:
        return noise_scale / temperature

    return Logistic(
        given.live(place, given.temperature),
        given.live(spread, given.noise_scale, given.temperature),
    )


def _gate(layer: Any, given: Given) -> tfd.Distribution:
    del layer
    logits = _of_gates(given).unit_logits()
    return Bernoulli(logits, dtype=given.logits.dtype)


# By the layer's class and whether it is hard.
LAWS = {
    (GumbelSoftmax, False): _relaxed,
    (GumbelSoftmax, True): _one_hot,
    (SampleArgmaxIndex, True): _index,
    (GumbelSigmoid, False): _relaxed_gate,
    (GumbelSigmoid, True): _gate,
}
LOG_LAWS = {
    (GumbelSoftmax, False): _log_relaxed,
    (GumbelSigmoid, False): _log_relaxed_gate,
}
