"""Gumbel-Rao."""

# Without this, tracing would evaluate annotations of nested functions.
from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel._validation import check_integer
from keras_gumbel.estimators.estimator import Estimator, register
from keras_gumbel.numerics import Draw, categorical


@register
@dataclasses.dataclass(frozen=True, repr=False)
class GumbelRao(Estimator):
    """Sample a class, and average the gradient over noise that agrees with it.

    Use when the loss costs much more than the sample, at a temperature of 0.1
    to 0.5: it is `"st_gumbel"` with less variance, so a lower temperature, with
    its lower bias, becomes affordable.

        forward:    one_hot(i),  i = argmax(logits + noise_scale * gumbel)
        backward:   the mean over `num_samples` draws of the gradient of
                    softmax(perturbed / temperature), where `perturbed` is
                    drawn anew, given that its argmax is i

    The sample, the expected gradient and hence the bias are the same as with
    `"st_gumbel"`; the variance is never larger. As the temperature tends to 0
    and `num_samples` grows, the gradient tends to the gradient of ReinMax at
    temperature 1. Gradients do not flow through the conditional noise;
    otherwise the estimator would have a different mean. Cost: one noise draw
    per class, and in the backward pass another per class and sample. One
    sample is in memory at a time.

    For gates the rule is the mean of s (1 - s) g / temperature, with
    s = sigmoid(perturbed / temperature) and `perturbed` drawn anew given its
    sign.

    Named `"gumbel_rao"`.

    Args:
        num_samples: Positive integer, the number of conditional draws.
            Defaults to `10`.
        backward_temperature: Positive number, the temperature of the formula
            above. In a layer it may be a schedule of the training calls, in
            a function a scalar float tensor. `None` takes the temperature of
            the layer or of the call. Defaults to `None`.

    Example:

    >>> import keras_gumbel as kg
    >>> estimator = kg.estimators.GumbelRao(num_samples=100)
    >>> layer = kg.GumbelSoftmax(0.3, hard=True, estimator=estimator)

    Reference:
        Paulus, Maddison, Krause, "Rao-Blackwellizing the Straight-Through
        Gumbel-Softmax Gradient Estimator", 2021, eq. 10,
        https://arxiv.org/abs/2010.04838
    """

    name: ClassVar[str] = "gumbel_rao"
    knows_scale: ClassVar[bool] = True

    num_samples: int = 10

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        check_integer(self.num_samples, "num_samples", minimum=1)

    def forward(self, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """Return the argmax of the perturbed logits, and no residual."""
        return categorical.first_argmax(numerics.perturb(draw), draw.axis), None

    def backward(
        self,
        draw: Draw,
        kept: Tensor,
        choice: Tensor,
        temperature: Tensor,
        dy: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the mean gradient of relaxed samples with this argmax."""
        axis = draw.axis
        zeros = ops.zeros_like(kept), ops.zeros_like(choice, dtype=kept.dtype)

        def of_one(
            number: Tensor,
            logits: Tensor,
            temperature: Tensor,
            dy: Tensor,
            choice: Tensor,
            *noise: Tensor,
        ) -> tuple[Tensor, Tensor]:
            given = _with_noise(draw, *noise)
            gap, _ = numerics.conditional_gap(given, logits, choice, number)
            # The noise is constant: perturbed logits move with the logits.
            x = backend.straight_through(gap, logits)
            peak = ops.zeros_like(choice, dtype=x.dtype)
            d_logits, parts = numerics.softmax_vjp(
                x, peak, temperature, dy, axis
            )
            # The temperature is one number along the axis.
            return d_logits, numerics.sum_in_lanes(parts, axis)

        d_logits, parts = backend.sum_over(
            self.num_samples,
            of_one,
            zeros,
            kept,
            temperature,
            dy,
            choice,
            *_noise(draw),
        )
        return d_logits / self.num_samples, parts / self.num_samples

    def backward_binary(
        self, draw: Draw, perturbed: Tensor, temperature: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the mean gradient of relaxed gates with this sign."""
        zeros = ops.zeros_like(perturbed), ops.zeros_like(perturbed)

        def of_one(
            number: Tensor,
            logits: Tensor,
            temperature: Tensor,
            dy: Tensor,
            perturbed: Tensor,
            *noise: Tensor,
        ) -> tuple[Tensor, Tensor]:
            given = _with_noise(draw, *noise)
            x = numerics.conditional_logistic(
                given, logits, perturbed > 0, number
            )
            # The noise is constant: perturbed logits move with the logits.
            x = backend.straight_through(x, logits)
            return numerics.sigmoid_vjp(x, temperature, dy)

        d_logits, parts = backend.sum_over(
            self.num_samples,
            of_one,
            zeros,
            draw.logits(),
            temperature,
            dy,
            perturbed,
            *_noise(draw),
        )
        return d_logits / self.num_samples, parts / self.num_samples


def _noise(draw: Draw) -> Tensors:
    """Return the tensors that the noise of a draw depends on."""
    sizes = () if draw.sizes is None else (draw.sizes,)
    return draw.noise_scale, draw.key, ops.cast(draw.first_row, "int32"), *sizes


def _with_noise(
    draw: Draw,
    noise_scale: Tensor,
    key: Tensor,
    first_row: Tensor,
    sizes: Tensor = None,
) -> Draw:
    return draw._replace(
        noise_scale=noise_scale, key=key, first_row=first_row, sizes=sizes
    )
