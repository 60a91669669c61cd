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
    """Sample a class, and pass on a gradient of second order.

    Use when the bias of straight-through estimators hurts and the loss is
    nearly quadratic in the sample, as a squared error is. Keep the temperature
    at 1 or above; lower ones only add bias.

        p = softmax(logits),  q = softmax(logits / temperature)
        forward:    D = one_hot(i),  i ~ Categorical(p)
        backward:   2 J(m) g - J(p) g / 2,  m = (q + D) / 2

    where g is the gradient of the loss at the sample, and
    J(m) g = m * g - m * sum(m * g) is the gradient of a softmax with
    probabilities m. Straight-through follows the loss's slope at the sampled
    class alone (Euler's method). ReinMax averages the slopes at the sampled
    class and at the others (Heun's method).

    At temperature 1 the gradient is unbiased for every loss that is quadratic
    in the sample, or in each of several samples with the others held fixed.
    (It then equals the mean of straight-through and DARN, and Shekhovtsov's
    ZGR.) For other losses, and at other temperatures, it is biased; the
    paper's experiments train best at 1.1 to 1.5. The temperature gets a zero
    gradient. Cost: one random number per row, and no noise per class.

    With a `noise_scale` of s, p is softmax(logits / s), the gradient is
    divided by s, and the unbiased temperature is s. Without noise the rule uses
    s = 1 at the likeliest class.

    For gates the rule is 2 m (1 - m) g - p (1 - p) g / 2, with sigmoid in
    place of softmax. At temperature 1 its mean is the trapezoid rule on the
    loss's slope.

    Named `"reinmax"`.

    Args:
        backward_temperature: Positive number, the temperature of the formula
            above. In a layer it may be a schedule of the training calls, in
            a function a scalar float tensor. `None` takes the temperature of
            the layer or of the call. Defaults to `None`.

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
        """Apply Heun's method between the sample and the softmax."""
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
        """Apply Heun's method between the sample and the sigmoid."""
        logits = draw.logits()
        # With the other state's q', 2 m (1 - m) is q' - q'**2 / 2.
        x = ops.where(perturbed > 0, -logits, logits)
        scale = draw.scale_of_law()
        p, q = ops.sigmoid(x / scale), ops.sigmoid(x / temperature)
        slope = (q * (1.0 - q / 2) - p * (1.0 - p) / 2) / scale
        gradient = numerics.scaled(slope, dy)
        return gradient, ops.zeros_like(gradient)


@backend.native
def _heun(
    temperature: Tensor | float,
    scale: Tensor | float,
    logits: Tensor,
    choice: Tensor,
    dy: Tensor,
    axis: int,
) -> Tensor:
    """Return (2 J(m) g - J(p) g / 2) / s, the sum over m in two parts."""
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
