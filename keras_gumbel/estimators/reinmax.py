"""ReinMax."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel.estimators.estimator import Estimator, register
from keras_gumbel.numerics import Draw, categorical


@register
@dataclasses.dataclass(frozen=True, repr=False)
class ReinMax(Estimator):
    """ReinMax: a straight-through estimator of second order.

        p = softmax(logits),  q = softmax(logits / temperature)
        forward:    D = one_hot(i),  i ~ Categorical(p)
        backward:   2 J(m) g - J(p) g / 2,  m = (q + D) / 2

    with J(m) g = m * g - m * sum(m * g), g the gradient at the sample. It is
    Heun's method where straight-through is Euler's: the loss's slope is taken
    at the sample and, in the mean, at the other classes.

    At temperature 1 it is without bias for every loss that is quadratic in
    the sample, or in each of several samples with the others held; it is then
    the mean of straight-through and DARN, and Shekhovtsov's ZGR. Any other
    loss, and any other temperature, brings a bias, which can pay in training
    above 1 (1.1 to 1.5 in the paper's experiments). Unlike the relaxations, it
    does not improve as the temperature falls. The temperature has no gradient:
    0. Cost: one random number a row, and no noise a class.

    All this is for noise of scale 1. At noise scale s, p is softmax(logits /
    s), the rule is divided by s, and temperature s is the one without bias.
    Without noise the rule is that of s = 1 at the likeliest class.

    Of gates: 2 m (1 - m) g - p (1 - p) g / 2 with sigmoid for softmax. In the
    mean, at temperature 1, that is the trapezoid rule on the loss's slope.

    Named `"reinmax"`.

    Args:
        backward_temperature: Positive number, the temperature above; in a
            layer, or a schedule of its training calls; in a function, or a
            scalar float tensor. `None`: that of the layer or of the call.
            Defaults to `None`.

    Example:

    >>> import keras_gumbel as kg
    >>> layer = kg.GumbelSoftmax(hard=True, estimator="reinmax")
    >>> layer.estimator
    ReinMax()

    Reference:
        Liu, Dong, Liu, Yu, Gao, "Bridging Discrete and Backpropagation:
        Straight-Through and Beyond", 2023, algorithm 2,
        https://arxiv.org/abs/2304.08612; Shekhovtsov, "Cold Analysis of
        Rao-Blackwellized Straight-Through Gumbel-Softmax Gradient
        Estimator", 2023, https://proceedings.mlr.press/v202
    """

    name: ClassVar[str] = "reinmax"
    knows_scale: ClassVar[bool] = True

    def backward(
        self,
        draw: Draw,
        kept: Tensor,
        choice: Tensor,
        temperature: Tensor,
        dy: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Heun's method between the sample and the softmax."""
        given = kept, choice, dy, draw.axis
        scale = draw.scale_of_law()
        if not backend.fuses():
            gradient = _heun(temperature, scale, *given)
            return gradient, ops.zeros_like(gradient)
        gradient = ops.cond(
            ops.all(temperature == 1.0) & (scale == 1.0),
            # One softmax in place of two.
            lambda: _heun(1.0, 1.0, *given),
            lambda: _heun(temperature, scale, *given),
        )
        # XLA has no derivative of that branch.
        gradient = backend.straight_through(
            gradient, _heun(temperature, scale, *given)
        )
        return gradient, ops.zeros_like(gradient)

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Heun's method between the sample and the sigmoid."""
        logits = draw.logits()
        # By the other state's probabilities: 2 m (1 - m) is q' - q'**2 / 2.
        x = ops.where(perturbed > 0, -logits, logits)
        scale = draw.scale_of_law()
        p, q = ops.sigmoid(x / scale), ops.sigmoid(x / temperature)
        slope = (q * (1.0 - q / 2) - p * (1.0 - p) / 2) / scale
        gradient = numerics.scaled(slope, dy)
        return gradient, ops.zeros_like(gradient)


def _heun(
    temperature: Tensor | float,
    scale: Tensor | float,
    logits: Tensor,
    choice: Tensor,
    dy: Tensor,
    axis: int,
) -> Tensor:
    """(2 J(m) g - J(p) g / 2) / s, the sum over m in two parts."""
    p, total_p, mean_p = numerics.softmax_terms(logits, scale, dy, axis)
    q, total_q, mean_q = numerics.softmax_terms(logits, temperature, dy, axis)
    at_sample = categorical.entry(dy, choice, axis)
    mean = (mean_q + at_sample) / 2
    gradient = q * ((dy - mean) / (total_q * scale))
    gradient = gradient - p * ((dy - mean_p) / (2 * total_p * scale))
    sampled = numerics.classes(logits, axis) == choice
    rest = ops.where(sampled, (at_sample - mean) / scale, 0.0)
    gradient = gradient + rest
    # An infinite gradient at a forbidden class must not become NaN.
    return ops.where(p + q == 0.0, 0.0, gradient)
