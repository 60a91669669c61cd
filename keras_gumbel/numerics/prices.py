"""Prices of columns that the search for an assignment begins with.

Every column j has a price v_j, and some have an owner, such that no column is
nearer to the owner i, by cost_ij - v_j, than its own. The nearer the prices are
to the best assignment's, the fewer rows are left without a column, and the
shorter is the way to one. A search may begin with any of these:

    by_bids      a few rounds of an auction: good where costs differ by chance
    by_order     rows and columns sorted by two vectors whose outer product is
                 nearly the costs
    by_sinkhorn  the normalisation of exp(-cost / t), as t falls

The last two need as many columns as rows.
"""

from typing import NamedTuple

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor, Tensors

FAR = float("inf")
NONE = -1
# A round reads whole matrices, a step of a search one row of each.
_ROUNDS = 4
# First and last, in the costs' standard deviations.
_TEMPERATURES = 0.3, 0.01
_ITERATIONS = 24


class Start(NamedTuple):
    """Prices (batch, m) and owners, -1 for a column that has none."""

    prices: Tensor
    owners: Tensor

    def free(self, costs: Tensor) -> Tensor:
        """Return which rows (batch, n) have no column yet."""
        rows = numbers(costs, -2)
        return ops.all(self.owners[:, None, :] != rows[:, None], axis=-1)

    def left(self, costs: Tensor) -> Tensor:
        """Return how many rows have no column yet, (batch,)."""
        return ops.sum(ops.cast(self.free(costs), "int32"), axis=-1)


def numbers(x: Tensor, axis: int) -> Tensor:
    """Return 0, 1, ... along an axis."""
    return ops.arange(ops.shape(x)[axis], dtype="int32")


def first(where: Tensor, numbers: Tensor, axis: int) -> Tensor:
    """Return the smallest of the marked `numbers`; their count if none is."""
    size = ops.cast(ops.shape(where)[axis], "int32")
    marked = ops.where(where, numbers, size)
    return backend.min(marked, axis=axis, initial=2**31 - 1)


def by_bids(costs: Tensor, prices: Tensor) -> Start:
    """Let rows without a column bid for one, all at once, a few times."""
    owners = ops.full(ops.shape(prices), NONE, "int32")

    def more(number: Tensor, *start: Tensor) -> Tensor:
        return (number < _ROUNDS) & ops.any(Start(*start).free(costs))

    def body(number: Tensor, *start: Tensor) -> Tensors:
        return number + 1, *_bid(costs, Start(*start))

    _, *found = ops.while_loop(more, body, (0, prices, owners))
    return Start(*found)


def _bid(costs: Tensor, start: Start) -> Start:
    """Let free rows bid for their nearest columns; the highest bid has it.

    A bid is how much farther the second nearest is. The price falls by that
    much, so that the new owner is as near to both, and nobody is nearer.
    """
    rows, columns = numbers(costs, -2), numbers(costs, -1)
    distance = costs - start.prices[:, None, :]
    nearest = backend.min(distance, axis=-1, keepdims=True, initial=FAR)
    column = first(distance == nearest, columns, -1)
    wanted = columns == column[..., None]
    second = backend.min(ops.where(wanted, FAR, distance), axis=-1, initial=FAR)
    bid = ops.where(start.free(costs), second - nearest[..., 0], -1.0)
    bids = ops.where(wanted & (bid >= 0)[..., None], bid[..., None], -1.0)
    highest = backend.max(bids, axis=1, initial=-1.0)
    row = first(bids == highest[:, None, :], rows[:, None], 1)
    sold = highest >= 0
    # With one column there is no second.
    fall = ops.where(sold & (highest < FAR), highest, 0.0)
    return Start(start.prices - fall, ops.where(sold, row, start.owners))


def by_order(costs: Tensor) -> Start:
    """Match rows and columns in order, at prices that prove it if it is best.

    If cost_ij = a_i b_j, the best assignment matches the rows by increasing a
    to the columns by decreasing b. Let i follow h and j follow k in that order.
    Neither h nor i is nearer to the other's column if

        cost_ij - cost_ik <= v_j - v_k <= cost_hj - cost_hk

    and for such a product (or any matrix with Monge's property) prices that
    satisfy this for neighbours do so for all. Ours are in the middle. If a row
    is nearer to another column, it is left without.
    """
    rows, columns, place = _sorted(costs)
    count = ops.shape(costs)[-2]
    columns = columns[:, :count]
    here = _entries(costs, rows, columns)
    up = _entries(costs, rows[:, :-1], columns[:, 1:]) - here[:, :-1]
    low = here[:, 1:] - _entries(costs, rows[:, 1:], columns[:, :-1])
    rise = ops.cumsum((up + low) / 2, axis=-1)
    price = ops.concatenate([ops.zeros_like(here[:, :1]), rise], axis=-1)
    inside = backend.minimum(place, ops.cast(count, "int32") - 1)
    prices = backend.take_along_axis(price, inside, axis=-1)
    nearest = backend.min(costs - prices[:, None, :], axis=-1, initial=FAR)
    nearest = backend.take_along_axis(nearest, rows, axis=-1)
    owner = ops.where(here - price <= nearest, rows, NONE)
    owners = backend.take_along_axis(owner, inside, axis=-1)
    return Start(prices, ops.where(place == inside, owners, NONE))


def _sorted(costs: Tensor) -> Tensors:
    """Return the rows and the columns in order, and each column's place."""
    x = costs - ops.mean(costs, axis=-1, keepdims=True)
    x = x - ops.mean(x, axis=-2, keepdims=True)
    size = ops.abs(x)
    scale = backend.max(size, axis=(-2, -1), keepdims=True, initial=0.0)
    x = x / ops.where(scale > 0, scale, 1.0)
    # Any row is a multiple of the second vector; rounding changes the largest
    # least.
    _, row = backend.top_k(ops.sum(size, axis=-1), 1)
    vector = backend.take_along_axis(x, row[:, None], axis=1)
    rows = _order(ops.sum(x * vector, axis=-1))
    columns = _order(-vector[:, 0])
    return rows, columns, _order(ops.cast(columns, x.dtype))


def _order(x: Tensor) -> Tensor:
    """Return places from the lowest number on, of ties the first, int32."""
    return ops.cast(backend.top_k(-x, ops.shape(x)[-1])[1], "int32")


def _entries(costs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return costs[b, rows[b, k], columns[b, k]]."""
    here = backend.take_along_axis(costs, rows[..., None], axis=1)
    return backend.take_along_axis(here, columns[..., None], axis=2)[..., 0]


def by_sinkhorn(costs: Tensor) -> Tensor:
    """Return prices of the relaxed assignment, (batch, m), as its t falls.

    In float32 and units of the costs' standard deviation: prices may be any.
    """
    low = backend.min(costs, axis=-1, keepdims=True, initial=FAR)
    unit = ops.std(costs, axis=(-2, -1), keepdims=True)
    unit = ops.where(unit > 0, unit, 1.0)
    x = ops.cast((costs - low) / unit, "float32")
    high, lowest = _TEMPERATURES
    ratio = (lowest / high) ** (1 / (_ITERATIONS - 1))

    def logs(x: Tensor, temperature: Tensor, axis: int) -> Tensor:
        peak = backend.min(x, axis=axis, keepdims=True, initial=FAR)
        total = ops.sum(
            ops.exp((peak - x) / temperature), axis=axis, keepdims=True
        )
        return peak - temperature * ops.log(total)

    def body(_: Tensor, temperature: Tensor, prices: Tensor) -> Tensors:
        of_rows = logs(x - prices, temperature, -1)
        prices = logs(x - of_rows, temperature, -2)
        return temperature * ratio, prices

    start = (ops.cast(high, "float32"), ops.zeros_like(x[:, :1]))
    _, prices = backend.loop(_ITERATIONS, body, start)
    return (ops.cast(prices, "float64") * unit)[:, 0]
