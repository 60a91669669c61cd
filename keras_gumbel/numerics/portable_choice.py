"""A class by one number per row, in operations that every file format has.

Layers invert the cumulative distribution in float64, which few formats can.
With 8192 classes, a sum in float32 would choose another class in one row of
250. So weights become whole numbers: digits to the base 4096, as int32, whose
sums are exact in any order.
"""

import itertools

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.backend.threefry import Words
from keras_gumbel.numerics.masking import FORBIDDEN, scale_or_nan
from keras_gumbel.numerics.portable import finite
from keras_gumbel.numerics.portable_noise import random_words
from keras_gumbel.numerics.reductions import classes, maximum

_BITS = 12
_BASE = 2**_BITS
# 48 bits of a weight below the largest, 60 of the random number.
_OF_WEIGHT = 4
_OF_UNIT = 5
# Sums of so many weights have two digits more.
MOST_CLASSES = 2**19


@backend.unchecked
def chosen(
    logits: Tensor, noise_scale: Tensor, key: Tensor, axis: int
) -> Tensor:
    """Return the logits, with every class forbidden but the one that is drawn.

        the first k with sum_{j <= k} w_j > u * sum_j w_j,
        w = exp(logits / noise_scale), u uniform in (0, 1) from 64 bits

    `categorical.sample` draws the same class. NaN and +inf stay where they are,
    and so does everything if `noise_scale` is 0.
    """
    scale = scale_or_nan(noise_scale, logits)
    shape = list(ops.shape(logits))
    shape[axis] = 1
    x = finite(logits, axis)
    weight = ops.exp((x - maximum(x, axis)) / ops.where(scale > 0, scale, 1.0))
    place = _place(_digits(weight), random_words(tuple(shape), key), axis)
    drawn = classes(logits, axis) == place
    bad = ops.isnan(logits) | (logits >= float("inf"))
    kept = ops.where(drawn | bad | (scale == 0), logits, FORBIDDEN)
    return ops.where(ops.isnan(scale), float("nan"), kept)


def _digits(weight: Tensor) -> list[Tensor]:
    """Return the digits of weights in [0, 1], the first counts 1 / _BASE."""
    digits, rest = [], weight
    for _ in range(_OF_WEIGHT):
        rest = rest * _BASE
        digit = ops.floor(rest)
        digits.append(ops.cast(digit, "int32"))
        rest = rest - digit
    return digits


def _place(digits: list[Tensor], bits: Words, axis: int) -> Tensor:
    """Count the sums of weights that do not exceed u times the last."""
    total = _carried([ops.sum(d, axis=axis, keepdims=True) for d in digits])
    limit = _product(_digits_of_unit(bits), total)
    sums = _carried([ops.cumsum(d, axis=axis) for d in digits])
    past = sums[0] > limit[0]
    equal = sums[0] == limit[0]
    for mine, other in zip(sums[1:], limit[1:], strict=False):
        past = past | (equal & (mine > other))
        equal = equal & (mine == other)
    return ops.sum(ops.cast(~past, "int32"), axis=axis, keepdims=True)


def _carried(digits: list[Tensor]) -> list[Tensor]:
    """Return the same number with two digits more, all below the base."""
    done = []
    carry: Tensor | int = 0
    for digit in reversed(digits):
        value = digit + carry
        carry = backend.right_shift(value, _BITS)
        done.append(value - carry * _BASE)
    higher = backend.right_shift(carry, _BITS)
    return [higher, carry - higher * _BASE, *reversed(done)]


def _digits_of_unit(bits: Words) -> list[Tensor]:
    """Return the digits of a number in [0, 1), from its 64 bits."""
    low, high = bits
    digits = []
    for _ in range(_OF_UNIT):
        digits.append(_first_bits(high))
        high = high * _BASE + _first_bits(low)
        low = low * _BASE
    return digits


def _first_bits(word: Tensor) -> Tensor:
    """Return the first digit of an int32 without a sign."""
    digit = backend.right_shift(word, 32 - _BITS)
    return digit + ops.cast(word < 0, "int32") * _BASE


def _product(unit: list[Tensor], total: list[Tensor]) -> list[Tensor]:
    """Multiply a number below 1 by another, which has at least as many digits.

    No sum of products of two digits has more than 27 bits.
    """
    places = len(unit) + len(total)
    sums: list[Tensor] = [0] * places
    for (n, a), (m, b) in itertools.product(
        enumerate(unit, 1), enumerate(total)
    ):
        sums[n + m] = sums[n + m] + a * b
    return _carried(sums)[2:]
