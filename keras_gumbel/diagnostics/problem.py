"""The start of every diagnostic: an objective, and logits."""

import dataclasses
import math
from typing import Self

import numpy as np
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import Objective, Tensor
from keras_gumbel._validation import (
    canonical_axis,
    check_logits,
    check_objective_batch,
    check_objective_values,
    check_possible,
    dense,
)

# The objective gets at most this many numbers at once, unless one state is
# larger.
CHUNK = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """The expectation of an objective over samples of softmax(logits).

    Args:
        objective: Function of states `(m, *shape)` to values `(m, *batch)`.
        logits: Tensor of the shape `(*batch, *variables, K)`.
        probs: Their softmax, a float64 array.
        baseline: The value of the most likely state, a float64 array of the
            shape `batch`.
    """

    objective: Objective
    logits: Tensor
    probs: np.ndarray
    baseline: np.ndarray

    @classmethod
    def of(cls, objective: Objective, logits: Tensor) -> Self:
        """Check both, and learn from one state which axes are the batch."""
        logits = dense(logits, "logits")
        check_logits(logits)
        canonical_axis(-1, logits.shape)
        wide = ops.convert_to_numpy(numerics.widen(logits)).astype("float64")
        check_possible(wide)
        weight = np.exp(wide - wide.max(-1, keepdims=True))
        probs = weight / weight.sum(-1, keepdims=True)
        # An objective need not be defined at an impossible state.
        mode = np.eye(probs.shape[-1])[np.argmax(probs, -1)]
        # Give it two: one would hide an objective that adds up its states.
        states = ops.cast(np.stack([mode, mode]), logits.dtype)
        values = ops.convert_to_tensor(objective(states))
        check_objective_batch(values, states)
        baseline = ops.convert_to_numpy(values)[0].astype("float64")
        return cls(objective, logits, probs, baseline)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the logits, and of one state."""
        return self.probs.shape

    @property
    def batch(self) -> tuple[int, ...]:
        """Return the shape of one state's values."""
        return self.baseline.shape

    @property
    def classes(self) -> int:
        """Return K, the number of classes of one variable."""
        return self.probs.shape[-1]

    @property
    def variables(self) -> int:
        """Return the number of variables of one example."""
        return math.prod(self.probs.shape[self.baseline.ndim : -1])

    @property
    def states(self) -> int:
        """Return the number of joint states of one example's variables."""
        return self.classes**self.variables

    def values(self, states: Tensor) -> Tensor:
        """Evaluate the objective, and check its values."""
        values = ops.convert_to_tensor(self.objective(states))
        check_objective_values(values, (states.shape[0], *self.batch))
        return values
