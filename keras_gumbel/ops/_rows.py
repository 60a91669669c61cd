"""Tensors as matrices, and back."""

from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import Tensor


class Rows:
    """Tensors like one as matrices (rows, classes), and back."""

    def __init__(self, like: Tensor, axis: int) -> None:
        self._like, self._axis = like, axis

    def of(self, x: Tensor) -> Tensor:
        """`x` as a matrix."""
        x = numerics.with_axis_at(x, self._axis, -1)
        return ops.reshape(x, (-1, ops.shape(x)[-1]))

    def of_number(self, number: Tensor) -> Tensor:
        """A number, or one for each row, (rows, 1)."""
        if not len(number.shape):
            return number
        goal = list(ops.shape(self._like))
        goal[self._axis] = 1
        return self.of(ops.broadcast_to(number, goal))

    def of_results(self, y: Tensor) -> Tensor:
        """What `back` made, as it was."""
        before = len(self._like.shape) - 1
        if len(y.shape) == before + 1:
            return self.of(y)
        return ops.reshape(y, (-1, *ops.shape(y)[before:]))

    def back(self, x: Tensor) -> Tensor:
        """A matrix of any width as a tensor, and several of them likewise.

        Where each row has become a matrix, classes must be on the last axis.
        """
        shape = list(ops.shape(self._like))
        del shape[self._axis]
        width = ops.shape(x)
        x = ops.reshape(x, (*shape, *width[1:]))
        if len(width) > 2:
            return x
        return numerics.with_axis_at(x, -1, self._axis)
