"""Any size by programs of few: what is forbidden comes along, and goes.

A compiled program is of one size. Sizes go up to the next rung of a ladder,
rows and classes alike, and forbidden logits fill what is between. No sample
depends on them: they have no weight, and the noise of an element is that of
its place among those that there really are.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Shape, Tensor, Tensors
from keras_gumbel._validation import Arguments
from keras_gumbel.ops._op import Op

Size = Tensor | int

# Rungs are a quarter apart at most; where that is much, an eighth.
_LARGE = 2**16
# From here on a program of its own costs less than copies do.
_LARGEST = 2**24


def by_rungs(
    op: Op,
    sample: Callable[..., Any],
    arguments: Arguments,
    noise: Tensors,
    others: Tensors,
) -> Any:
    """`sample(arguments, noise, *others)`, of arguments that fill a rung.

    Args:
        op: What is sampled.
        sample: By a program for each size. Its results have the logits' rows.
        arguments: Of any shape.
        noise: Key and noise scale, or nothing.
        others: What the op has besides.
    """
    first = op.first_axis_of_a_row(arguments)
    if _is_settled(op, tuple(arguments.logits.shape), first):
        return sample(arguments, noise, *others)
    sizes = tuple(ops.shape(arguments.logits))
    rows = in_rows(arguments, first)
    shape = tuple(ops.shape(rows.logits))
    goal, vary = _rungs(op, shape, tuple(rows.logits.shape))
    if vary:
        more = op.with_classes(others, goal[1])
        if more is None:
            goal, vary = (goal[0], *shape[1:]), False
        else:
            others = more
    if vary and backend.programs_are_sized():
        _ready.add((op, goal))
    if op.others_are_of_rows:
        flat = (_in_rows(x, sizes, first) for x in others)
        others = tuple(_enlarged(x, goal, 0) for x in flat)
    if vary and noise:
        # Places are counted by what there really is.
        noise = *noise, ops.convert_to_tensor(shape[1:], "int")
    results = sample(
        rows._replace(
            logits=backend.enlarged(rows.logits, goal, numerics.FORBIDDEN),
            temperature=_enlarged(rows.temperature, goal, 1.0),
            class_mask=_enlarged(rows.class_mask, goal, True),
        ),
        noise,
        *others,
    )

    def back(result: Tensor, stays: int) -> Tensor:
        """Return its real part, in the axes of the arguments."""
        behind = len(shape) - 2  # axes behind that of the classes
        own = [-1] * (len(result.shape) - 1 - max(behind, 0))
        size = [shape[0], *own, *shape[2:]]
        for axis in range(max(len(own) - stays, 0), len(own)):
            size[1 + axis] = shape[1]
        result = backend.corner(result, size)
        return ops.reshape(result, (*sizes[:first], *ops.shape(result)[1:]))

    if op.outputs == 1:
        return back(results, *op.classes_stay)
    return tuple(map(back, results, op.classes_stay))


# Where programs that are told how many classes there really are stand ready:
# in eager code these serve the rung itself, too.
_ready: set[tuple[Op, Shape]] = set()


def _is_settled(op: Op, shape: Shape, first: int) -> bool:
    """Whether the program is of this size, as the logits are."""
    if not backend.programs_are_sized():
        # What is known when a graph is traced, its programs are compiled for.
        return None not in shape
    if first > 1:
        return False
    rows = shape if first else (1, *shape)
    goal, vary = _rungs(op, rows, rows)
    return goal == rows and not vary


def _rungs(
    op: Op, shape: tuple[Size, ...], known: Shape
) -> tuple[tuple[Size, ...], bool]:
    """The next rungs, and whether other than rows may have been added.

    In a graph a size that is known, but for that of rows, stays.
    """
    if not backend.programs_are_sized():
        goal = _up(shape, op.unit, op.copies)
        tail = (
            up if static is None else size
            for size, up, static in zip(
                shape[1:], goal[1:], known[1:], strict=True
            )
        )
        return (goal[0], *tail), None in known[1:]
    goal = _known_up(shape, op.unit, op.copies)
    vary = goal[1:] != shape[1:] or (bool(_ready) and (op, goal) in _ready)
    return goal, vary


def _up(shape: tuple[Size, ...], unit: int, copies: int) -> tuple[Size, ...]:
    """The next rung of each axis."""
    elements = copies * math.prod(
        size if isinstance(size, int) else ops.cast(size, "int64")
        for size in shape
    )
    rows = rung(shape[0] // unit, elements) * unit
    return rows, *(rung(size, elements) for size in shape[1:])


_known_up = functools.lru_cache(maxsize=2**12)(_up)


def rung(size: Size, elements: Size) -> Size:
    """The next rung from a `size` on, that of one axis of so many elements."""
    if isinstance(size, int) and isinstance(elements, int):
        if elements >= _LARGEST:
            return size
        octave = max((size - 1).bit_length() - 1, 0)
        step: int = 2 ** max(octave - 2 - (elements >= _LARGE), 0)
        return -(-size // step) * step
    size, elements = ops.cast(size, "int64"), ops.cast(elements, "int64")
    octaves = ops.left_shift(2, ops.arange(31, dtype="int64"))
    octave = ops.sum(ops.cast(octaves < size, "int64"))
    finer = ops.cast(elements >= _LARGE, "int64")
    step = ops.left_shift(1, ops.maximum(octave - 2 - finer, 0))
    up = ops.where(elements >= _LARGEST, size, -(-size // step) * step)
    return ops.cast(up, "int32")


def in_rows(arguments: Arguments, first: int) -> Arguments:
    """The same with one axis in place of those before `first`, of rows.

    Temperature and mask have as many, or one for all of them.
    """
    logits, temperature, class_mask, axis, learned = arguments
    sizes = tuple(ops.shape(logits))
    mask = None if class_mask is None else _in_rows(class_mask, sizes, first)
    return Arguments(
        ops.reshape(logits, (-1, *sizes[first:])),
        _in_rows(temperature, sizes, first),
        mask,
        axis - first + 1 if axis >= 0 else axis,
        learned,
    )


def _in_rows(x: Tensor, sizes: tuple[Size, ...], first: int) -> Tensor:
    """The same of what broadcasts to logits of these sizes; a number stays."""
    if not len(x.shape):
        return x
    added = (1,) * (len(sizes) - len(x.shape))
    x = ops.reshape(x, (*added, *ops.shape(x)))
    known = (*added, *x.shape[len(added) :])
    # A size that is not known may be 1, and go up with the others all the
    # same.
    tail = tuple(
        1 if size == 1 else goal
        for size, goal in zip(known[first:], sizes[first:], strict=True)
    )
    one_for_all = all(size == 1 for size in known[:first])
    before = (1,) * first if one_for_all else sizes[:first]
    x = ops.broadcast_to(x, (*before, *tail))
    return ops.reshape(x, (1 if one_for_all else -1, *tail))


def _enlarged(
    x: Tensor | None, goal: tuple[Size, ...], filler: float | bool
) -> Tensor | None:
    """`x` of the sizes of the goal, where it does not have one for all."""
    if x is None or not len(x.shape):
        return x
    shape = (
        1 if size == 1 else up for size, up in zip(x.shape, goal, strict=True)
    )
    return backend.enlarged(x, tuple(shape), filler)
