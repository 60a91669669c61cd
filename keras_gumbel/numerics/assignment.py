"""The best assignment of each row to a column, batched and exact.

Shortest augmenting paths, after Crouse, "On implementing 2D rectangular
assignment algorithms", 2016, https://doi.org/10.1109/TAES.2016.140952, in
loops that compile: the matrices of a batch search side by side, each at its
own place. Inside a compiled program only.

Costs are float64, in which sums of float32 numbers of like size are exact.
Every column j has a price v_j such that no column is nearer to an assigned
row i, by cost_ij - v_j, than its own. No column without an owner has a lower
price than an owned one. So if some stay without, with more columns than rows,
all prices begin at 0. Rows first bid for columns, all at once
(`prices.by_bids`). Then the search lets in each row that is left over, along
the shortest path to a free column: each row on the path moves to the next
column (`_step`). If all rows prefer the same columns, as when costs are an
outer product of two vectors, that path is long unless the prices are good:
`prices.py` finds better ones.
"""

from typing import NamedTuple

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics import FORBIDDEN
from keras_gumbel.numerics.prices import (
    FAR,
    NONE,
    Start,
    by_bids,
    by_order,
    by_sinkhorn,
    first,
    numbers,
)
from keras_gumbel.numerics.sizes import whole

# So scaled, not even n**2 of the largest float64 scores overflow.
_SCALE = 2.0**-40
# A search with more steps per row than this is a long one.
_STEPS = 6
_NO_END = 2**31 - 1
# A better start may make prices larger by this factor.
_GROWTH = 2.0**10


@backend.native
def best_columns(scores: Tensor) -> Tensor:
    """Return each row's column: most pairs, and then the largest sum.

    Args:
        scores: (batch, n, m), n <= m, of numbers, or -inf for a forbidden
            pair.

    Returns:
        int32 (batch, n), -1 for a row without a partner.
    """
    if not backend.has_numbers(scores):
        return ops.full(ops.shape(scores)[:-1], NONE, "int32")
    costs, allowed = _costs(scores)
    owners = _owners(costs)
    rows, columns = numbers(costs, -2), numbers(costs, -1)
    mine = ops.logical_and(owners[:, None, :] == rows[:, None], allowed)
    column = ops.sum(ops.where(mine, columns + 1, 0), axis=-1)
    return column + NONE


def _owners(costs: Tensor) -> Tensor:
    """Return the row of each column, (batch, m); -1 for none.

    If the first bids leave most rows without a column, an order may have better
    prices. If the search is long, it begins again with the prices of the
    relaxed assignment.
    """
    count, size = ops.shape(costs)[-2:]
    lowest = backend.min(costs, axis=1, initial=FAR)
    square = count == size
    if square is False:
        start = by_bids(costs, ops.zeros_like(lowest))
        return search(costs, start.prices, start.owners, _NO_END)[1]

    def unfinished(again: Tensor, *start: Tensor) -> Tensor:
        return ops.any(Start(*start).free(costs))

    def body(again: Tensor, *start: Tensor) -> Tensors:
        prices = ops.cond(
            again, lambda: by_sinkhorn(costs), lambda: start[0] + 0.0
        )
        found = _better(Start(*start), by_bids(costs, prices), costs, ~again)
        many = ops.any(2 * found.left(costs) > count)
        found = ops.cond(
            square & many & ~again,
            lambda: _better(found, by_order(costs), costs),
            lambda: found,
        )
        short = square & ~again
        steps = ops.where(short, _STEPS * whole(count), _NO_END)
        return ~again, *search(costs, found.prices, found.owners, steps)

    owners = ops.full(ops.shape(lowest), NONE, "int32")
    prices = ops.where(square, lowest, 0.0)
    state = (ops.cast(False, "bool"), prices, owners)
    return ops.while_loop(unfinished, body, state)[2]


def _better(
    start: Start, other: Start, costs: Tensor, anyway: Tensor | bool = False
) -> Start:
    """Return per matrix the other start, if it leaves half as many rows.

    But reject prices that are far larger, or NaN: a difference from these would
    have lost digits of the costs.
    """
    fewer = 2 * other.left(costs) <= start.left(costs)
    exact = _largest(other) <= _GROWTH * _largest(start)
    fewer = anyway | (fewer & exact)
    return Start(
        *(
            ops.where(fewer[:, None], new, old)
            for new, old in zip(other, start, strict=True)
        )
    )


def _largest(start: Start) -> Tensor:
    return backend.max(ops.abs(start.prices), axis=-1, initial=0.0)


def _costs(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return costs >= 0, and which pairs are allowed.

    A forbidden pair costs more than n others can, so fewer of them is better.
    """
    allowed = scores != FORBIDDEN
    x = ops.cast(ops.where(allowed, scores, 0.0), "float64") * _SCALE
    matrix = {"axis": (-2, -1), "keepdims": True}
    top = backend.max(ops.where(allowed, x, -FAR), **matrix, initial=-FAR)
    low = backend.min(ops.where(allowed, x, FAR), **matrix, initial=FAR)
    size = ops.cast(ops.shape(scores)[-1] + 1, "float64")
    price = ops.where(top > low, size * (top - low), 1.0)
    return ops.where(allowed, top - x, price), allowed


class _State(NamedTuple):
    """Where the search in each matrix of the batch is.

    start: (batch,) the row that looks for a column; n when all have one.
    row: (batch,) the row to look from.
    column: (batch,) the column that it owns; -1 at the start.
    length: (batch,) the length of the path to here.
    prices, owners: (batch, m) the columns' prices and owners.
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
def search(
    costs: Tensor, prices: Tensor, owners: Tensor, steps: Tensor | int
) -> Tensors:
    """Return prices and owners when all rows have columns, or after `steps`."""
    rows, free = numbers(costs, -2), Start(prices, owners).free(costs)
    # Outside of the loop: inside, XLA takes a read of one row for one of all,
    # and shares it out among threads.
    lines = ops.reshape(costs, (-1, ops.shape(costs)[-1]))
    start = first(free, rows, -1)
    later = free[:, None, :] & (rows > rows[:, None])
    following = first(later, rows, -1)
    none = ops.full(ops.shape(owners), NONE, "int32")
    state = _State(
        start=start,
        row=start,
        column=ops.full(ops.shape(start), NONE, "int32"),
        length=ops.zeros(ops.shape(start), "float64"),
        prices=prices,
        owners=owners,
        distances=ops.full(ops.shape(owners), FAR, "float64"),
        previous=none,
        final=none != NONE,
    )

    def unfinished(number: Tensor, *state: Tensor) -> Tensor:
        start = _State(*state).start
        last = ops.cast(ops.shape(costs)[-2], "int32")
        return (number < steps) & ops.any(start < last)

    def body(number: Tensor, *state: Tensor) -> Tensors:
        return number + 1, *_step(lines, following, _State(*state))

    _, *found = ops.while_loop(unfinished, body, (0, *state))
    return _State(*found).prices, _State(*found).owners


def _step(lines: Tensor, following: Tensor, at: _State) -> _State:
    """Look from one row in each matrix, and go to the nearest column.

    If that is free, let in the row at the start; then the row that is
    `following` it among those left over looks for one.
    """
    places = numbers(at.owners, -1)
    size = ops.cast(ops.shape(at.owners)[-1], "int32")
    count = ops.cast(ops.shape(following)[-1], "int32")
    distances, previous = _look(lines, at, count)
    left = ops.where(at.final, FAR, distances)
    length = backend.min(left, axis=-1, initial=FAR)
    # Among equally near columns, prefer a free one.
    rank = ops.where(at.owners == NONE, places, places + size)
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
        column=ops.where(found, NONE, column),
        length=ops.where(found, 0.0, length),
        prices=ops.where(done, at.prices + shorter, at.prices),
        owners=_let_in(at, previous, column, found),
        distances=ops.where(done, FAR, distances),
        previous=previous,
        final=~done & (at.final | (places == column[:, None])),
    )


def _look(lines: Tensor, at: _State, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances and columns before, with shorter ways by `row`."""
    row = ops.arange(ops.shape(at.owners)[0], dtype="int32") * count
    row = row + backend.minimum(at.row, count - 1)
    ahead = ops.take(lines, row, axis=0) - at.prices
    # Behind is the path to the row's own column, less the last leg.
    last = at.length - _pick(ahead, at.column)
    behind = ops.where(at.column == NONE, 0.0, last)
    distance = ahead + behind[:, None]
    nearer = (distance < at.distances) & ~at.final
    return (
        ops.where(nearer, distance, at.distances),
        ops.where(nearer, at.column[:, None], at.previous),
    )


def _let_in(
    at: _State, previous: Tensor, column: Tensor, found: Tensor
) -> Tensor:
    """Return the owners after each row on the path took the next column."""
    places = numbers(previous, -1)

    def body(going: Tensor, column: Tensor, owners: Tensor) -> Tensors:
        before = _pick(previous, column)
        owner = ops.where(before == NONE, at.start, _pick(owners, before))
        here = ops.where(going, column, NONE)[:, None] == places
        owners = ops.where(here, owner[:, None], owners)
        return going & (before != NONE), before, owners

    state = (found, column, at.owners)
    return ops.while_loop(lambda going, *_: ops.any(going), body, state)[2]


def _pick(x: Tensor, column: Tensor) -> Tensor:
    """Return one entry of each row of `x`; any, if the column is not in it."""
    rows, size = ops.shape(x)
    place = ops.arange(rows, dtype="int32") * whole(size)
    place = place + ops.clip(column, 0, whole(size) - 1)
    return ops.take(ops.reshape(x, (-1,)), place)
