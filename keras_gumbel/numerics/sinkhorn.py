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

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics import FORBIDDEN
from keras_gumbel.numerics.sizes import product

# Below this size of a matrix, sums go over whole batches of entries, in which
# compilers find more to vectorise than in a row.
_SHORT_ROW = 32


class Matrices(NamedTuple):
    """The matrices to normalise, and the temperature.

    x: (m, n, n), or (n, n, m) where n is small.
    temperature: one number, or of that shape with 1 for each n.
    across, down: the axes along a row and along a column.
    """

    x: Tensor
    temperature: Tensor
    across: int
    down: int


class Sums(NamedTuple):
    """The sums of exp(z / temperature) along an axis.

    exp((z - peak) / temperature) / total is what they normalise to. Where
    nothing is allowed it is 0: the peak is a large negative number there, and
    the total 1.
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


def arrange(x: Tensor, temperature: Tensor, num_iterations: int) -> Matrices:
    """Matrices (..., n, n), less the largest of each row.

    That changes nothing of what they normalise to. Gaps that could add up
    beyond the largest number are cut to what cannot.
    """
    gap = x - _finite(numerics.maximum(x, -1))
    gap = backend.maximum(gap, _lowest(x) / (16 * num_iterations + 16))
    if len(temperature.shape):
        goal = (*ops.shape(x)[:-2], 1, 1)
        temperature = _pack(ops.broadcast_to(temperature, goal), _is_small(x))
    packed = pack(ops.where(x <= FORBIDDEN, FORBIDDEN, gap), x)
    across, down = (1, 0) if _is_small(x) else (2, 1)
    return Matrices(packed, temperature, across, down)


def _lowest(x: Tensor) -> float:
    return float(np.finfo(keras.backend.standardize_dtype(x.dtype)).min)


def _finite(peak: Tensor) -> Tensor:
    """The peak of what may all be forbidden, and then any number does.

    Far from the lowest, as which LiteRT is given -inf. By a maximum: for
    ONNX a `where` becomes a product, of infinity with 0.
    """
    return backend.maximum(peak, _lowest(peak) / 4)


def _is_small(x: Tensor) -> bool:
    size = x.shape[-1]
    return size is not None and size <= _SHORT_ROW


def pack(x: Tensor, like: Tensor) -> Tensor:
    """(..., n, n) as `arrange` has `like`, of which more sizes may be known."""
    return _pack(x, _is_small(like))


def _pack(x: Tensor, small: bool) -> Tensor:
    shape = ops.shape(x)
    count = product(shape[:-2])
    x = ops.reshape(x, (count, *shape[-2:]))
    return ops.transpose(x, (1, 2, 0)) if small else x


def restore(y: Tensor, like: Tensor) -> Tensor:
    """`y` of `Matrices`, in the shape that they had."""
    if _is_small(like):
        y = ops.transpose(y, (2, 0, 1))
    return ops.reshape(y, ops.shape(like))


def _sums(z: Tensor, temperature: Tensor, axis: int) -> Sums:
    peak = _finite(numerics.maximum(z, axis))
    weights = ops.exp((z - peak) / temperature)
    total = ops.sum(weights, axis=axis, keepdims=True)
    return Sums(peak, ops.where(total == 0.0, 1.0, total))


def balance(matrices: Matrices, num_iterations: int) -> tuple[Tensor, Path]:
    """The normalised matrices, and the way there.

    Columns sum to 1, rows nearly; where nothing is allowed, to 0.
    """
    kept = path(matrices, num_iterations)
    way = Path(Sums(*kept[:2]), Sums(*kept[2:]))
    return _last(matrices, way), way


@backend.native
def path(matrices: Matrices, num_iterations: int) -> Tensors:
    """Peaks and totals of the rows and of the columns, in every iteration."""
    x, temperature, across, down = matrices
    one_a_row, one_a_column = (
        ops.zeros_like(numerics.maximum(x, axis)) for axis in (across, down)
    )

    def step(number: Tensor, log_columns: Tensor, *kept: Tensor) -> Tensors:
        rows = _sums(x - log_columns, temperature, across)
        columns = _sums(x - rows.log(temperature), temperature, down)
        kept = tuple(
            backend.with_rows(every, number, new[None])
            for every, new in zip(kept, (*rows, *columns), strict=True)
        )
        return number + 1, columns.log(temperature), *kept

    kept = (
        ops.zeros((num_iterations, *ops.shape(like)), x.dtype)
        for like in (one_a_row, one_a_row, one_a_column, one_a_column)
    )
    _, _, *found = ops.while_loop(
        lambda number, *_: number < num_iterations,
        step,
        (ops.cast(0, "int32"), one_a_column, *kept),
    )
    return tuple(found)


def unrolled(matrices: Matrices, num_iterations: int) -> Tensor:
    """The normalised matrices alone, without a loop."""
    x, temperature, across, down = matrices
    z = x
    for _ in range(num_iterations):
        rows = _sums(z, temperature, across)
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
    """Gradient `dy` at the normalised matrices, taken back to the arguments.

    A normalisation X' = X - log(sum(exp(X))) has the transpose
    dX = dX' - exp(X') sum(dX').

    Returns:
        The gradient to `x`, and each entry's part of that to `temperature`.
    """
    x, temperature, across, down = matrices
    y = _last(matrices, path)
    # An infinite gradient at an entry that is 0 (a log) must not become NaN.
    d = ops.where(y != 0.0, y * dy, 0.0)
    log_rows = path.row.log(temperature)
    after = path.column.log(temperature)
    log_columns = ops.concatenate([ops.zeros_like(after[:1]), after[:-1]])

    def step(number: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        number = number - 1
        for sums, logs, axis in (
            (path.column, log_rows, down),
            (path.row, log_columns, across),
        ):
            here = Sums(*(kept[number] for kept in sums))
            share = here.normalize(x - logs[number], temperature)
            d = d - share * numerics.sum_in_lanes(d, axis)
        return number, d

    number = ops.shape(after)[0]
    _, d = ops.while_loop(lambda number, _: number > 0, step, (number, d))
    dx = d / temperature
    parts = ops.where(x == FORBIDDEN, 0.0, -dx * x / temperature)
    return dx, parts
