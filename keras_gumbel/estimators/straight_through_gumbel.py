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
    """Straight-through Gumbel-softmax: sample hard, differentiate soft.

        perturbed = logits + noise_scale * gumbel
        forward:    one_hot(argmax(perturbed))
        backward:   as of softmax(perturbed / temperature)

    The forward law is softmax(logits) at any temperature. The gradient is
    biased: it is the pathwise gradient of the relaxed sample, taken as if the
    hard one had been relaxed. The bias falls with the temperature while the
    variance grows, as 1 / temperature. Cost: one noise draw for each class.

    Of gates: s (1 - s) g / temperature, s = sigmoid(perturbed / temperature),
    with logistic noise, and g the gradient at the sample.

    Named `"st_gumbel"`, the default everywhere.

    Args:
        backward_temperature: Positive number, the temperature above; in a
            layer, or a schedule of its training calls; in a function, or a
            scalar float tensor. `None`: that of the layer or of the call.
            Defaults to `None`.

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
        """The argmax of the perturbed logits, and those logits."""
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
        """The gradient of the relaxed sample."""
        peak = categorical.entry(kept, choice, draw.axis)
        return numerics.softmax_vjp(kept, peak, temperature, dy, draw.axis)

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the relaxed gate."""
        return numerics.sigmoid_vjp(perturbed, temperature, dy)
