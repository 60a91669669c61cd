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
    """Straight-through: sample a class, differentiate the softmax.

        p = softmax(logits),  q = softmax(logits / temperature)
        forward:    one_hot(i),  i ~ Categorical(p)
        backward:   as of q:  (q * g - q * sum(q * g)) / temperature

    g is the gradient at the sample. At temperature 1 the rule is Bengio's:
    without bias, and for one variable without variance, where the loss is
    linear in the sample. Otherwise it is biased: of a loss's curve along the
    way between the classes it sees the end alone that was sampled, and its
    training can settle where no optimum is. Cost: one random number a row,
    and no noise a class.

    At noise scale s the law is softmax(logits / s), and temperature s the one
    without bias for linear losses.

    Of gates: q (1 - q) g / temperature, q = sigmoid(logits / temperature).

    Named `"st"`.

    Args:
        backward_temperature: Positive number, the temperature above; in a
            layer, or a schedule of its training calls; in a function, or a
            scalar float tensor. `None`: that of the layer or of the call.
            Defaults to `None`.

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
        """The gradient of the softmax."""
        return numerics.relaxed_vjp(kept, temperature, dy, draw.axis)

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the sigmoid."""
        return numerics.sigmoid_vjp(draw.logits(), temperature, dy)
