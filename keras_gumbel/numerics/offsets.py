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
    """Return a row's largest entry if that is far from 0, else 0: finite.

    Adding a number to a whole row does not change its distribution, but the
    sum of a large number and noise has lost the noise's digits. If the peak is
    within 2**8 noise scales, sums are rounded by at most 2**-17 of them, which
    moves no probability by more than 2e-6. Then a row stays as it is, to the
    last bit.
    """
    return _if_far(maximum(x, axis), noise_scale)


@backend.unchecked
def less(x: Tensor, number: Tensor) -> Tensor:
    """Return x - number, in the order of `x` and finite where `x` is.

    A difference beyond the lowest number must not become -inf, which forbids.
    """
    return backend.maximum(x - number, x / 4 + 0.75 * lowest(x))


@backend.unchecked
def near_matrices(
    x: Tensor, noise_scale: Tensor | float, wide: Tensor | bool = False
) -> Tensor:
    """Return matrices (..., n, m), less offsets that keep the distribution.

    If n = m, the offsets are per row and per column. If the matrix is `wide`,
    they are per row alone, since a column may stay without a row.
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
    """Subtract the common part of rows and columns far from 0.

    The entry nearest to 0 gives it for each row, and then for each column. The
    largest entry would mix both, and leave differences that have lost the
    others' digits.
    """
    for axis in (-1, -2):
        size = ops.abs(x)
        least = backend.min(
            size, axis=axis, keepdims=True, initial=float("inf")
        )
        nearest = maximum(ops.where(size == least, x, FORBIDDEN), axis)
        moved = x - _if_far(nearest, noise_scale)
        # Differences of huge numbers must stay finite: infinity has a meaning.
        moved = backend.minimum(backend.maximum(moved, lowest(x)), -lowest(x))
        x = select(size < float("inf"), moved, x)
    return x


def _if_far(x: Tensor, noise_scale: Tensor | float) -> Tensor:
    """Return `x` where it is far from 0 and finite, else 0."""
    return _beyond(x, noise_scale, _FAR)


@backend.native
def _beyond(x: Tensor, noise_scale: Tensor | float, times: float) -> Tensor:
    """Return finite `x` beyond so many noise scales from 0, else 0.

    Without noise, nothing is beyond.
    """
    size, scale = ops.abs(x), ops.cast(noise_scale, x.dtype)
    limit = ops.where(scale == 0.0, float("inf"), times * scale)
    return select((size > limit) & (size < float("inf")), x, 0.0)
