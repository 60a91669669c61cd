"""Distributions of gates, whose logits may be infinite: certain gates.

A certain gate is always in one state: its density is 1 there, and 0 elsewhere.
(In TensorFlow Probability the value or a gradient is NaN or infinite.) Infinite
`logits` or `loc` must have no gradient: pass them through
`without_gradient_if_infinite`.
"""

from typing import Any

from keras import ops
from tensorflow_probability import distributions as tfd

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.losses import bernoulli_kl


def without_gradient_if_infinite(logits: Tensor) -> Tensor:
    """Return the logits, and stop the gradient to those that are infinite."""
    # This drops a gradient of NaN too; a product with 0 would not.
    finite = ops.where(ops.isinf(logits), 0.0, logits)
    return backend.straight_through(logits, finite)


class Bernoulli(tfd.Bernoulli):
    """`Bernoulli` with finite gradients at every logit."""

    def _log_cdf(self, event: Tensor) -> Tensor:
        logits = self._logits_parameter_no_checks()
        below = _log_of(event >= 1, logits)
        inside = (event >= 0) & (event < 1)
        return ops.where(inside, -ops.softplus(logits), below)

    def _log_survival_function(self, event: Tensor) -> Tensor:
        logits = self._logits_parameter_no_checks()
        above = _log_of(event < 0, logits)
        inside = (event >= 0) & (event < 1)
        return ops.where(inside, -ops.softplus(-logits), above)

    def _cdf(self, event: Tensor) -> Tensor:
        return ops.exp(self._log_cdf(event))

    def _survival_function(self, event: Tensor) -> Tensor:
        return ops.exp(self._log_survival_function(event))

    def _stddev(self) -> Tensor:
        # The root of a variance that underflows has no finite slope.
        half = ops.abs(self._logits_parameter_no_checks()) / 2
        return ops.exp(-half) * ops.sigmoid(2 * half)


@tfd.RegisterKL(Bernoulli, tfd.Bernoulli)
@tfd.RegisterKL(tfd.Bernoulli, Bernoulli)
def _kl(a: tfd.Bernoulli, b: tfd.Bernoulli, name: str | None = None) -> Tensor:
    """Return the KL; here small ones keep their digits, too."""
    del name
    logits, prior = a.logits_parameter(), b.logits_parameter()
    return bernoulli_kl(logits + ops.zeros_like(prior), prior)


class RelaxedBernoulli(tfd.RelaxedBernoulli):
    """`RelaxedBernoulli` with finite gradients at infinite logits."""

    def _log_prob(self, y: Tensor) -> Tensor:
        certain, state, law = self._states()
        inner = law.log_prob(ops.where(certain, 0.5, y))
        return ops.where(certain, _log_of(y == state, inner), inner)

    def _log_cdf(self, y: Tensor) -> Tensor:
        certain, state, law = self._states()
        inner = law.log_cdf(ops.where(certain, 0.5, y))
        return ops.where(certain, _log_of(y >= state, inner), inner)

    def _log_survival_function(self, y: Tensor) -> Tensor:
        certain, state, law = self._states()
        inner = law.log_survival_function(ops.where(certain, 0.5, y))
        return ops.where(certain, _log_of(y < state, inner), inner)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        certain, state, law = self._states()
        return ops.where(certain, state, law.sample(n, seed=seed))

    def _states(self) -> tuple[Tensor, Tensor, tfd.Distribution]:
        """Return certain gates, their states, and the others' distribution."""
        logits = self._logits_parameter_no_checks()
        certain = ops.isinf(logits)
        finite = ops.where(certain, 0.0, logits)
        law = tfd.RelaxedBernoulli(self._temperature, logits=finite)
        return certain, ops.cast(logits > 0, logits.dtype), law


class Logistic(tfd.Logistic):
    """`Logistic` with finite gradients where `loc` or `x` is infinite."""

    def _log_prob(self, x: Tensor) -> Tensor:
        certain, z = self._certain_or_standard(x)
        size = ops.abs(z)
        inner = -size - 2 * ops.log1p(ops.exp(-size))
        inner = inner - ops.log(backend.to_tensor(self.scale))
        return ops.where(certain, _log_of(x == self.loc, inner), inner)

    def _log_cdf(self, x: Tensor) -> Tensor:
        certain, z = self._certain_or_standard(x)
        inner = -ops.softplus(-z)
        return ops.where(certain, _log_of(x >= self.loc, inner), inner)

    def _log_survival_function(self, x: Tensor) -> Tensor:
        certain, z = self._certain_or_standard(x)
        inner = -ops.softplus(z)
        return ops.where(certain, _log_of(x < self.loc, inner), inner)

    def _cdf(self, x: Tensor) -> Tensor:
        return ops.exp(self._log_cdf(x))

    def _survival_function(self, x: Tensor) -> Tensor:
        return ops.exp(self._log_survival_function(x))

    def _entropy(self) -> Tensor:
        return self._unless_certain(0.0, super()._entropy())

    def _stddev(self) -> Tensor:
        return self._unless_certain(0.0, super()._stddev())

    def _quantile(self, p: Tensor) -> Tensor:
        return self._unless_certain(self.loc, super()._quantile(p))

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        return self._unless_certain(self.loc, super()._sample_n(n, seed))

    def _unless_certain(self, state: Tensor, otherwise: Tensor) -> Tensor:
        return ops.where(ops.isinf(self._mean()), state, otherwise)

    def _certain_or_standard(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return whether `loc` or `x` is infinite, and (x - loc) / scale."""
        loc, scale = backend.to_tensor(self.loc), backend.to_tensor(self.scale)
        certain = ops.isinf(loc) | ops.isinf(x)
        x, loc = (ops.where(certain, 0.0, value) for value in (x, loc))
        return certain, (x - loc) / scale


def _log_of(event: Tensor, like: Tensor) -> Tensor:
    """Return 0 where `event` is true, and -inf elsewhere."""
    return ops.where(event, ops.zeros_like(like), float("-inf"))
