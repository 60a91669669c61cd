"""Noise with its whole tails, from 64 random bits per number."""

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.backend import threefry
from keras_gumbel.numerics import logarithms


@backend.native
def gumbel(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Draw standard Gumbel noise: -log(-log(1 - t)), t uniform in (0, 1).

    Large noise comes from small t, where floating-point numbers are dense:
    the upper tail is whole up to 45, where -log(-log(u)) of a float32 u in
    [0, 1) ends at 16.6.
    """
    return logarithms.minus_log(exponential(shape, key, dtype, start))


@backend.native
def exponential(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Draw standard exponential noise: -log(1 - t), from 2**-65 to 16.7."""
    t = random_unit(shape, key, dtype, start)
    return logarithms.exponential(t)


@backend.native
def logistic(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Draw standard logistic noise: log((1 - t) / t), and one sign for each.

    t is uniform in (0, 1/2), where floating-point numbers are dense: both
    tails are whole up to 45.
    """
    t, negative = random_half(shape, key, dtype, start)
    size = logarithms.minus_log(t) - logarithms.small_exponential(t)
    return ops.where(negative, -size, size)


@backend.native
def random_unit(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Draw from the open interval (0, 1). Inside a compiled program only.

    (bits + 1/2) / 2**64, rounded to `dtype`: never 0, as small as 2**-65,
    and at most the largest number below 1.

    Args:
        shape: Integers or an integer tensor.
        key: A key from `backend.next_key`.
        dtype: `"float32"` or `"float64"`.
        start: The first number's place among the 2**64 of the key; or an int64
            tensor of the shape, with each number's place.
    """
    return _unit(*_words(shape, key, start), dtype)


@backend.native
def random_half(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """Draw from (0, 1/2), and a coin. Inside a compiled program only.

    They tell a uniform number by its distance to the nearer end, and which end
    it is: as fine at 1 as at 0. The bits are the same as in `random_unit`; the
    first is the coin.
    """
    low, high = _words(shape, key, start)
    carry = ops.cast(low < 0, "int32")
    doubled = ops.left_shift(low, 1), ops.left_shift(high, 1) | carry
    return _unit(*doubled, dtype) / 2, high < 0


def _words(
    shape: Tensor, key: Tensor, start: Tensor | int
) -> tuple[Tensor, Tensor]:
    """Return 64 bits per number: two int32 words, the low one first."""
    if isinstance(start, int) or not len(start.shape):
        return backend.random_bits(shape, key, start)
    return threefry.bits_at(key, start)


def _unit(low: Tensor, high: Tensor, dtype: str) -> Tensor:
    """Return (bits + 1/2) / 2**64, below 1."""
    # Two words convert faster than one of 64 bits, and lose nothing: the
    # low one counts only where the high one is small.
    unit = backend.unsigned(low, dtype) * 2.0**-64 + 2.0**-65
    unit = unit + backend.unsigned(high, dtype) * 2.0**-32
    name = keras.backend.standardize_dtype(dtype)
    return backend.minimum(unit, float(np.nextafter(1, 0, dtype=name)))
