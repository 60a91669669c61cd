"""Several axes of classes as one: a class is a cell, as one of an image."""

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
from keras_gumbel.numerics.sizes import product


class Cells:
    """What goes with logits, with their cells on one axis behind all others.

    Cells are numbered in row-major order of `axes`, as these are given.
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
        """The logits, the temperature and the mask, checked."""
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
        """What was made of the cells, in the axes of the logits.

        There may be others before them, as of several samples.
        """
        order = [*self._rest, *self._axes]
        more = len(y.shape) - len(self._rest) - 1
        sizes = [self._sizes[axis] for axis in order]
        y = ops.reshape(y, [*ops.shape(y)[:more], *sizes])
        places = [more + order.index(axis) for axis in sorted(order)]
        return ops.transpose(y, [*range(more), *places])

    def coordinates(self, y: Tensor) -> Tensor:
        """sum_c c * y_c, c the place of a cell along each axis: last axis."""
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
        """`x`, which broadcasts to these sizes, with the axes as one."""
        x = ops.transpose(
            ops.broadcast_to(x, sizes), [*self._rest, *self._axes]
        )
        cells = product([sizes[axis] for axis in self._axes])
        return ops.reshape(x, (*(sizes[axis] for axis in self._rest), cells))
