"""Numbers of a few levels each, and the integers that stand for vectors."""

import math

import numpy as np
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import Tensor
from keras_gumbel.ops.straight_through import straight_through

# Keeps the bounded number away from the end of the last level.
_EPSILON = 1e-3


class Levels:
    """The levels of each number of a vector, evenly spaced from -1 on.

    Numbers are bounded, then rounded to digits that count their levels from 0;
    the digits of a vector make one integer, the first counting least. Bits,
    with two levels each, are -1 and 1, and are not bounded.

    Args:
        levels: The number of levels of each number, at least 2.
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        sizes = np.array(levels)
        self.are_bits = set(levels) == {2}
        # The values of each number in order, one number after another.
        low, half = -(sizes // 2), sizes // 2
        values = [
            (low[n] + np.arange(s)) / half[n] for n, s in enumerate(sizes)
        ]
        if self.are_bits:
            values = [np.array([-1.0, 1.0]) for _ in levels]
        range_ = (sizes - 1) * (1 - _EPSILON) / 2
        offset = np.where(sizes % 2, 0.0, 0.5)
        # Lists: torch's compiler would trace what is done to an array.
        self._values = np.concatenate(values).tolist()
        self._first = np.cumsum([0, *levels[:-1]]).tolist()
        self._place = np.cumprod([1, *levels[:-1]]).tolist()
        self._half, self._sizes = half.tolist(), sizes.tolist()
        self._range, self._offset = range_.tolist(), offset.tolist()
        self._shift = np.tan(offset / range_).tolist()

    def bounded(self, x: Tensor) -> Tensor:
        """Bound numbers so that they round to L levels from -floor(L / 2)."""
        if self.are_bits:
            return x
        half, offset, shift = (
            ops.convert_to_tensor(one, x.dtype)
            for one in (self._range, self._offset, self._shift)
        )
        return ops.tanh(x + shift) * half - offset

    def digits(self, soft: Tensor) -> Tensor:
        """Return the level of each number, int32; NaN counts as 0."""
        if self.are_bits:
            return ops.cast(soft > 0, "int32")
        soft = ops.where(ops.isnan(soft), 0.0, soft)
        half, sizes = _int32(self._half), _int32(self._sizes)
        digits = ops.cast(ops.round(soft), "int32") + half
        # A user's noise may go beyond the levels.
        return ops.clip(digits, 0, sizes - 1)

    def shown(self, digits: Tensor, soft: Tensor, bad: Tensor) -> Tensor:
        """Return the values of digits, with the gradient of `soft`."""
        half = 1 if self.are_bits else self._half
        scaled = soft / ops.convert_to_tensor(half, soft.dtype)
        values = ops.cast(self._of_digits(digits), soft.dtype)
        return straight_through(numerics.nan_unless(~bad, values), scaled)

    def numbers(self, digits: Tensor, x: Tensor) -> Tensor:
        """Join digits to one integer, the first counting least; -1 for NaN."""
        codes = ops.sum(digits * _int32(self._place), axis=-1)
        return ops.where(ops.any(ops.isnan(x), axis=-1), -1, codes)

    def of_numbers(self, codes: Tensor) -> Tensor:
        """Return the values of such integers, NaN out of range."""
        codes = ops.expand_dims(ops.cast(codes, "int32"), -1)
        known = (codes >= 0) & (codes < math.prod(self._sizes))
        inside = ops.where(known, codes, 0)
        digits = ops.floor_divide(inside, _int32(self._place))
        digits = ops.mod(digits, _int32(self._sizes))
        return numerics.nan_unless(known, self._of_digits(digits))

    def _of_digits(self, digits: Tensor) -> Tensor:
        # torch's exporter can look up rows, but no numbers.
        values = ops.convert_to_tensor(self._values, "float32")[:, None]
        place = digits + _int32(self._first)
        return ops.squeeze(ops.take(values, place, axis=0), -1)


def _int32(numbers: list[int]) -> Tensor:
    return ops.convert_to_tensor(numbers, "int32")
