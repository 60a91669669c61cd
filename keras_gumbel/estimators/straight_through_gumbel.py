"""Straight-through Gumbel-softmax."""

import dataclasses
from typing import ClassVar

from keras_gumbel import numerics
from keras_gumbel._typing import Tensor
from keras_gumbel.estimators.estimator import Estimator, register
from keras_gumbel.numerics import Draw, categorical


@register
@dataclasses.dataclass(frozen=True, repr=False)
class StraightThroughGumbel(Estimator):
    """Sample a class, and pass on the gradient of the relaxed sample.

    Start with this one, at a temperature of 0.3 to 0.5: most papers and
    libraries use it for `hard=True`.

        perturbed = logits + noise_scale * gumbel
        forward:    one_hot(argmax(perturbed))
        backward:   the gradient of softmax(perturbed / temperature)

    The sample follows softmax(logits) at any temperature. The gradient is
    biased: the loss sees the hard sample, but the gradient is the soft
    sample's. A lower temperature lowers the bias and raises the variance,
    which grows as 1 / temperature. Cost: one noise draw per class.

    For gates the rule is s (1 - s) g / temperature, with
    s = sigmoid(perturbed / temperature), logistic noise, and g the gradient
    at the sample.

    Named `"st_gumbel"`, the default everywhere.

    Args:
        backward_temperature: Positive number, the temperature of the formula
            above. In a layer it may be a schedule of the training calls, in
            a function a scalar float tensor. `None` takes the temperature of
            the layer or of the call. Defaults to `None`.

    Example:

    >>> import keras_gumbel as kg
    >>> kg.GumbelSoftmax(hard=True, estimator="st_gumbel").estimator
    StraightThroughGumbel()

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, section 2.2, https://arxiv.org/abs/1611.01144
    """

    name: ClassVar[str] = "st_gumbel"
    knows_scale: ClassVar[bool] = True

    def forward(self, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """Return the argmax of the perturbed logits, and these logits."""
        perturbed = numerics.perturb(draw)
        return categorical.first_argmax(perturbed, draw.axis), perturbed

    def backward(
        self,
        draw: Draw,
        kept: Tensor,
        choice: Tensor,
        temperature: Tensor,
        dy: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of the relaxed sample."""
        peak = categorical.peak(kept, choice, draw.axis)
        return numerics.softmax_vjp(kept, peak, temperature, dy, draw.axis)

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of the relaxed gate."""
        return numerics.sigmoid_vjp(perturbed, temperature, dy)
