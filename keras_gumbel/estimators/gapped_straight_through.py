"""The gapped straight-through estimator."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_gumbel import backend, choices, formulas
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_positive
from keras_gumbel.estimators.estimator import Estimator, register
from keras_gumbel.formulas import Draw


@register
@dataclasses.dataclass(frozen=True, repr=False)
class GappedStraightThrough(Estimator):
    """Gapped straight-through: logits moved until the sample leads by a gap.

        forward:    one_hot(i),  i ~ Categorical(softmax(logits))
        x_i = max(logits),  x_j = min(logits_j, max(logits) - gap)
        backward:   as of softmax(x / temperature), x moving with the logits

    What Gumbel noise does to the softmax, without the noise: the sampled
    class comes out on top, and by at least `gap`. Biased, for linear losses
    too; the variance that is left is that of the choice. At a temperature far
    below the gap the softmax saturates and the gradient is lost. Cost: one
    random number a row, and no noise a class.

    Of gates: q (1 - q) g / temperature, q = sigmoid(x / temperature), x the
    logit moved until it has the sample's sign, and is at least `gap` from 0.

    Named `"gapped_st"`.

    Args:
        gap: Positive number, in nats: the paper's GST-1.0 at its default.
            `None`: -log(1 - p_i) / p_i with p = softmax(logits), the mean lead
            that the noise gives, which is the paper's GST-p. Defaults to
            `1.0`.
        backward_temperature: Positive number, the temperature above. `None`:
            that of the layer or of the call. Defaults to `None`.

    Example:

    >>> import keras_gumbel as kg
    >>> estimator = kg.estimators.GappedStraightThrough(gap=2.0)
    >>> layer = kg.GumbelSoftmax(hard=True, estimator=estimator)

    Reference:
        Fan, Chi, Rudnicky, Ramadge, "Training Discrete Deep Generative Models
        via Gapped Straight-Through Estimator", 2022, section 4,
        https://arxiv.org/abs/2206.07235
    """

    name: ClassVar[str] = "gapped_st"

    gap: float | None = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        if self.gap is not None:
            check_positive(self.gap, "gap")

    def backward(
        self,
        draw: Draw,
        kept: Tensor,
        choice: Tensor,
        temperature: Tensor,
        dy: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the softmax of the moved logits."""
        axis = draw.axis
        # Far from 0 the gap would be lost in rounding.
        kept = kept - formulas.offset(kept, 1.0, axis)
        peak = formulas.maximum(kept, axis)
        below = ops.minimum(kept, peak - self._gap(kept, choice, axis))
        sampled = formulas.classes(kept, axis) == choice
        x = backend.straight_through(ops.where(sampled, peak, below), kept)
        return formulas.softmax_vjp(x, peak, temperature, dy, axis)

    def _gap(self, logits: Tensor, choice: Tensor, axis: int) -> Tensor | float:
        if self.gap is not None:
            return self.gap
        p = choices.entry(formulas.softmax(logits, 1.0, axis), choice, axis)
        return ops.where(p > 0, -ops.log1p(-p) / p, 1.0)

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the sigmoid of the moved logits."""
        logits, positive = draw.logits(), perturbed > 0
        lead = ops.where(positive, logits, -logits)
        gap = self._binary_gap(lead)
        lead = ops.where(lead < gap, gap, lead)
        x = ops.where(positive, lead, -lead)
        x = backend.straight_through(x, logits)
        return formulas.sigmoid_vjp(x, temperature, dy)

    def _binary_gap(self, lead: Tensor) -> Tensor | float:
        if self.gap is not None:
            return self.gap
        p = ops.sigmoid(lead)
        return ops.where(p > 0, ops.softplus(lead) / p, 1.0)
