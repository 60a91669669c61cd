"""Loops of few operations on small tensors.

The formulas are from `numerics/sinkhorn.py` and `assignment.py`, but do not
convert numbers and arguments to tensors in each iteration.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from keras_gumbel._typing import Tensor


def sinkhorn_path(function: Any, matrices: Any, num_iterations: int) -> Any:
    """Return `path(matrices, num_iterations)`: the sums of every iteration."""
    x, temperature, across, down, weight = matrices
    if 0 in x.shape:
        return function(matrices, num_iterations)
    least = torch.finfo(x.dtype).min / 4
    one = torch.ones((), dtype=x.dtype)

    def sums(z: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        peak = z.amax(axis, True).clamp_(min=least)
        total = z.sub_(peak).div_(temperature).exp_().sum(axis, True)
        return peak, torch.where(total == 0, one, total)

    logs: Tensor | float = 0.0
    kept: list[list[Tensor]] = [[], [], [], []]
    for _ in range(num_iterations):
        rows = sums(x - logs, across)
        if weight is not None:
            rows = rows[0], rows[1] / weight
        logs = rows[0] + temperature * rows[1].log()
        columns = sums(x - logs, down)
        logs = columns[0] + temperature * columns[1].log()
        for every, new in zip(kept, (*rows, *columns), strict=True):
            every.append(new)
    return tuple(map(torch.stack, kept))


def assignment_search(
    function: Callable[..., Any],
    costs: Tensor,
    prices: Tensor,
    owners: Tensor,
    steps: Tensor | int,
) -> Any:
    """Return `search(costs, prices, owners, steps)`: prices and owners.

    NumPy starts an operation in a third of torch's time.
    """
    del function
    found = _search(
        np.from_dlpack(costs),
        np.array(np.from_dlpack(prices)),
        np.array(np.from_dlpack(owners), dtype="int64"),
        int(steps),
    )
    return tuple(map(torch.from_numpy, found))


@np.errstate(invalid="ignore")
def _search(
    costs: np.ndarray, prices: np.ndarray, owners: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    matrices, count, size = costs.shape
    numbers, rows = np.arange(size), np.arange(count)
    which = np.arange(matrices)
    free = (owners[:, None, :] != rows[:, None]).all(-1)
    # The rows that look for a column, in turn; `count` stands for none.
    queue = np.full((matrices, count + 1), count)
    queue[:, :count] = np.sort(np.where(free, rows, count), axis=1)
    at = np.zeros(matrices, "int64")
    start = queue[:, 0]
    row, column = start, np.full(matrices, -1)
    length = np.zeros(matrices)
    distances = np.full(prices.shape, np.inf)
    previous = np.full(prices.shape, -1)
    final = np.zeros(prices.shape, bool)
    for _ in range(steps):
        if not (start < count).any():
            break
        ahead = costs[which, np.minimum(row, count - 1)] - prices
        # `behind` is the path to the row's own column, less its last leg.
        own = ahead[which, np.maximum(column, 0)]
        behind = np.where(column < 0, 0.0, length - own)
        ahead += behind[:, None]
        nearer = (ahead < distances) & ~final
        np.copyto(distances, ahead, where=nearer)
        np.copyto(previous, column[:, None], where=nearer)
        left = np.where(final, np.inf, distances)
        length = left.min(1)
        # Among equally near columns, prefer a free one.
        rank = numbers + (owners >= 0) * size
        rank = np.where(left == length[:, None], rank, 2 * size).min(1)
        column = rank % size
        found = (start < count) & (rank < size)
        if found.any():
            done = found[:, None]
            shorter = distances - length[:, None]
            prices += np.where(done & final, shorter, 0.0)
            _let_in(owners, previous, start, column, found)
            at += found
            start = queue[which, at]
            distances[found] = np.inf
            final[found] = False
        final |= (numbers == column[:, None]) & ~found[:, None]
        row = np.where(found, start, owners[which, column])
        column = np.where(found, -1, column)
        length = np.where(found, 0.0, length)
    return prices, owners.astype("int32")


def _let_in(
    owners: np.ndarray,
    previous: np.ndarray,
    start: np.ndarray,
    column: np.ndarray,
    found: np.ndarray,
) -> None:
    """Give each row on the path the next column."""
    which = found.nonzero()[0]
    column = column[which]
    while len(which):
        before = previous[which, column]
        first = before < 0
        behind = owners[which, np.maximum(before, 0)]
        owners[which, column] = np.where(first, start[which], behind)
        which, column = which[~first], before[~first]
