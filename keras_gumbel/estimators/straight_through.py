"""The straight-through estimator."""

import dataclasses
from typing import ClassVar

from keras_gumbel import numerics
from keras_gumbel._typing import Tensor
from keras_gumbel.estimators.estimator import Estimator, register
from keras_gumbel.numerics import Draw


@register
@dataclasses.dataclass(frozen=True, repr=False)
class StraightThrough(Estimator):
    """Sample a class, and pass on the gradient of the softmax.

    Use when the loss is close to linear in the sample, such as a weighted sum
    of its entries: there the gradient is unbiased at temperature 1, and it is
    the cheapest of the estimators.

        p = softmax(logits),  q = softmax(logits / temperature)
        forward:    one_hot(i),  i ~ Categorical(p)
        backward:   (q * g - q * sum(q * g)) / temperature

    where g is the gradient of the loss at the sample, and `backward` the
    gradient of q at g. This is the rule of Bengio et al. at temperature 1. If
    the loss is linear in the sample it is then unbiased, and for a single
    variable it has no variance. Otherwise it is biased: it uses the loss's
    slope at the sampled class only, and training can converge to a point that
    is no optimum. Cost: one random number per row, and no noise per class.

    With a `noise_scale` of s, the sample follows softmax(logits / s), and the
    unbiased temperature is s.

    For gates the rule is q (1 - q) g / temperature, with
    q = sigmoid(logits / temperature).

    Named `"st"`.

    Args:
        backward_temperature: Positive number, the temperature of the formula
            above. In a layer it may be a schedule of the training calls, in
            a function a scalar float tensor. `None` takes the temperature of
            the layer or of the call. Defaults to `None`.

    Example:

    >>> import keras_gumbel as kg
    >>> layer = kg.GumbelSoftmax(hard=True, estimator="st")
    >>> layer.estimator
    StraightThrough()

    Reference:
        Bengio, Leonard, Courville, "Estimating or Propagating Gradients
        Through Stochastic Neurons for Conditional Computation", 2013,
        section 4, https://arxiv.org/abs/1308.3432
    """

    name: ClassVar[str] = "st"
    knows_scale: ClassVar[bool] = True

    def backward(
        self,
        draw: Draw,
        kept: Tensor,
        choice: Tensor,
        temperature: Tensor,
        dy: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of the softmax."""
        return numerics.relaxed_vjp(kept, temperature, dy, draw.axis)

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of the sigmoid."""
        return numerics.sigmoid_vjp(draw.logits(), temperature, dy)
