"""Loops of few operations on small tensors.

The formulas are from `numerics/sinkhorn.py` and `assignment.py`, but do not
convert numbers and arguments to tensors in each iteration.
"""

import math
from collections.abc import Callable
from typing import Any

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
    """Return `search(costs, prices, owners, steps)`: prices and owners."""
    del function
    matrices, count, size = costs.shape
    prices, owners = prices.clone(), owners.long()
    numbers, which = torch.arange(size), torch.arange(matrices)
    rows = torch.arange(count)
    free = (owners[:, None, :] != rows[:, None]).all(-1)
    # The rows that look for a column, in turn; `count` stands for none.
    queue = torch.where(free, rows, count).sort(1).values
    queue = torch.cat([queue, torch.full((matrices, 1), count)], 1)
    at = torch.zeros(matrices, dtype=torch.long)
    start = queue[:, 0]
    row, column = start, torch.full((matrices,), -1)
    length = torch.zeros(matrices, dtype=costs.dtype)
    far = torch.full_like(prices, math.inf)
    distances, previous = far.clone(), torch.full_like(owners, -1)
    final = torch.zeros_like(owners, dtype=torch.bool)
    for _ in range(int(steps)):
        if not bool((start < count).any()):
            break
        here = costs[which, row.clamp(max=count - 1)]
        # `behind` is the path to the row's own column, less its last leg.
        place = column.clamp(min=0)
        own = here[which, place] - prices[which, place]
        behind = (length - own).masked_fill_(column < 0, 0.0)
        distance = (here - prices).add_(behind[:, None])
        nearer = (distance < distances).logical_and_(~final)
        distances = torch.where(nearer, distance, distances)
        previous = torch.where(nearer, column[:, None], previous)
        left = distances.masked_fill(final, math.inf)
        length = left.amin(1)
        # Among equally near columns, prefer a free one.
        rank = numbers + (owners >= 0) * size
        rank = rank.masked_fill_(left != length[:, None], 2 * size).amin(1)
        column = rank % size
        found = (start < count) & (rank < size)
        if bool(found.any()):
            done = found[:, None]
            shorter = (distances - length[:, None]).masked_fill_(
                ~(done & final), 0.0
            )
            prices += shorter
            _let_in(owners, previous, start, column, found)
            at += found
            start = queue[which, at]
            distances = torch.where(done, far, distances)
            final &= ~done
        final |= (numbers == column[:, None]) & ~found[:, None]
        row = torch.where(found, start, owners[which, column])
        column = column.masked_fill(found, -1)
        length = length.masked_fill(found, 0.0)
    return prices, owners.to(torch.int32)


def _let_in(
    owners: Tensor,
    previous: Tensor,
    start: Tensor,
    column: Tensor,
    found: Tensor,
) -> None:
    """Give each row on the path the next column."""
    which = found.nonzero()[:, 0]
    column = column[which]
    while len(which):
        before = previous[which, column]
        first = before < 0
        behind = owners[which, before.clamp(min=0)]
        owners[which, column] = torch.where(first, start[which], behind)
        which, column = which[~first], before[~first]
