"""The gapped straight-through estimator."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_positive
from keras_gumbel.estimators.estimator import Estimator, register
from keras_gumbel.numerics import Draw, categorical


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

    At noise scale s the gap is s times as wide, that of `None` by p =
    softmax(logits / s); without noise it is 0, and the rule that of `"st"`.

    Of gates: q (1 - q) g / temperature, q = sigmoid(x / temperature), x the
    logit moved until it has the sample's sign, and is at least `gap` from 0.

    Named `"gapped_st"`.

    Args:
        gap: Positive number, in nats: the paper's GST-1.0 at its default.
            `None`: -log(1 - p_i) / p_i with p = softmax(logits), the mean lead
            that the noise gives, which is the paper's GST-p. Defaults to
            `1.0`.
        backward_temperature: Positive number, the temperature above; in a
            layer, or a schedule of its training calls; in a function, or a
            scalar float tensor. `None`: that of the layer or of the call.
            Defaults to `None`.

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
    knows_scale: ClassVar[bool] = True

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
        kept = kept - numerics.offset(kept, 1.0, axis)
        peak = numerics.maximum(kept, axis)
        below = backend.minimum(kept, peak - self._gap(draw, kept, choice))
        sampled = numerics.classes(kept, axis) == choice
        x = backend.straight_through(ops.where(sampled, peak, below), kept)
        return numerics.softmax_vjp(x, peak, temperature, dy, axis)

    def _gap(self, draw: Draw, logits: Tensor, choice: Tensor) -> Tensor:
        """In units of the noise; without noise the likeliest class leads."""
        if self.gap is not None:
            return self.gap * draw.noise_scale
        axis, scale = draw.axis, draw.scale_of_law()
        sampled = numerics.classes(logits, axis) == choice
        others = ops.where(sampled, numerics.FORBIDDEN, logits)
        p = numerics.softmax(logits, scale, axis)
        p = categorical.entry(p, choice, axis)
        # Of p near 1 nothing is left to take the logarithm of.
        lead = numerics.log_sum(logits / scale, axis)
        lead = lead - numerics.log_sum(others / scale, axis)
        return _mean_lead(draw, p, ops.where(p < 0.5, -ops.log1p(-p), lead))

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the sigmoid of the moved logits."""
        logits, positive = draw.logits(), perturbed > 0
        lead = ops.where(positive, logits, -logits)
        gap = self._binary_gap(draw, lead)
        lead = ops.where(lead < gap, gap, lead)
        x = ops.where(positive, lead, -lead)
        x = backend.straight_through(x, logits)
        return numerics.sigmoid_vjp(x, temperature, dy)

    def _binary_gap(self, draw: Draw, lead: Tensor) -> Tensor:
        if self.gap is not None:
            return self.gap * draw.noise_scale
        lead = lead / draw.scale_of_law()
        return _mean_lead(draw, ops.sigmoid(lead), ops.softplus(lead))


def _mean_lead(draw: Draw, p: Tensor, minus_log_rest: Tensor) -> Tensor:
    """s * -log(1 - p) / p, 0 without noise, and in the limit 1 at p = 0."""
    gap = ops.where(p > 0, minus_log_rest / p, 1.0) * draw.noise_scale
    return ops.where(draw.noise_scale == 0.0, 0.0, gap)
