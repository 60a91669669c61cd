"""The best assignment of each row to a column, batched and exact.

Shortest augmenting paths, after Crouse, "On implementing 2D rectangular
assignment algorithms", 2016, https://doi.org/10.1109/TAES.2016.140952, in
loops that a compiler takes: the matrices of a batch search side by side, each
at its own place. Inside a compiled program only.

Costs are float64, in which sums of float32 numbers of like size are exact.
Every column j has a price v_j such that no column is nearer to an assigned
row i, by cost_ij - v_j, than its own. Of columns without an owner none has a
lower price than an owned one has: where some stay so, with more columns than
rows, all prices begin at 0. Rows first bid for columns, all at once
(`_bid`); then each row that is left over is let in along the shortest path to
a free column, on which every row moves to the next column (`_step`).
"""

from typing import NamedTuple

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics import FORBIDDEN
from keras_gumbel.numerics.sizes import whole

_FAR = float("inf")
_NONE = -1
# Of float64 scores up to the largest, not even n**2 of them overflow.
_SCALE = 2.0**-40
# A round reads whole matrices, a step of a search one row of each.
_ROUNDS = 4


def best_columns(scores: Tensor) -> Tensor:
    """The column of each row: most pairs, and of these the largest sum.

    Args:
        scores: (batch, n, m), n <= m, of numbers, or -inf for a pair that may
            not be.

    Returns:
        int32 (batch, n), -1 for a row without a partner.
    """
    costs, allowed = _costs(scores)
    owners = search(costs, *_bids(costs))
    rows, columns = _numbers(costs, -2), _numbers(costs, -1)
    mine = ops.logical_and(owners[:, None, :] == rows[:, None], allowed)
    column = ops.sum(ops.where(mine, columns + 1, 0), axis=-1)
    return column + _NONE


def _numbers(x: Tensor, axis: int) -> Tensor:
    return ops.arange(ops.shape(x)[axis], dtype="int32")


def _costs(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Costs >= 0, and which pairs may be.

    One that may not costs more than n others can: fewer of them is better.
    """
    allowed = scores != FORBIDDEN
    x = ops.cast(ops.where(allowed, scores, 0.0), "float64") * _SCALE
    matrix = {"axis": (-2, -1), "keepdims": True}
    top = backend.max(ops.where(allowed, x, -_FAR), **matrix, initial=-_FAR)
    low = backend.min(ops.where(allowed, x, _FAR), **matrix, initial=_FAR)
    size = ops.cast(ops.shape(scores)[-1] + 1, "float64")
    price = ops.where(top > low, size * (top - low), 1.0)
    return ops.where(allowed, top - x, price), allowed


def _first(where: Tensor, numbers: Tensor, axis: int) -> Tensor:
    """The smallest of the `numbers` that are marked; their count if none is."""
    size = ops.cast(ops.shape(where)[axis], "int32")
    marked = ops.where(where, numbers, size)
    return backend.min(marked, axis=axis, initial=2**31 - 1)


def _bids(costs: Tensor) -> tuple[Tensor, Tensor]:
    """Prices, and the owner of each column, -1 for none, after some rounds."""
    wide = ops.shape(costs)[-2] < ops.shape(costs)[-1]
    prices = backend.min(costs, axis=1, initial=_FAR)
    prices = ops.where(wide, 0.0, prices)
    owners = ops.full(ops.shape(prices), _NONE, "int32")

    def more(number: Tensor, prices: Tensor, owners: Tensor) -> Tensor:
        del prices
        return (number < _ROUNDS) & ops.any(_free(owners, costs))

    def body(number: Tensor, *state: Tensor) -> Tensors:
        return number + 1, *_bid(costs, *state)

    _, prices, owners = ops.while_loop(more, body, (0, prices, owners))
    return prices, owners


def _bid(
    costs: Tensor, prices: Tensor, owners: Tensor
) -> tuple[Tensor, Tensor]:
    """Free rows bid for their nearest columns; the highest bid has it.

    A bid is how much farther the second nearest is. By so much the price
    falls, so that the new owner is as near to both, and nobody is nearer.
    """
    rows, columns = _numbers(costs, -2), _numbers(costs, -1)
    distance = costs - prices[:, None, :]
    nearest = backend.min(distance, axis=-1, keepdims=True, initial=_FAR)
    column = _first(distance == nearest, columns, -1)
    wanted = columns == column[..., None]
    second = backend.min(
        ops.where(wanted, _FAR, distance), axis=-1, initial=_FAR
    )
    bid = ops.where(_free(owners, costs), second - nearest[..., 0], -1.0)[..., None]
    bids = ops.where(wanted & (bid >= 0), bid, -1.0)
    highest = backend.max(bids, axis=1, initial=-1.0)
    row = _first(bids == highest[:, None, :], rows[:, None], 1)
    sold = highest >= 0
    # With one column there is no second.
    fall = ops.where(sold & (highest < _FAR), highest, 0.0)
    return prices - fall, ops.where(sold, row, owners)


def _free(owners: Tensor, costs: Tensor) -> Tensor:
    """Which rows have no column yet."""
    rows = _numbers(costs, -2)
    return ops.all(owners[:, None, :] != rows[:, None], axis=-1)


class _State(NamedTuple):
    """Where the search in each matrix of the batch is.

    start: (batch,) the row that looks for a column; n when all have one.
    row: (batch,) the row to look from.
    column: (batch,) the column that it owns; -1 at the start.
    length: (batch,) of the path to here.
    prices, owners: (batch, m) of the columns.
    distances: (batch, m) from the start, as far as is known.
    previous: (batch, m) the column before on that path; -1 for the start.
    final: (batch, m) whether a distance is the shortest.
    """

    start: Tensor
    row: Tensor
    column: Tensor
    length: Tensor
    prices: Tensor
    owners: Tensor
    distances: Tensor
    previous: Tensor
    final: Tensor


@backend.native
def search(costs: Tensor, prices: Tensor, owners: Tensor) -> Tensor:
    """The owners of the columns once every row has one."""
    rows, free = _numbers(costs, -2), _free(owners, costs)
    start = _first(free, rows, -1)
    later = free[:, None, :] & (rows > rows[:, None])
    following = _first(later, rows, -1)
    none = ops.full(ops.shape(owners), _NONE, "int32")
    state = _State(
        start=start,
        row=start,
        column=ops.full(ops.shape(start), _NONE, "int32"),
        length=ops.zeros(ops.shape(start), "float64"),
        prices=prices,
        owners=owners,
        distances=ops.full(ops.shape(owners), _FAR, "float64"),
        previous=none,
        final=none != _NONE,
    )

    def unfinished(*state: Tensor) -> Tensor:
        start = _State(*state).start
        return ops.any(start < ops.cast(ops.shape(costs)[-2], "int32"))

    def body(*state: Tensor) -> Tensors:
        return tuple(_step(costs, following, _State(*state)))

    return _State(*ops.while_loop(unfinished, body, tuple(state))).owners


def _step(costs: Tensor, following: Tensor, at: _State) -> _State:
    """Look from one row in each matrix, and go to the nearest column.

    Where that is free, the row at the start is let in, and the row that is
    `following` it among those left over looks for one.
    """
    numbers = _numbers(costs, -1)
    count, size = (ops.cast(n, "int32") for n in ops.shape(costs)[-2:])
    distances, previous = _look(costs, at)
    left = ops.where(at.final, _FAR, distances)
    length = backend.min(left, axis=-1, initial=_FAR)
    # Of columns equally near, a free one first.
    rank = ops.where(at.owners == _NONE, numbers, numbers + size)
    rank = ops.where(left == length[:, None], rank, 2 * size)
    rank = backend.min(rank, axis=-1, initial=2**31 - 1)
    column = rank % size
    found = (at.start < count) & (rank < size)
    done = found[:, None]
    shorter = ops.where(at.final, distances - length[:, None], 0.0)
    start = ops.where(found, _pick(following, at.start), at.start)
    return _State(
        start=start,
        row=ops.where(found, start, _pick(at.owners, column)),
        column=ops.where(found, _NONE, column),
        length=ops.where(found, 0.0, length),
        prices=ops.where(done, at.prices + shorter, at.prices),
        owners=_let_in(at, previous, column, found),
        distances=ops.where(done, _FAR, distances),
        previous=previous,
        final=~done & (at.final | (numbers == column[:, None])),
    )


def _look(costs: Tensor, at: _State) -> tuple[Tensor, Tensor]:
    """Distances by way of `row`, where these are shorter, and whence."""
    matrices, count, size = map(whole, ops.shape(costs))
    row = ops.arange(matrices, dtype="int32") * count
    row = row + backend.minimum(at.row, count - 1)
    # Of all the entries there may be more than an int32 can count.
    entry = ops.cast(row, "int64") * ops.cast(size, "int64")
    entry = entry + ops.cast(backend.maximum(at.column, 0), "int64")
    # What is behind: the path to the row's own column, less the last leg.
    own = ops.take(ops.reshape(costs, (-1,)), entry)
    own = own - _pick(at.prices, at.column)
    behind = ops.where(at.column == _NONE, 0.0, at.length - own)
    ahead = ops.take(ops.reshape(costs, (-1, size)), row, axis=0) - at.prices
    distance = ahead + behind[:, None]
    nearer = (distance < at.distances) & ~at.final
    return (
        ops.where(nearer, distance, at.distances),
        ops.where(nearer, at.column[:, None], at.previous),
    )


def _let_in(
    at: _State, previous: Tensor, column: Tensor, found: Tensor
) -> Tensor:
    """The owners after each row on the path took the next column."""
    numbers = _numbers(previous, -1)

    def body(going: Tensor, column: Tensor, owners: Tensor) -> Tensors:
        before = _pick(previous, column)
        owner = ops.where(before == _NONE, at.start, _pick(owners, before))
        here = ops.where(going, column, _NONE)[:, None] == numbers
        owners = ops.where(here, owner[:, None], owners)
        return going & (before != _NONE), before, owners

    state = (found, column, at.owners)
    return ops.while_loop(lambda going, *_: ops.any(going), body, state)[2]


def _pick(x: Tensor, column: Tensor) -> Tensor:
    """One entry of each row of `x`, any where the column is none of its."""
    rows, size = map(whole, ops.shape(x))
    place = ops.arange(rows, dtype="int32") * size
    place = place + ops.clip(column, 0, size - 1)
    return ops.take(ops.reshape(x, (-1,)), place)
