"""Perturbed logits, given the choice."""

import math

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.numerics import logarithms
from keras_gumbel.numerics.dtypes import smallest
from keras_gumbel.numerics.masking import FORBIDDEN
from keras_gumbel.numerics.noise import Draw, exponential, random_unit
from keras_gumbel.numerics.reductions import classes, maximum
from keras_gumbel.numerics.softmax import softmax_weights, total_or_one

# Beyond this exp(x) t + 1 is exp(x) t, for the smallest random t.
_LARGE_ODDS = 80.0


def conditional_gap(
    draw: Draw, logits: Tensor, choice: Tensor, number: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw perturbed logits, given which class is the largest.

        x_i = s * (log Z - log E_i),  Z = sum_k exp(logits_k / s)
        x_j = -s * log(E_j exp(-logits_j / s) + exp(-x_i / s))

    with E standard exponential and s the noise scale. If the choice i has the
    distribution softmax(logits / s), x is distributed as logits + s * gumbel.
    Inside a compiled program only.

    `number`, an integer below 2**19, gives each draw of one key its own noise,
    apart from the noise of `perturb`. Return x - x_i, in which no near numbers
    are subtracted, and x_i.
    """
    axis, scale = draw.axis, draw.noise_scale
    peak = maximum(logits, axis)
    divisor = backend.maximum(scale, smallest(logits))
    weight, gap = softmax_weights(logits, peak, divisor)
    e = _exponential_like(logits, draw, 2 * number + 1)
    e_top = _exponential_like(peak, draw, 2 * number + 2, of_rows=True)
    top = ops.log(total_or_one(weight, axis)) + logarithms.minus_log(e_top)
    # x_i - x_j = s * log(1 + E_j exp(a)), by exponentials that are at most 1.
    a = top - gap / divisor
    up, small = a > 0, ops.exp(-ops.abs(a))
    log = logarithms.minus_log(ops.where(up, e + small, 1.0 + e * small))
    x = scale * (log - backend.maximum(a, 0.0))
    x = ops.where(scale == 0.0, gap, x)
    x = ops.where(classes(logits, axis) == choice, 0.0, x)
    return ops.where(logits == FORBIDDEN, FORBIDDEN, x), peak + scale * top


def _exponential_like(
    x: Tensor, draw: Draw, series: Tensor, *, of_rows: bool = False
) -> Tensor:
    """Draw exponential noise in the shape of `x`, once; 1 without noise."""
    shape = ops.shape(x)
    # The shape differs from the one in `perturb`: XLA makes two generators of
    # one shape a function, which fuses with nothing.
    flat = (1, math.prod(shape))

    def noise() -> Tensor:
        places = draw.places((1, -1), of_rows=of_rows, series=series)
        return exponential(flat, draw.key, x.dtype, places)

    drawn = backend.unfused_unless_zero(
        draw.noise_scale, noise, lambda: ops.ones(flat, x.dtype)
    )
    return ops.reshape(drawn, shape)


def conditional_logistic(
    draw: Draw, logits: Tensor, positive: Tensor, number: Tensor
) -> Tensor:
    """Draw perturbed logits of gates, given their sign.

        |x| = s * (-log V + log(1 + exp(a / s) * (1 - V)))

    with V uniform in (0, 1), s the noise scale, and a the logit where x is
    `positive`, its negative where it is not. If signs have the distribution
    sigmoid(logits / s), x is distributed as logits + s * logistic. Inside a
    compiled program only.

    `number` is as in `conditional_gap`. Without noise, x is the logits.
    """
    shape, scale = ops.shape(logits), draw.noise_scale
    # The shape differs from the one in `perturb`: see `_exponential_like`.
    a = ops.reshape(ops.where(positive, logits, -logits), (1, -1))

    def noisy() -> Tensor:
        places = draw.places((1, -1), of_rows=True, series=number + 1)
        # Use 1 - V: then small x, from which gradients come, are dense.
        t = random_unit(ops.shape(a), draw.key, a.dtype, places)
        large = a / scale > _LARGE_ODDS
        odds = ops.exp(ops.where(large, _LARGE_ODDS, a / scale))
        size = scale * (logarithms.exponential(t) + ops.log1p(odds * t))
        return size + ops.where(large, a - scale * _LARGE_ODDS, 0.0)

    size = backend.unfused_unless_zero(scale, noisy, lambda: a)
    size = ops.reshape(size, shape)
    return ops.where(positive, size, -size)
