"""Binary gates with a gradient: 0 or 1, or relaxed."""

import dataclasses
from abc import abstractmethod

from keras import ops

from keras_gumbel import backend, estimators, numerics
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import Arguments, gate_arguments
from keras_gumbel.estimators import Estimator
from keras_gumbel.numerics import Draw
from keras_gumbel.ops import _program
from keras_gumbel.ops._op import Op


def gumbel_sigmoid(
    logits: Tensor,
    temperature: Tensor = 1.0,
    *,
    hard: bool = False,
    estimator: str | Estimator = "st_gumbel",
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> Tensor:
    """Sample from Bernoulli(sigmoid(logits)), with a gradient.

        perturbed = logits + noise_scale * logistic
        soft:  sigmoid(perturbed / temperature)
        hard:  1 where perturbed > 0, else 0

    Every element is a gate of its own: there is no category axis.
    A hard sample is 1 with probability sigmoid(logits) at any temperature (for
    `noise_scale` 1). A soft sample, also called binary Concrete, approaches it
    as the temperature tends to 0, and 1/2 as it tends to infinity. It is above
    1/2 if the hard sample of the same seed, by any estimator, is 1. Computed
    in float32, or float64 for float64 logits.

    Args:
        logits: Float tensor, log-odds in nats: log(p / (1 - p)). -inf gives
            0, +inf gives 1, without a gradient.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits. If a value turns out not to be
            positive only when the program runs, soft samples and all
            gradients are NaN.
        hard: True for a result of exactly 0 and 1, whose gradient is the
            `estimator`'s.
        estimator: Name or object of `keras_gumbel.estimators`: the backward
            rule of a hard sample, `"st_gumbel"`, `"gumbel_rao"`, `"st"`,
            `"reinmax"` or `"gapped_st"`. A soft one has its own exact
            gradient.
        class_mask: Optional bool tensor, True where a gate may open, that
            broadcasts to the logits. The others are exactly 0, without a
            gradient.
        noise_scale: Number >= 0, dimensionless, or a scalar float tensor. It
            multiplies the noise: 1 has probability
            sigmoid(logits / noise_scale), and 0 is no noise. An estimator
            that is unbiased at temperature 1 is then unbiased at temperature
            `noise_scale`.
        seed: An integer in [0, 2**32) for the same sample at every call, a
            `keras.random.SeedGenerator` for its stream, None for fresh noise
            that follows `keras.utils.set_random_seed`. On JAX also a key, on
            torch also a `torch.Generator`.

    Returns:
        A tensor of the shape and dtype of `logits`. A logit of NaN gives NaN.

    Gradient:
        Soft: exact for the relaxed sample, to `logits` and to `temperature`
        if it is a tensor. Hard: biased, see the estimator.

    Raises:
        ValueError: For a temperature, mask or seed out of range.
        TypeError: For arguments of another type, such as integer logits.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.convert_to_tensor([2.0, -1.0, 0.5])
    >>> y = kg.ops.gumbel_sigmoid(logits, 0.5, seed=1)
    >>> z = kg.ops.gumbel_sigmoid(logits, 0.5, hard=True, seed=1)
    >>> bool(keras.ops.all((y > 0.5) == (z == 1.0)))
    True

    Reference:
        Maddison, Mnih, Teh, "The Concrete Distribution", 2017, appendix B,
        https://arxiv.org/abs/1611.00712; Jang, Gu, Poole, "Categorical
        Reparameterization with Gumbel-Softmax", 2017,
        https://arxiv.org/abs/1611.01144
    """
    rule = estimators.get(estimator)
    arguments = gate_arguments(logits, temperature, class_mask)
    if not hard:
        return _program.run(_Relaxed(), arguments, noise_scale, seed)
    rule, arguments = _program.at_its_temperature(rule, arguments)
    return _program.run(_Hard(rule), arguments, noise_scale, seed)


class _Gates(Op):
    """Base class: a function of each perturbed logit by itself."""

    def first_axis_of_a_row(self, arguments: Arguments) -> int:
        """Return the rank: each gate is a row."""
        return len(arguments.logits.shape)

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        (perturbed,) = kept
        x = draw.logits()
        # Certain gates have no gradient; a formula could give NaN there.
        certain = ops.isinf(x)
        finite = ops.where(certain, 0.0, x)
        draw = draw._replace(logits=lambda: finite)
        # Through `finite`, second derivatives reach the logits.
        perturbed = backend.straight_through(
            ops.where(certain, 0.0, perturbed), finite
        )
        found = self.vjp(draw, perturbed, tau, dy)
        return tuple(ops.where(certain, 0.0, part) for part in found)

    @abstractmethod
    def vjp(
        self, draw: Draw, perturbed: Tensor, tau: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take `dy` back to finite logits and to the temperature."""


@dataclasses.dataclass(frozen=True)
class _Relaxed(_Gates):
    """sigmoid(perturbed / temperature)."""

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        perturbed = numerics.add_noise(draw, numerics.logistic)
        return ops.sigmoid(perturbed / tau), perturbed

    def vjp(
        self, draw: Draw, perturbed: Tensor, tau: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        return numerics.sigmoid_vjp(perturbed, tau, dy)


@dataclasses.dataclass(frozen=True)
class _Hard(_Gates):
    """1 where the perturbed logit is positive, with an estimator's gradient."""

    estimator: Estimator

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        perturbed = numerics.add_noise(draw, numerics.logistic)
        return numerics.step(perturbed), perturbed

    def vjp(
        self, draw: Draw, perturbed: Tensor, tau: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        rule = self.estimator.scaled_backward_binary
        return rule(draw, perturbed, tau, dy)
