"""Sinkhorn's alternating normalisation in logarithms, and its gradient.

    X = x / temperature
    num_iterations times:
        X_ij -= log(sum_j exp(X_ij)),  X_ij -= log(sum_i exp(X_ij))

With more columns than rows, m > n, we normalise a square matrix whose last
m - n rows are all zeros. These stay equal to each other, so one row stands for
them: it is normalised to m - n (`with_spare_row`).

Each step subtracts one number per row or per column. `x` and these numbers give
X at every step, so we store no matrix. Inside a compiled program only.
"""

import math
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics import FORBIDDEN

# If rows are no longer than this, sums go over whole batches of entries, where
# compilers vectorise more than in a row.
_SHORT_ROW = 32


class Matrices(NamedTuple):
    """The matrices to normalise, and the temperature.

    x: (batch, n, m), or (n, m, batch) where m is small.
    temperature: one number, or the shape of `x` with 1 for n and for m.
    across, down: the axes along a row and along a column.
    weight: the sum that each row is to have, in the shape of `x` with 1 for m;
        None if all are 1.
    """

    x: Tensor
    temperature: Tensor
    across: int
    down: int
    weight: Tensor | None = None


class Sums(NamedTuple):
    """The sums of exp(z / temperature) along an axis.

    They normalise it to exp((z - peak) / temperature) / total. If nothing is
    allowed, that is 0: the peak is a large negative number, and the total 1.
    """

    peak: Tensor
    total: Tensor

    def log(self, temperature: Tensor) -> Tensor:
        """Return temperature * log(sum(exp(z / temperature)))."""
        return self.peak + temperature * ops.log(self.total)

    def normalize(self, z: Tensor, temperature: Tensor) -> Tensor:
        """Return exp(z / temperature), divided by its sum."""
        return ops.exp((z - self.peak) / temperature) / self.total


class Path(NamedTuple):
    """The sums of every iteration, numbered along the first axis."""

    row: Sums
    column: Sums


def with_spare_row(
    x: Tensor, wide: Tensor | bool
) -> tuple[Tensor, Tensor | None]:
    """Add a row for the columns that stay without one, if `wide`.

    Rows and columns in which nothing is allowed do not count.

    Returns:
        (..., n + 1, m), and the sum that each row is to have, (..., n + 1, 1).
    """
    if wide is False:
        return x, None
    allowed = x > FORBIDDEN
    rows, columns = (
        ops.any(allowed, axis=axis, keepdims=True) for axis in (-1, -2)
    )
    spare = ops.sum(ops.cast(columns, x.dtype), axis=-1, keepdims=True)
    ones = ops.ones_like(rows, x.dtype)
    spare = spare - ops.sum(ops.cast(rows, x.dtype), axis=-2, keepdims=True)
    some = ops.logical_and(spare > 0, wide)
    row = ops.where(columns & some, ops.cast(0.0, x.dtype), FORBIDDEN)
    spare = ops.where(some, spare, ops.cast(1.0, x.dtype))
    return (
        ops.concatenate([x, row], axis=-2),
        ops.concatenate([ones, spare], axis=-2),
    )


def arrange(
    x: Tensor,
    temperature: Tensor,
    num_iterations: int,
    weight: Tensor | None = None,
) -> Matrices:
    """Return matrices (..., n, m), less the largest entry of each row.

    That does not change the normalised matrices. Gaps that could add up beyond
    the largest number are cut, so that they cannot.
    """
    gap = x - _finite(numerics.maximum(x, -1))
    gap = backend.maximum(gap, _lowest(x) / (16 * num_iterations + 16))
    if len(temperature.shape):
        goal = (*ops.shape(x)[:-2], 1, 1)
        temperature = _pack(ops.broadcast_to(temperature, goal), _is_small(x))
    packed = _pack(ops.where(x <= FORBIDDEN, FORBIDDEN, gap), _is_small(x))
    across, down = (1, 0) if _is_small(x) else (2, 1)
    if weight is not None:
        weight = _pack(weight, _is_small(x))
    return Matrices(packed, temperature, across, down, weight)


def _lowest(x: Tensor) -> float:
    return float(np.finfo(keras.backend.standardize_dtype(x.dtype)).min)


def _finite(peak: Tensor) -> Tensor:
    """Return the peak, or a large negative number if all is forbidden.

    It is far from the lowest number, which LiteRT has for -inf. We use a
    maximum: for ONNX a `where` becomes a product, of infinity with 0.
    """
    return backend.maximum(peak, _lowest(peak) / 4)


def _is_small(x: Tensor) -> bool:
    size = backend.static_shape(x)[-1]
    return size is not None and size <= _SHORT_ROW


def pack(x: Tensor, like: Tensor, matrices: Matrices) -> Tensor:
    """Arrange (..., n, m) as `matrices`, which `arrange` made of `like`.

    More sizes of `like` may be known. A spare row is 0.
    """
    if matrices.weight is not None:
        x = ops.concatenate([x, ops.zeros_like(x[..., :1, :])], axis=-2)
    return _pack(x, _is_small(like))


def _pack(x: Tensor, small: bool) -> Tensor:
    shape = ops.shape(x)
    count = math.prod(shape[:-2])
    x = ops.reshape(x, (count, *shape[-2:]))
    return ops.transpose(x, (1, 2, 0)) if small else x


def restore(y: Tensor, like: Tensor, matrices: Matrices) -> Tensor:
    """Return `y`, arranged as `matrices`, in its shape before `arrange`.

    Drop the spare row.
    """
    if _is_small(like):
        y = ops.transpose(y, (2, 0, 1))
    shape = ops.shape(like)
    if matrices.weight is not None:
        y = y[:, : shape[-2]]
    return ops.reshape(y, shape)


def _sums(z: Tensor, temperature: Tensor, axis: int) -> Sums:
    peak = _finite(numerics.maximum(z, axis))
    weights = ops.exp((z - peak) / temperature)
    total = ops.sum(weights, axis=axis, keepdims=True)
    return Sums(peak, ops.where(total == 0.0, 1.0, total))


def _sums_of_rows(z: Tensor, matrices: Matrices) -> Sums:
    """Return the sums that normalise rows to their weights."""
    sums = _sums(z, matrices.temperature, matrices.across)
    if matrices.weight is None:
        return sums
    return Sums(sums.peak, sums.total / matrices.weight)


def balance(matrices: Matrices, num_iterations: int) -> tuple[Tensor, Path]:
    """Return the normalised matrices, and the way there.

    Columns sum to 1, rows nearly to their weights; where nothing is allowed,
    to 0.
    """
    kept = path(matrices, num_iterations)
    way = Path(Sums(*kept[:2]), Sums(*kept[2:]))
    return _last(matrices, way), way


@backend.native
def path(matrices: Matrices, num_iterations: int) -> Tensors:
    """Return peaks and totals of rows and of columns, in every iteration."""
    x, temperature, across, down, _ = matrices
    one_a_row, one_a_column = (
        ops.zeros_like(numerics.maximum(x, axis)) for axis in (across, down)
    )

    def step(number: Tensor, log_columns: Tensor, *kept: Tensor) -> Tensors:
        rows = _sums_of_rows(x - log_columns, matrices)
        columns = _sums(x - rows.log(temperature), temperature, down)
        kept = tuple(
            backend.with_rows(every, number, new[None])
            for every, new in zip(kept, (*rows, *columns), strict=True)
        )
        return columns.log(temperature), *kept

    kept = (
        ops.zeros((num_iterations, *ops.shape(like)), x.dtype)
        for like in (one_a_row, one_a_row, one_a_column, one_a_column)
    )
    return backend.loop(num_iterations, step, (one_a_column, *kept))[1:]


def unrolled(matrices: Matrices, num_iterations: int) -> Tensor:
    """Return the normalised matrices alone, without a loop."""
    x, temperature, _, down, _ = matrices
    z = x
    for _ in range(num_iterations):
        rows = _sums_of_rows(z, matrices)
        columns = _sums(x - rows.log(temperature), temperature, down)
        z = x - columns.log(temperature)
    return columns.normalize(x - rows.log(temperature), temperature)


def _last(matrices: Matrices, path: Path) -> Tensor:
    x, temperature, *_ = matrices
    rows, columns = (Sums(*(kept[-1] for kept in sums)) for sums in path)
    return columns.normalize(x - rows.log(temperature), temperature)


def balance_vjp(
    matrices: Matrices, dy: Tensor, path: Path
) -> tuple[Tensor, Tensor]:
    """Take gradient `dy` at the normalised matrices back to the arguments.

    A normalisation X' = X - log(sum(exp(X)) / weight) has the transpose
    dX = dX' - exp(X') sum(dX') / weight.

    Returns:
        The gradient to `x`, and each entry's part of `temperature`'s.
    """
    x, temperature, across, down, weight = matrices
    y = _last(matrices, path)
    # An infinite gradient at an entry that is 0 (a log) must not become NaN.
    d = ops.where(y != 0.0, y * dy, 0.0)
    log_rows = path.row.log(temperature)
    after = path.column.log(temperature)
    log_columns = ops.concatenate([ops.zeros_like(after[:1]), after[:-1]])

    count = ops.shape(after)[0]

    def step(number: Tensor, d: Tensor) -> Tensors:
        number = count - 1 - number
        for sums, logs, axis in (
            (path.column, log_rows, down),
            (path.row, log_columns, across),
        ):
            here = Sums(*(kept[number] for kept in sums))
            share = here.normalize(x - logs[number], temperature)
            if weight is not None and axis == across:
                share = share / weight
            d = d - share * numerics.sum_in_lanes(d, axis)
        return (d,)

    (d,) = backend.loop(count, step, (d,))
    dx = d / temperature
    parts = ops.where(x == FORBIDDEN, 0.0, -dx * x / temperature)
    return dx, parts
