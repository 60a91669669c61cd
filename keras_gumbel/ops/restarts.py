"""Vectors of the batch, for codes to set or move.

Replicas share one batch: each has a part of its rows, and all choose the same.
Plain `keras.ops`.
"""

from typing import NamedTuple

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Seed, Tensor
from keras_gumbel.backend import sum_over_replicas as sum_over_replicas
from keras_gumbel.ops.noise import sample_uniform


class Moves(NamedTuple):
    """New places for the codes that are due.

    Attributes:
        due: Bool `(groups, num_codes)`, the codes to move.
        settled: Bool, the due codes that share their row with no other.
        row: Int32, the row of the batch that each would get.
        is_here: Bool, whether this replica has that row.
    """

    due: Tensor
    settled: Tensor
    row: Tensor
    is_here: Tensor

    def of(self, vectors: Tensor, before: Tensor) -> Tensor:
        """Return `before` with the due codes in their new places.

        Args:
            vectors: Float tensor `(rows, groups, dim)`, or of one group for
                all.
            before: Float tensor `(groups, num_codes, dim)`.
        """
        groups, codes, dim = before.shape
        of_groups = vectors.shape[1]
        first = ops.arange(of_groups, dtype="int32")[:, None]
        place = self.row * of_groups + first
        flat = ops.reshape(ops.stop_gradient(vectors), (-1, dim))
        # An empty batch reads this row, and does not use it.
        flat = ops.concatenate([flat, ops.zeros((1, dim), flat.dtype)], axis=0)
        found = ops.take(flat, ops.reshape(place, (-1,)), axis=0)
        found = ops.reshape(found, (groups, codes, dim))
        found = ops.where(self.is_here[..., None], found, 0.0)
        found = backend.sum_over_replicas(found)
        # No code becomes non-finite.
        fits = ops.all(ops.isfinite(found), axis=-1) & self.due
        return ops.where(fits[..., None], found, before)


def uniform(shape: tuple[int, ...], seed: Seed) -> Tensor:
    """Draw numbers in (0, 1), the same on every replica."""
    number, count = backend.replica()
    drawn = sample_uniform(shape, seed)
    if count == 1:
        return drawn
    return backend.sum_over_replicas(ops.where(number == 0, drawn, 0.0))


def choose(
    due: Tensor, counted: Tensor | None, rows: Tensor | int, unit: Tensor
) -> Moves:
    """Choose a row of the batch for each code that is due.

    For N rows and D codes, take every (N // D)th row from a random one on: no
    two codes get the same. If there are more codes than rows, the first codes
    are settled, and the others get copies.

    Args:
        due: Bool tensor `(groups, num_codes)`.
        counted: Optional bool tensor `(rows,)`, False for padding.
        rows: How many rows this replica has.
        unit: Float tensor `(groups,)`, uniform in (0, 1): where to begin.
    """
    here = ops.cast(rows, "int32")
    if counted is not None:
        upto = ops.cumsum(ops.cast(counted, "int32"))
        here = ops.sum(ops.cast(counted, "int32"))
    total, before = _over_replicas(here)
    wanted = ops.sum(ops.cast(due, "int32"), axis=-1, keepdims=True)
    most = ops.maximum(ops.minimum(wanted, total), 1)
    step = ops.maximum(total, 1) // most
    # The number of the code among the due ones.
    rank = ops.cumsum(ops.cast(due, "int32"), axis=-1) - 1
    start = ops.cast(unit[:, None] * ops.cast(total, "float32"), "int32")
    row = ops.mod(rank, most) * step + start
    row = ops.mod(ops.maximum(row, 0), ops.maximum(total, 1)) - before
    is_here = (row >= 0) & (row < here) & due
    row = ops.clip(row, 0, ops.maximum(here - 1, 0))
    if counted is not None:
        row = ops.searchsorted(upto, ops.reshape(row + 1, (-1,)), side="left")
        row = ops.cast(ops.reshape(row, due.shape), "int32")
    due = due & (total > 0)
    return Moves(due, due & (rank < most), row, is_here)


def _over_replicas(here: Tensor) -> tuple[Tensor, Tensor | int]:
    """Count the rows of all replicas, and of the replicas before this one."""
    number, count = backend.replica()
    if count == 1:
        return here, 0
    each = ops.one_hot(number, count, dtype="int32") * here
    each = backend.sum_over_replicas(each)
    earlier = ops.arange(count, dtype="int32") < number
    return ops.sum(each), ops.sum(ops.where(earlier, each, 0))
