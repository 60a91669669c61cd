"""The two logarithms of the noise, in as few instructions as float32 allows.

Library logarithms handle NaN, infinity, subnormals and negatives. Noise has
none of these, and a third of each step was spent on them. These functions
divide a number into exponent and mantissa and take a polynomial of the
mantissa, as every logarithm does, and nothing else. The library takes float64,
and everything where each operation goes over all numbers. Errors are below
4e-7 of max(1, |result|).

The coefficients are minimax fits (Lawson's iteration at 4000 Chebyshev nodes,
in float64): of -log(1 - s) / s on [0, 1/2], relative error 2.3e-8, and of
(log(1 + y) - y log 2) / y on [0, 1], error of the product with y 3.2e-8.
"""

import math

import keras
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor

_LOG1P = (
    1.0000000227,
    0.4999928526,
    0.3337006144,
    0.2428050855,
    0.2696126955,
    -0.2035386947,
    1.2576691676,
    -1.6958111918,
    1.4411075204,
)
_LOG = (
    0.3068492430,
    -0.4998740450,
    0.3317982558,
    -0.2407307652,
    0.1676478803,
    -0.0953225244,
    0.0360845416,
    -0.0064526183,
)
_MANTISSA_BITS = 23
_MANTISSA = 2**_MANTISSA_BITS - 1
_HALF = 0x3F000000  # the bits of 0.5
_ONE = 0x3F800000  # the bits of 1.0


def exponential(t: Tensor) -> Tensor:
    """Return -log(1 - t), 0 < t < 1, to full relative precision at both ends.

    1 - t = m / 2**n with m in [1/2, 1), so the result is n log 2 - log(m). Near
    0, where 1 - t has lost the digits of t, n is 0 and 1 - m is t.
    """
    if not _by_polynomial(t):
        return -ops.log1p(-t)
    bits = backend.bitcast(1.0 - t, "int32")
    n = 126 - ops.right_shift(bits, _MANTISSA_BITS)
    m = backend.bitcast(_HALF | (bits & _MANTISSA), "float32")
    small = t <= 0.5
    s = ops.where(small, t, 1.0 - m)
    n = ops.where(small, 0.0, ops.cast(n, "float32"))
    return small_exponential(s) + n * math.log(2)


def small_exponential(t: Tensor) -> Tensor:
    """Return `exponential` for 0 <= t <= 1/2."""
    if not _by_polynomial(t):
        return -ops.log1p(-t)
    return t * _polynomial(_LOG1P, t)


def minus_log(x: Tensor) -> Tensor:
    """Return -log(x) for a positive normal number.

    x = 2**e (1 + y). The bits of x, read as an integer less the bits of 1, are
    (e + y) 2**23, which leaves log(1 + y) - y log 2 to add. We avoid division:
    at one, XLA would split the loop and draw the noise in both.
    """
    if not _by_polynomial(x):
        return -ops.log(x)
    bits = backend.bitcast(x, "int32")
    y = backend.bitcast(_ONE | (bits & _MANTISSA), "float32") - 1.0
    linear = ops.cast(bits - _ONE, "float32") * (math.log(2) / 2**23)
    return -linear - y * _polynomial(_LOG, y)


def _by_polynomial(x: Tensor) -> bool:
    """Return whether `x` is float32, and operations fuse into one loop."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    return dtype == "float32" and backend.fuses()


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Return sum_k c_k x**k."""
    total: Tensor | float = 0.0
    for c in reversed(coefficients):
        total = total * x + c
    return total
