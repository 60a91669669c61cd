"""Offsets of a row or a column, which do not change its distribution."""

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.numerics.dtypes import lowest
from keras_gumbel.numerics.elementwise import select
from keras_gumbel.numerics.masking import FORBIDDEN
from keras_gumbel.numerics.reductions import maximum

_FAR = 2.0**8  # in noise scales


@backend.unchecked
def offset(x: Tensor, noise_scale: Tensor | float, axis: int) -> Tensor:
    """The largest entry of a row that is far from 0, else 0: finite.

    What is added to a whole row changes no law of its sample, but the sum of
    a large number and noise has lost the noise's digits. Where the peak is
    within 2**8 noise scales, sums are rounded by at most 2**-17 of them, which
    moves no probability by more than 2e-6. There a row stays as it is, to the
    last bit.
    """
    return _if_far(maximum(x, axis), noise_scale)


@backend.unchecked
def less(x: Tensor, number: Tensor) -> Tensor:
    """x - number, in the order of `x` and finite where that is.

    A difference beyond the lowest number must not become -inf, which forbids.
    """
    return backend.maximum(x - number, x / 4 + 0.75 * lowest(x))


@backend.unchecked
def near_matrices(
    x: Tensor, noise_scale: Tensor | float, wide: Tensor | bool = False
) -> Tensor:
    """Return matrices (..., n, m), less the offsets that change no law.

    If n = m these are offsets of rows and of columns, and otherwise, where
    `wide`, of rows alone, since a column may stay without a row.
    """
    if wide is True:
        return _near_rows(x, noise_scale)
    near = _near_rows_and_columns(x, noise_scale)
    if wide is False:
        return near
    return select(wide, _near_rows(x, noise_scale), near)


def _near_rows(x: Tensor, noise_scale: Tensor | float) -> Tensor:
    """Subtract the largest entry of each row where that is far from 0."""
    moved = less(x, offset(x, noise_scale, -1))
    return select(ops.abs(x) < float("inf"), moved, x)


def _near_rows_and_columns(x: Tensor, noise_scale: Tensor | float) -> Tensor:
    """Subtract what is common to rows or columns far from 0.

    Of each row its entry nearest to 0 tells, and then of each column. The
    largest entries would tell of both at once, and leave differences that have
    lost the others' digits.
    """
    for axis in (-1, -2):
        size = ops.abs(x)
        least = backend.min(
            size, axis=axis, keepdims=True, initial=float("inf")
        )
        nearest = maximum(ops.where(size == least, x, FORBIDDEN), axis)
        moved = x - _if_far(nearest, noise_scale)
        # Differences of huge numbers must not become infinite, which means
        # something.
        moved = backend.minimum(backend.maximum(moved, lowest(x)), -lowest(x))
        x = select(size < float("inf"), moved, x)
    return x


def _if_far(x: Tensor, noise_scale: Tensor | float) -> Tensor:
    """`x` where it is far from 0 and finite, else 0."""
    size, scale = ops.abs(x), ops.cast(noise_scale, x.dtype)
    limit = ops.where(scale == 0.0, float("inf"), _FAR * scale)
    return select((size > limit) & (size < float("inf")), x, 0.0)
