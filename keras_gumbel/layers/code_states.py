"""What a layer knows of each of its codes, to keep them alive."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gumbel._typing import Shape, Tensor
from keras_gumbel.ops.calls import hand_on, value_once
from keras_gumbel.ops.checkpoints import checkpoint_with
from keras_gumbel.ops.restarts import Moves, choose

# The count of a code that was never set. One more is the same in float32.
_UNSET = 1e9


class CodeStates:
    """How many training calls ago each code was last used.

    A code that was never set from data, or not used for `restart_after`
    calls, is due: it is moved onto a vector of the batch.

    Args:
        layer: What the codes are of.
        shape: Of the codes, the last two axes being groups and codes.
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
        """The counts, as they are when the call begins."""
        return value_once(self.idle)

    def choose(
        self,
        idle: Tensor,
        counted: Tensor | None,
        rows: Tensor | int,
        unit: Tensor,
    ) -> Moves:
        """Rows of the batch for the codes that are due, of these counts."""
        return choose(idle >= self._limit, counted, rows, unit)

    def write(self, idle: Tensor) -> None:
        """Keep the counts."""
        assign(self.idle, idle)


def after(idle: Tensor, used: Tensor) -> Tensor:
    """The counts after a call in which these codes were used."""
    return ops.where(used, 0.0, ops.minimum(idle + 1.0, _UNSET))


def is_unset(idle: Tensor) -> Tensor:
    """Which codes were never set."""
    return idle >= _UNSET


def state(
    layer: keras.Layer, name: str, shape: Shape, initial: Any
) -> keras.Variable:
    """A float32 weight that no gradient changes."""
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
    # Which is not found where an object of ours has it.
    checkpoint_with(layer, name, weight)
    return weight


# What was assigned to variables in this call, by their ids.
_ASSIGNED: contextvars.ContextVar[dict[int, Tensor] | None]
_ASSIGNED = contextvars.ContextVar("assigned", default=None)


@contextlib.contextmanager
def read_as_assigned() -> Iterator[None]:
    """In this context `read` gives what `assign` set.

    A block of `remat` sets its states when it ends.
    """
    token = _ASSIGNED.set({})
    try:
        yield
    finally:
        _ASSIGNED.reset(token)


def assign(variable: keras.Variable, value: Tensor) -> None:
    """Set a state; in a block of `remat` once."""
    value = ops.stop_gradient(value)
    assigned = _ASSIGNED.get()
    if assigned is not None:
        assigned[id(variable)] = ops.cast(value, variable.dtype)
    hand_on(variable.assign, value)


def read(variable: keras.Variable) -> Tensor:
    """The value of a state, the same in both runs of a block of `remat`."""
    assigned = _ASSIGNED.get() or {}
    if id(variable) in assigned:
        return assigned[id(variable)]
    return value_once(variable)


class Stage(NamedTuple):
    """The codebooks of one stage, one for each group, in a call.

    Attributes:
        table: Their codes `(groups, num_codes, dim)`.
        idle: How many calls ago each was used, or None.
        counts: The moving average of how often, or None.
        sums: The moving average of the sum of its vectors, or None.
    """

    table: Tensor
    idle: Tensor = None
    counts: Tensor = None
    sums: Tensor = None

    def moved(self, moves: Moves, vectors: Tensor, decay: float) -> "Stage":
        """With the codes that are due on vectors of the batch.

        A new code counts as if it had been used by that vector, just now.
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
        """After the exponential moving average of one more batch.

            N <- decay N + (1 - decay) n
            m <- decay m + (1 - decay) sum of the n vectors
            code <- m / N

        A code without any weight left stays where it is.
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


# Below it, a quotient of the two averages has lost its digits.
_LEAST = 1e-20
