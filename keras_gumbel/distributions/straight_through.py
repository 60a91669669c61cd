"""A one-hot distribution whose samples have a gradient."""

from typing import Any

import keras
from keras import ops
from tensorflow_probability import distributions as tfd, random as tfp_random

# This keeps variables live. TFP's own distributions use it, and it has no
# public name.
from tensorflow_probability.python.internal import tensor_util

from keras_gumbel import backend, estimators, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_noise_dtype, check_temperature
from keras_gumbel.distributions.classes import divergence, entropy, root
from keras_gumbel.estimators import Estimator
from keras_gumbel.ops.gumbel_softmax import one_hot_by_key


class StraightThroughOneHotCategorical(tfd.OneHotCategorical):
    """A `OneHotCategorical` whose samples have a straight-through gradient.

        sample:    one_hot(i),  i ~ Categorical(softmax(logits))
        log_prob:  sum_k x_k log softmax(logits)_k

    All else follows TensorFlow Probability: shapes of samples, batch and event,
    broadcasting, slices, seeds. (An integer seed starts a stream, together with
    the global seed of `tf.random.set_seed`; a pair of integers gives the same
    sample at every call.) `log_prob` is linear in `x` and has a gradient to it,
    which `OneHotCategorical` has not: an ELBO from samples,
    E[log p(z) - log q(z)], trains through z.

    Args:
        logits: Float tensor `(..., K)`, unnormalised log-probabilities in
            nats. -inf forbids a class. Defaults to `None`.
        probs: Float tensor `(..., K)` of probabilities, in place of the
            logits. Defaults to `None`.
        temperature: Positive number, or float tensor of positive numbers that
            broadcasts with `logits[..., 0]`, dimensionless. It affects only
            the gradient. A variable is read when a sample is drawn. Defaults
            to `1.0`.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule. Defaults to `"st_gumbel"`.
        dtype: Float dtype of the samples. Defaults to `"float32"`.
        validate_args: As in TensorFlow Probability. Defaults to `False`.
        allow_nan_stats: As in TensorFlow Probability. Defaults to `True`.
        name: String. Defaults to `"StraightThroughOneHotCategorical"`.

    Gradient:
        A sample has a biased gradient to `logits` or `probs`, and to a
        `temperature` that is a tensor: see the estimator. Other methods have
        an exact gradient.

    Raises:
        ValueError: For a temperature, dtype or estimator out of range, for
            both or none of `logits` and `probs`.
        TypeError: For arguments of another type.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> d = kg.distributions.StraightThroughOneHotCategorical(
    ...     logits=keras.ops.zeros((2, 3)), temperature=0.5)
    >>> z = d.sample(4, seed=(1, 2))
    >>> tuple(z.shape)
    (4, 2, 3)
    >>> bool(keras.ops.all(keras.ops.sum(z, axis=-1) == 1.0))
    True
    >>> round(float(d.entropy()[0]), 4)
    1.0986

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, section 2.2, https://arxiv.org/abs/1611.01144
    """

    def __init__(
        self,
        logits: Tensor | None = None,
        probs: Tensor | None = None,
        temperature: Tensor = 1.0,
        estimator: str | Estimator = "st_gumbel",
        dtype: Any = "float32",
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "StraightThroughOneHotCategorical",
    ) -> None:
        parameters = dict(locals())
        rule = estimators.get(estimator)
        # Keras would take a name, but TensorFlow Probability would not.
        dtype = backend.to_tensor(0.0, check_noise_dtype(dtype)).dtype
        super().__init__(
            logits=_reference(logits),
            probs=_reference(probs),
            dtype=dtype,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            name=name,
        )
        # The parent has fewer parameters; copies and slices need all of these.
        self._parameters = self._no_dependency(parameters)
        given = self._probs if self._logits is None else self._logits
        self._temperature = tensor_util.convert_nonref_to_tensor(
            _reference(temperature), dtype_hint=given.dtype, name="temperature"
        )
        check_temperature(self._temperature)
        self._rule = rule

    @classmethod
    def _parameter_properties(
        cls, dtype: Any, num_classes: int | None = None
    ) -> dict[str, Any]:
        # The same as for TensorFlow Probability's own relaxed distribution.
        relaxed = tfd.ExpRelaxedOneHotCategorical
        properties: dict[str, Any] = relaxed.parameter_properties(
            dtype, num_classes
        )
        return properties

    @property
    def temperature(self) -> Tensor:
        """Return the gradient's temperature, one per row of the batch."""
        return self._temperature

    @property
    def estimator(self) -> str | dict[str, Any]:
        """Return the backward rule of the samples, for `estimators.get`."""
        # `tf.function` passes a distribution in and out as plain values.
        return estimators.serialize(self._rule)

    @property
    def reparameterization_type(self) -> Any:
        """Return `FULLY_REPARAMETERIZED`: samples have a gradient."""
        return tfd.FULLY_REPARAMETERIZED

    def _logits_parameter_no_checks(self) -> Tensor:
        if self._logits is None:
            return numerics.log_or_forbidden(backend.to_tensor(self._probs))
        return super()._logits_parameter_no_checks()

    def _probs_parameter_no_checks(self) -> Tensor:
        logits = self._logits_parameter_no_checks()
        p = numerics.softmax(numerics.widen(logits), 1.0, -1)
        return ops.cast(p, logits.dtype)

    def _entropy(self) -> Tensor:
        logits = self._logits_parameter_no_checks()
        return ops.cast(entropy(numerics.widen(logits)), logits.dtype)

    def _stddev(self) -> Tensor:
        return root(self._variance())

    def _mode(self) -> Tensor:
        logits = self._logits_parameter_no_checks()
        some = ops.any(logits != numerics.FORBIDDEN, axis=-1, keepdims=True)
        return super()._mode() * ops.cast(some, self.dtype)

    @backend.unchecked
    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        logits = self._logits_parameter_no_checks()
        shape = (
            [n],
            self.batch_shape_tensor(),
            [self._event_size(logits)],
        )
        shape = ops.concatenate([ops.cast(part, "int32") for part in shape])
        # Both halves have 32 bits, as in our key.
        seed = tfp_random.sanitize_seed(seed, salt=type(self).__name__)
        sample = one_hot_by_key(
            # The gradients of all samples are summed in the wide dtype.
            ops.broadcast_to(numerics.widen(logits), shape),
            backend.to_tensor(self._temperature)[..., None],
            self._rule,
            ops.cast(seed, "int64"),
        )
        return ops.cast(sample, self.dtype)

    @backend.unchecked
    def _log_prob(self, x: Tensor) -> Tensor:
        logits = self._logits_parameter_no_checks()
        wide = numerics.widen(logits)
        _, log = numerics.log_softmax(wide, -1)
        x = ops.cast(x, log.dtype)
        total = ops.sum(x * log, axis=-1)
        never = ops.logical_and(wide == numerics.FORBIDDEN, x > 0)
        total = ops.where(ops.any(never, axis=-1), total - float("inf"), total)
        return ops.cast(total, logits.dtype)


@tfd.RegisterKL(StraightThroughOneHotCategorical, tfd.OneHotCategorical)
@tfd.RegisterKL(tfd.OneHotCategorical, StraightThroughOneHotCategorical)
@backend.unchecked
def _kl(
    a: tfd.OneHotCategorical,
    b: tfd.OneHotCategorical,
    name: str | None = None,
) -> Tensor:
    del name
    return divergence(a, b)


def _reference(x: Tensor) -> Tensor:
    """Return the variable in a Keras variable, which would be read at once."""
    return backend.read(x) if isinstance(x, keras.Variable) else x
