"""The state of each code of a layer, which keeps codes alive."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gumbel._typing import Shape, Tensor
from keras_gumbel.ops.calls import hand_on, value_once
from keras_gumbel.ops.checkpoints import checkpoint_with
from keras_gumbel.ops.restarts import Moves, choose

# The count of a code that was never set; float32 does not change by adding 1.
_UNSET = 1e9


class CodeStates:
    """Counts of the training calls since each code was last used.

    A code that was never set from data, or not used for `restart_after`
    calls, is due: it is moved onto a vector of the batch.

    Args:
        layer: The layer that has the codes.
        shape: Shape of the codes; the last two axes are groups and codes.
        init_from_data: Whether codes begin as vectors of the first batches.
        restart_after: Positive integer, or None for codes that stay.
    """

    def __init__(
        self,
        layer: keras.Layer,
        shape: Shape,
        *,
        init_from_data: bool,
        restart_after: int | None,
    ) -> None:
        self._limit = restart_after or _UNSET
        initial = _UNSET if init_from_data else 0.0
        self.idle = state(layer, "idle", shape, initial)

    def read(self) -> Tensor:
        """Return the counts at the beginning of the call."""
        return value_once(self.idle)

    def choose(
        self,
        idle: Tensor,
        counted: Tensor | None,
        rows: Tensor | int,
        unit: Tensor,
    ) -> Moves:
        """Choose rows of the batch for the codes that are due."""
        return choose(idle >= self._limit, counted, rows, unit)

    def write(self, idle: Tensor) -> None:
        """Store the counts."""
        assign(self.idle, idle)


def after(idle: Tensor, used: Tensor) -> Tensor:
    """Return the counts after a call that used these codes."""
    return ops.where(used, 0.0, ops.minimum(idle + 1.0, _UNSET))


def is_unset(idle: Tensor) -> Tensor:
    """Return which codes were never set."""
    return idle >= _UNSET


def state(
    layer: keras.Layer, name: str, shape: Shape, initial: Any
) -> keras.Variable:
    """Add a float32 weight that no gradient changes."""
    if not callable(initial):
        initial = keras.initializers.Constant(initial)
    weight = layer.add_weight(
        name=name,
        shape=shape,
        initializer=initial,
        dtype="float32",
        trainable=False,
        autocast=False,
    )
    # Checkpoints do not find a weight that an object of ours holds.
    checkpoint_with(layer, name, weight)
    return weight


class _Assigned(threading.local):
    """The values assigned to variables in this call, by variable id."""

    def __init__(self) -> None:
        # An attribute added later would fail a compiler's guard.
        self.values: dict[int, Tensor] | None = None


_ASSIGNED = _Assigned()


@contextlib.contextmanager
def read_as_assigned() -> Iterator[None]:
    """Have `read` return what `assign` set, in this context.

    A block of `remat` sets its states only when it ends.
    """
    before, _ASSIGNED.values = _ASSIGNED.values, {}
    try:
        yield
    finally:
        _ASSIGNED.values = before


def assign(variable: keras.Variable, value: Tensor) -> None:
    """Set a state, once in a block of `remat`."""
    value = ops.stop_gradient(value)
    assigned = _ASSIGNED.values
    if assigned is not None:
        assigned[id(variable)] = ops.cast(value, variable.dtype)
    hand_on(variable.assign, value)


def read(variable: keras.Variable) -> Tensor:
    """Return a state, the same in both runs of a block of `remat`."""
    assigned = _ASSIGNED.values or {}
    if id(variable) in assigned:
        return assigned[id(variable)]
    return value_once(variable)


class Stage(NamedTuple):
    """The codebooks of one stage, one for each group, in a call.

    Attributes:
        table: The codes `(groups, num_codes, dim)`.
        idle: The calls since each code was used, or None.
        counts: The moving average of each code's uses, or None.
        sums: The moving average of the sum of its vectors, or None.
    """

    table: Tensor
    idle: Tensor = None
    counts: Tensor = None
    sums: Tensor = None

    def moved(self, moves: Moves, vectors: Tensor, decay: float) -> "Stage":
        """Return the stage with due codes moved to vectors of the batch.

        A moved code counts as if that vector had just used it.
        """
        table = moves.of(vectors, self.table)
        idle = ops.where(moves.settled, 0.0, self.idle)
        if self.counts is None:
            return self._replace(table=table, idle=idle)
        weight = 1.0 - decay
        due = moves.due
        return Stage(
            table,
            idle,
            ops.where(due, weight, self.counts),
            ops.where(
                due[..., None],
                weight * ops.cast(table, self.sums.dtype),
                self.sums,
            ),
        )

    def averaged(self, uses: Tensor, sums: Tensor, decay: float) -> "Stage":
        """Update the exponential moving averages with one more batch.

            N <- decay N + (1 - decay) n
            m <- decay m + (1 - decay) sum of the n vectors
            code <- m / N

        A code with no weight left stays where it is.
        """
        counts = decay * self.counts + (1.0 - decay) * uses
        sums = decay * self.sums + (1.0 - decay) * sums
        weight = counts[..., None]
        known = weight > _LEAST
        mean = sums / ops.where(known, weight, 1.0)
        mean = ops.cast(mean, self.table.dtype)
        return self._replace(
            table=ops.where(known, mean, self.table), counts=counts, sums=sums
        )


# Below this weight, the quotient of the two averages loses its digits.
_LEAST = 1e-20
