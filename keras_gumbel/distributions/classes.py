"""Distributions of classes, some of which -inf may forbid.

A relaxed sample is exactly 0 at a forbidden class, and so lies on a face of
the simplex. Its density on the face is the Concrete density of the allowed
classes. A row without an allowed class is one point: the zeros that a layer
returns there (and the index 0).
"""

from typing import Any

from keras import ops
from tensorflow_probability import distributions as tfd

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel.losses import categorical_kl
from keras_gumbel.numerics import FORBIDDEN


class ExpRelaxedOneHotCategorical(tfd.ExpRelaxedOneHotCategorical):
    """`ExpRelaxedOneHotCategorical` on the face of the allowed classes."""

    def _log_prob(self, x: Tensor) -> Tensor:
        logits = self._logits_parameter_no_checks()
        temperature = backend.to_tensor(self._temperature)
        return _log_density(x, logits, temperature)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        logits = self._logits_parameter_no_checks()
        allowed = logits != FORBIDDEN
        # Forbidden classes get a filler, and are removed from the sample: the
        # others' shares stay the same. A filler near them loses no digits.
        peak = numerics.maximum(logits, -1)
        filler = ops.where(peak == FORBIDDEN, 0.0, peak)
        finite = ops.where(allowed, logits, filler)
        law = tfd.ExpRelaxedOneHotCategorical(self._temperature, logits=finite)
        shares = ops.where(allowed, law.sample(n, seed=seed), FORBIDDEN)
        _, log = numerics.log_softmax(shares, -1)
        return ops.where(allowed, log, FORBIDDEN)


class RelaxedOneHotCategorical(tfd.RelaxedOneHotCategorical):
    """`RelaxedOneHotCategorical` on the face of the allowed classes."""

    @property
    def distribution(self) -> tfd.Distribution:
        """Return the distribution of the logarithm."""
        law = self._distribution
        return ExpRelaxedOneHotCategorical(
            law.temperature, logits=law.logits, probs=law.probs
        )

    def _log_prob(self, y: Tensor) -> Tensor:
        x = numerics.log_or_forbidden(backend.to_tensor(y))
        return self.distribution.log_prob(x) - self._slope(x)

    def _sample_and_log_prob(
        self, sample_shape: Tensor, seed: Any
    ) -> tuple[Tensor, Tensor]:
        law = self.distribution
        x, log_prob = law.experimental_sample_and_log_prob(
            sample_shape, seed=seed
        )
        return ops.exp(x), log_prob - self._slope(x)

    def _slope(self, x: Tensor) -> Tensor:
        """Return the log-determinant of the Jacobian of exp at `x`."""
        allowed = self.logits_parameter() != FORBIDDEN
        return ops.sum(ops.where(allowed, x, 0.0), axis=-1)


def _log_density(x: Tensor, logits: Tensor, temperature: Tensor) -> Tensor:
    """Return lgamma(n) + (n - 1) log(t) + sum_k log_softmax(logits - t x)_k.

    There are n allowed classes. Off their face the result is -inf.
    """
    allowed = logits != FORBIDDEN
    inner = ops.where(allowed, x, 0.0)
    # An allowed entry of -inf is not within the face, and would give NaN.
    lost = allowed & (inner == FORBIDDEN)
    inner = ops.where(lost, 0.0, inner)
    tilted = ops.where(
        allowed, logits - temperature[..., None] * inner, FORBIDDEN
    )
    _, log = numerics.log_softmax(tilted, -1)
    n = ops.sum(ops.cast(allowed, log.dtype), axis=-1)
    n = ops.maximum(n, 1.0)
    constant = backend.log_gamma(n) + (n - 1) * ops.log(temperature)
    total = constant + ops.sum(log, axis=-1)
    off = lost & (n[..., None] > 1) | ~allowed & (x > FORBIDDEN)
    return ops.where(ops.any(off, axis=-1), FORBIDDEN, total)


class Categorical(tfd.Categorical):
    """`Categorical` with finite gradients at -inf, and class numbers."""

    def _probs_parameter_no_checks(self) -> Tensor:
        return numerics.softmax(self._logits_parameter_no_checks(), 1.0, -1)

    def _log_prob(self, k: Tensor) -> Tensor:
        logits = self._logits_parameter_no_checks()
        _, log = numerics.log_softmax(logits, -1)
        here = self._numbers(log) == ops.cast(k, log.dtype)[..., None]
        total = ops.sum(ops.where(here, log, 0.0), axis=-1)
        possible = ops.any(here & (logits != FORBIDDEN), axis=-1)
        possible = possible | _is_empty(logits) & ops.any(here[..., :1], -1)
        return ops.where(possible, total, FORBIDDEN)

    def _log_cdf(self, k: Tensor) -> Tensor:
        return self._log_share(k, ops.less_equal)

    def _log_survival_function(self, k: Tensor) -> Tensor:
        return self._log_share(k, ops.greater)

    def _cdf(self, k: Tensor) -> Tensor:
        return ops.exp(self._log_cdf(k))

    def _survival_function(self, k: Tensor) -> Tensor:
        return ops.exp(self._log_survival_function(k))

    def _entropy(self) -> Tensor:
        return entropy(self._logits_parameter_no_checks())

    def _mean(self) -> Tensor:
        return numerics.mean_class(self._probs_parameter_no_checks(), -1)

    def _variance(self) -> Tensor:
        p = self._probs_parameter_no_checks()
        gap = self._numbers(p) - self._mean()[..., None]
        return ops.sum(p * gap * gap, axis=-1)

    def _stddev(self) -> Tensor:
        return root(self._variance())

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        empty = _is_empty(self._logits_parameter_no_checks())
        return ops.where(empty, 0.0, super()._sample_n(n, seed=seed))

    def _numbers(self, like: Tensor) -> Tensor:
        return ops.cast(numerics.classes(like, -1), like.dtype)

    def _log_share(self, k: Tensor, compare: Any) -> Tensor:
        """Return the log-probability of the numbers that `compare` selects."""
        logits = self._logits_parameter_no_checks()
        # Where there is no class, the number is 0.
        first = numerics.classes(logits, -1) == 0
        nothing = ops.where(first, 0.0, FORBIDDEN)
        logits = ops.where(_is_empty(logits)[..., None], nothing, logits)
        k = ops.cast(k, logits.dtype)[..., None]
        some = compare(self._numbers(logits), k)
        part = ops.where(some, logits, FORBIDDEN)
        return _log_total(part) - _log_total(logits)


@tfd.RegisterKL(Categorical, tfd.Categorical)
@tfd.RegisterKL(tfd.Categorical, Categorical)
def _kl(
    a: tfd.Categorical, b: tfd.Categorical, name: str | None = None
) -> Tensor:
    del name
    return divergence(a, b)


def divergence(a: tfd.Distribution, b: tfd.Distribution) -> Tensor:
    """Return the KL; TensorFlow Probability's is NaN with forbidden classes."""
    logits, prior = a.logits_parameter(), b.logits_parameter()
    return categorical_kl(logits + ops.zeros_like(prior), prior)


def entropy(logits: Tensor) -> Tensor:
    """Return -sum_k p_k log(p_k) over the allowed classes."""
    p, log = numerics.log_softmax(logits, -1)
    return -ops.sum(p * log, axis=-1)


def root(x: Tensor) -> Tensor:
    """Return the square root, with no gradient at 0, not an infinite one."""
    positive = x > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, x, 1.0)), x)


def _is_empty(logits: Tensor) -> Tensor:
    """Return, per row, whether no class is allowed."""
    return ops.all(logits == FORBIDDEN, axis=-1)


def _log_total(x: Tensor) -> Tensor:
    """Return log(sum_k exp(x_k)); an empty sum is -inf, without gradient."""
    peak = numerics.maximum(x, -1)
    peak = ops.where(peak == FORBIDDEN, 0.0, peak)
    allowed = x != FORBIDDEN
    weight = ops.exp(ops.where(allowed, x - peak, 0.0))
    total = ops.sum(ops.where(allowed, weight, 0.0), axis=-1)
    return numerics.log_or_forbidden(total) + peak[..., 0]
