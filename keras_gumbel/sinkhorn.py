"""Sinkhorn's alternating normalisation in logarithms, and its gradient.

    X = x / temperature
    num_iterations times:
        X_ij -= log(sum_j exp(X_ij)),  X_ij -= log(sum_i exp(X_ij))

What is subtracted is a number for each row and one for each column, so that
all of X's way is known from `x` and these: no matrix is kept. For inside a
compiled program alone.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_gumbel import formulas
from keras_gumbel._typing import Tensor
from keras_gumbel.formulas import FORBIDDEN

_ROW, _COLUMN = -1, -2  # the axis to sum over


class Sums(NamedTuple):
    """The sums of exp(z / temperature) along an axis.

    exp((z - peak) / temperature) / total is what they normalise to. Where
    nothing is allowed it is 0: the peak is 0 there, and the total 1.
    """

    peak: Tensor
    total: Tensor

    def log(self, temperature: Tensor) -> Tensor:
        """temperature * log(sum(exp(z / temperature)))."""
        return self.peak + temperature * ops.log(self.total)

    def normalize(self, z: Tensor, temperature: Tensor) -> Tensor:
        """exp(z / temperature), divided by its sum."""
        return ops.exp((z - self.peak) / temperature) / self.total


class Path(NamedTuple):
    """The sums of every iteration, numbered along the first axis."""

    row: Sums
    column: Sums


def center(x: Tensor, num_iterations: int) -> Tensor:
    """`x` less the largest of each row, which changes nothing.

    Gaps that could add up beyond the largest number are cut to what cannot.
    """
    allowed = x != FORBIDDEN
    gap = ops.where(allowed, x - formulas.maximum(x, -1), 0.0)
    dtype = keras.backend.standardize_dtype(x.dtype)
    lowest = float(np.finfo(dtype).min) / (4 * num_iterations + 4)
    gap = ops.where(gap < lowest, lowest, gap)
    return ops.where(allowed, gap, FORBIDDEN)


def _sums(z: Tensor, temperature: Tensor, axis: int) -> Sums:
    peak = formulas.maximum(z, axis)
    peak = ops.where(peak == FORBIDDEN, 0.0, peak)
    weights = ops.exp((z - peak) / temperature)
    total = ops.sum(weights, axis=axis, keepdims=True)
    return Sums(peak, ops.where(total == 0.0, 1.0, total))


def balance(
    x: Tensor, temperature: Tensor, num_iterations: int
) -> tuple[Tensor, Path]:
    """The normalised matrices, and the way there.

    Columns sum to 1, rows nearly; where nothing is allowed, to 0.
    """
    lead = ops.shape(x)[:-2]
    size = ops.shape(x)[-1]
    row, column = (*lead, size, 1), (*lead, 1, size)

    def step(
        number: Tensor, log_columns: Tensor, *kept: Tensor
    ) -> tuple[Tensor, ...]:
        rows = _sums(x - log_columns, temperature, _ROW)
        columns = _sums(x - rows.log(temperature), temperature, _COLUMN)
        origin = (0,) * len(x.shape)
        kept = tuple(
            ops.slice_update(all_of_them, (number, *origin), new[None])
            for all_of_them, new in zip(kept, (*rows, *columns), strict=True)
        )
        return number + 1, columns.log(temperature), *kept

    start = (
        ops.cast(0, "int32"),
        ops.zeros(column, x.dtype),
        *(
            ops.zeros((num_iterations, *shape), x.dtype)
            for shape in (row, row, column, column)
        ),
    )
    _, _, *kept = ops.while_loop(
        lambda number, *_: number < num_iterations, step, start
    )
    path = Path(Sums(*kept[:2]), Sums(*kept[2:]))
    return _last(x, temperature, path), path


def _last(x: Tensor, temperature: Tensor, path: Path) -> Tensor:
    rows, columns = (Sums(*(kept[-1] for kept in sums)) for sums in path)
    return columns.normalize(x - rows.log(temperature), temperature)


def balance_vjp(
    x: Tensor, temperature: Tensor, dy: Tensor, path: Path
) -> tuple[Tensor, Tensor]:
    """Gradient `dy` at `balance(x, temperature)`, taken back to its arguments.

    A normalisation X' = X - log(sum(exp(X))) has the transpose
    dX = dX' - exp(X') sum(dX').

    Returns:
        The gradient to `x`, and each entry's part of that to `temperature`.
    """
    y = _last(x, temperature, path)
    # An infinite gradient at an entry that is 0 (a log) must not become NaN.
    d = ops.where(y != 0.0, y * dy, 0.0)
    log_rows = path.row.log(temperature)
    after = path.column.log(temperature)
    log_columns = ops.concatenate([ops.zeros_like(after[:1]), after[:-1]])

    def step(number: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        number = number - 1
        for sums, logs, axis in (
            (path.column, log_rows, _COLUMN),
            (path.row, log_columns, _ROW),
        ):
            here = Sums(*(kept[number] for kept in sums))
            share = here.normalize(x - logs[number], temperature)
            d = d - share * formulas.sum_in_lanes(d, len(d.shape) + axis)
        return number, d

    number = ops.shape(after)[0]
    _, d = ops.while_loop(lambda number, _: number > 0, step, (number, d))
    dx = d / temperature
    parts = ops.where(x == FORBIDDEN, 0.0, -dx * x / temperature)
    return dx, parts
