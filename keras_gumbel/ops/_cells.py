"""Several axes of classes as one: a class is a cell, such as a pixel."""

import math
from typing import Any

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    check_axes_fit,
    check_class_mask,
    check_logits,
    check_one_a_distribution,
    check_temperature,
    dense,
)


class Cells:
    """Logits and other arguments, with the cells on one new last axis.

    Cells are numbered in row-major order of `axes`, in the order given.
    """

    def __init__(self, logits: Any, axes: tuple[int, ...]) -> None:
        self.logits = dense(logits, "logits")
        check_logits(self.logits)
        self._known = backend.static_shape(self.logits)
        self._sizes = tuple(ops.shape(self.logits))
        self._axes = check_axes_fit(axes, self._known)
        rank = range(len(self._known))
        self._rest = [axis for axis in rank if axis not in self._axes]

    def merged(
        self, temperature: Any, class_mask: Any
    ) -> tuple[Tensor, Any, Tensor | None]:
        """Check and merge the logits, the temperature and the mask."""
        if temperature is not None:
            check_temperature(temperature)
            if len(getattr(temperature, "shape", ())):
                temperature = dense(temperature, "temperature")
                check_one_a_distribution(temperature, self._known, self._axes)
                temperature = self._merge(temperature, self._ones())
        if class_mask is not None:
            class_mask = dense(class_mask, "class_mask")
            check_class_mask(class_mask, self.logits)
            class_mask = self._merge(class_mask, self._sizes)
        return self._merge(self.logits, self._sizes), temperature, class_mask

    def split(self, y: Tensor) -> Tensor:
        """Return a result over cells in the axes of the logits.

        Other axes may come first, such as an axis of samples.
        """
        order = [*self._rest, *self._axes]
        more = len(y.shape) - len(self._rest) - 1
        sizes = [self._sizes[axis] for axis in order]
        y = ops.reshape(y, [*ops.shape(y)[:more], *sizes])
        places = [more + order.index(axis) for axis in sorted(order)]
        return ops.transpose(y, [*range(more), *places])

    def coordinates(self, y: Tensor) -> Tensor:
        """Return sum_c c * y_c, c the coordinates of a cell (last axis)."""
        place, found = numerics.classes(y, -1), []
        for axis in reversed(self._axes):
            size = ops.cast(self._sizes[axis], "int32")
            along = ops.cast(place % size, y.dtype)
            found.append(ops.sum(y * along, axis=-1))
            place = place // size
        return ops.stack(found[::-1], axis=-1)

    def _ones(self) -> tuple[Any, ...]:
        pairs = enumerate(self._sizes)
        return tuple(1 if axis in self._axes else n for axis, n in pairs)

    def _merge(self, x: Tensor, sizes: tuple[Any, ...]) -> Tensor:
        """Broadcast `x` to these sizes, and merge the axes into one."""
        x = ops.transpose(
            ops.broadcast_to(x, sizes), [*self._rest, *self._axes]
        )
        cells = math.prod([sizes[axis] for axis in self._axes])
        return ops.reshape(x, (*(sizes[axis] for axis in self._rest), cells))
