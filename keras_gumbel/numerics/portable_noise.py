"""The noise of a key, in operations that every file format has.

No format has a reproducible generator. Some have no AND, no shift to the left
and no access to a number's bits, and their log(1 + x) loses a small x. Plain
arithmetic still gives the bits that the layers draw, to the last one, and
noise that differs from theirs in the last digits.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.backend import threefry
from keras_gumbel.backend.threefry import Words
from keras_gumbel.numerics.dtypes import wide_dtype
from keras_gumbel.numerics.portable import check_has_xor

# Terms of the series below: the next is under a tenth of the last digit.
_TERMS = {"float32": 8, "float64": 17}


def random_words(shape: Sequence[Any], key: Tensor) -> Words:
    """Return the 64 bits of each number that the layers draw by this key.

    Args:
        shape: Integers and integer tensors.
        key: Int32 tensor `(2,)`.
    """
    check_has_xor()
    place = ops.arange(math.prod(shape), dtype="int32")
    low, high = threefry.portable_bits_at(
        key, place, backend.bitwise_xor, backend.right_shift
    )
    return Words(ops.reshape(low, shape), ops.reshape(high, shape))


def noise_of(law: str, key: Tensor, like: Tensor) -> Tensor:
    """Return noise of a distribution, in the shape of `like`, widened.

    Args:
        law: `"gumbel"`, `"logistic"`, or `"uniform"` between -1/2 and 1/2.
        key: Int32 tensor `(2,)`.
        like: Float tensor.
    """
    words = random_words(tuple(ops.shape(like)), key)
    return _LAWS[law](words, wide_dtype(like))


def _gumbel(words: Words, dtype: str) -> Tensor:
    return -ops.log(exponential(_unit(words, dtype)))


def _logistic(words: Words, dtype: str) -> Tensor:
    # The first bit is the sign; these are all others.
    carry = ops.cast(words.low < 0, "int32")
    rest = Words(words.low * 2, words.high * 2 + carry)
    t = _unit(rest, dtype) / 2
    size = -ops.log(t) - exponential(t)
    return ops.where(words.high < 0, -size, size)


def _uniform(words: Words, dtype: str) -> Tensor:
    return _unit(words, dtype) - 0.5


_LAWS: dict[str, Callable[[Words, str], Tensor]] = {
    "gumbel": _gumbel,
    "logistic": _logistic,
    "uniform": _uniform,
}


def exponential(t: Tensor) -> Tensor:
    """Return -log(1 - t), 0 < t <= 1, to full relative precision at both ends.

        -log(1 - t) = 2 artanh(z) = 2 (z + z**3 / 3 + ...),  z = t / (2 - t)

    If t was rounded up to 1, the result is the one at the number below 1.
    """
    dtype = keras.backend.standardize_dtype(t.dtype)
    small = backend.minimum(t, 0.5)
    z = small / (2.0 - small)
    total: Tensor | float = 0.0
    for n in reversed(range(_TERMS[dtype])):
        total = total * z * z + 1 / (2 * n + 1)
    least = 1.0 - float(np.nextafter(1, 0, dtype=dtype))
    rest = backend.maximum(1.0 - t, least)
    return ops.where(t <= 0.5, 2.0 * z * total, -ops.log(rest))


def _unit(words: Words, dtype: str) -> Tensor:
    """Return (bits + 1/2) / 2**64, rounded."""
    low = _unsigned(words.low, dtype) * 2.0**-64 + 2.0**-65
    return low + _unsigned(words.high, dtype) * 2.0**-32


def _unsigned(word: Tensor, dtype: str) -> Tensor:
    """Return an int32's bits as a number without a sign, rounded once."""
    half = backend.right_shift(word, 16)
    high = half + ops.cast(word < 0, "int32") * 2**16
    low = word - half * 2**16
    return ops.cast(high, dtype) * 2.0**16 + ops.cast(low, dtype)
