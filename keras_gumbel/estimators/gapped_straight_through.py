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
    """Sample a class, and pass on the gradient of logits that agree with it.

    Use when `"st_gumbel"` is too noisy, at a temperature of 0.3 to 1: it draws
    one number per row, and its gradient varies with the sampled class alone.

        forward:    one_hot(i),  i ~ Categorical(softmax(logits))
        moved:      x_i = max(logits)
                    x_j = min(logits_j, max(logits) - gap)  for the others
        backward:   the gradient of softmax(x / temperature) to the logits

    Gumbel noise puts the sampled class on top of the others, and so shapes the
    softmax that the gradient comes from. This estimator moves the logits as
    little as the same effect needs: the sampled class leads by at least `gap`.
    The gradient treats the moved logits x as if they changed one for one with
    the logits. It is biased, for linear losses too. At a temperature far below
    the gap the softmax saturates, and the gradient vanishes. Cost: one random
    number per row, and no noise per class.

    With a `noise_scale` of s the gap is s times as wide, and `gap=None` uses
    p = softmax(logits / s). Without noise the gap is 0, and the rule equals
    `"st"`.

    For gates the rule is q (1 - q) g / temperature, with
    q = sigmoid(x / temperature), where x is the logit moved to the sample's
    sign, at least `gap` away from 0.

    Named `"gapped_st"`.

    Args:
        gap: Positive number, in nats; the default is the paper's GST-1.0.
            `None` takes the mean lead that Gumbel noise would give,
            -log(1 - p_i) / p_i with p = softmax(logits), the paper's GST-p.
            Defaults to `1.0`.
        backward_temperature: Positive number, the temperature of the formula
            above. In a layer it may be a schedule of the training calls, in
            a function a scalar float tensor. `None` takes the temperature of
            the layer or of the call. Defaults to `None`.

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
        """Return the gradient of the softmax of the moved logits."""
        axis = draw.axis
        # Far from 0 the gap would be lost in rounding.
        kept = kept - numerics.offset(kept, 1.0, axis)
        peak = numerics.maximum(kept, axis)
        below = backend.minimum(kept, peak - self._gap(draw, kept, choice))
        sampled = numerics.classes(kept, axis) == choice
        x = backend.straight_through(ops.where(sampled, peak, below), kept)
        return numerics.softmax_vjp(x, peak, temperature, dy, axis)

    def _gap(self, draw: Draw, logits: Tensor, choice: Tensor) -> Tensor:
        """Return the gap times the noise scale: 0 without noise."""
        if self.gap is not None:
            return self.gap * draw.noise_scale
        axis, scale = draw.axis, draw.scale_of_law()
        sampled = numerics.classes(logits, axis) == choice
        others = ops.where(sampled, numerics.FORBIDDEN, logits)
        p = numerics.softmax(logits, scale, axis)
        p = categorical.entry(p, choice, axis)
        # For p near 1, 1 - p would be 0, and its logarithm infinite.
        lead = numerics.log_sum(logits / scale, axis)
        lead = lead - numerics.log_sum(others / scale, axis)
        return _mean_lead(draw, p, ops.where(p < 0.5, -ops.log1p(-p), lead))

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of the sigmoid of the moved logits."""
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
    """Return s * -log(1 - p) / p: the limit s at p = 0, 0 without noise."""
    gap = ops.where(p > 0, minus_log_rest / p, 1.0) * draw.noise_scale
    return ops.where(draw.noise_scale == 0.0, 0.0, gap)
