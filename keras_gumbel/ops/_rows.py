"""Tensors as matrices, and back."""

from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import Tensor


class Rows:
    """Conversion of tensors like one to matrices (rows, classes), and back."""

    def __init__(self, like: Tensor, axis: int) -> None:
        self._like, self._axis = like, axis

    def of(self, x: Tensor) -> Tensor:
        """Return `x` as a matrix."""
        x = numerics.with_axis_at(x, self._axis, -1)
        return ops.reshape(x, (-1, ops.shape(x)[-1]))

    def of_number(self, number: Tensor) -> Tensor:
        """Return a number as it is, or one per row as (rows, 1)."""
        if not len(number.shape):
            return number
        goal = list(ops.shape(self._like))
        goal[self._axis] = 1
        return self.of(ops.broadcast_to(number, goal))

    def of_results(self, y: Tensor) -> Tensor:
        """Undo `back`."""
        before = len(self._like.shape) - 1
        if len(y.shape) == before + 1:
            return self.of(y)
        return ops.reshape(y, (-1, *ops.shape(y)[before:]))

    def back(self, x: Tensor) -> Tensor:
        """Return a matrix of any width, or a matrix per row, as a tensor.

        With a matrix per row, classes must be on the last axis.
        """
        shape = list(ops.shape(self._like))
        del shape[self._axis]
        width = ops.shape(x)
        x = ops.reshape(x, (*shape, *width[1:]))
        if len(width) > 2:
            return x
        return numerics.with_axis_at(x, -1, self._axis)
