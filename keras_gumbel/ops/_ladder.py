"""Few programs for all sizes: forbidden logits fill the difference.

A compiled program has one size. We pad rows and classes with forbidden logits
to the next rung of a ladder of sizes, and cut the padding off the result. No
sample depends on it: it has no weight, and the noise of an element depends on
its place among the real elements.
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

# Rungs are at most a quarter apart; from this many elements on, an eighth.
_LARGE = 2**16
# From this many elements on, a new program costs less than copies.
_LARGEST = 2**24


def by_rungs(
    op: Op,
    sample: Callable[..., Any],
    arguments: Arguments,
    noise: Tensors,
    others: Tensors,
) -> Any:
    """Return `sample(arguments, noise, *others)`, padded to fill a rung.

    Args:
        op: The op to sample.
        sample: Function with a program per size; results have the logits' rows.
        arguments: The arguments, of any shape.
        noise: Key and noise scale, or nothing.
        others: The op's other tensors.
    """
    first = op.first_axis_of_a_row(arguments)
    if _is_settled(op, tuple(arguments.logits.shape), first):
        return sample(arguments, noise, *others)
    sizes = backend.sizes(arguments.logits)
    rows = in_rows(arguments, first)
    shape = backend.sizes(rows.logits)
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
        # Places are counted among the real elements.
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
        """Return the real part of a result, in the arguments' axes."""
        behind = len(shape) - 2  # axes behind the class axis
        own = [-1] * (len(result.shape) - 1 - max(behind, 0))
        size = [shape[0], *own, *shape[2:]]
        for axis in range(max(len(own) - stays, 0), len(own)):
            size[1 + axis] = shape[1]
        result = backend.corner(result, size)
        if first == 1:
            return result
        tail = backend.sizes(result)[1:]
        return backend.reshaped(result, (*sizes[:first], *tail))

    if op.outputs == 1:
        return back(results, *op.classes_stay)
    return tuple(map(back, results, op.classes_stay))


# Rungs that have a program which is told the real number of classes: in eager
# code it serves arguments of the full rung, too.
_ready: set[tuple[Op, Shape]] = set()


def _is_settled(op: Op, shape: Shape, first: int) -> bool:
    """Return whether the logits already have the size of a program."""
    if not backend.programs_are_sized():
        # A graph's programs are compiled for the sizes known at tracing.
        return None not in shape
    if first > 1:
        return False
    rows = shape if first else (1, *shape)
    goal, vary = _rungs(op, rows, rows)
    return goal == rows and not vary


def _rungs(
    op: Op, shape: tuple[Size, ...], known: Shape
) -> tuple[tuple[Size, ...], bool]:
    """Return the next rungs, and whether more than rows may be padded.

    In a graph, known sizes stay, except the number of rows.
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
    """Return the next rung of each axis."""
    elements = copies * math.prod(
        size if isinstance(size, int) else ops.cast(size, "int64")
        for size in shape
    )
    rows = rung(shape[0] // unit, elements) * unit
    return rows, *(rung(size, elements) for size in shape[1:])


_known_up = functools.lru_cache(maxsize=2**12)(_up)


def rung(size: Size, elements: Size) -> Size:
    """Return the next rung from `size` on, given the number of elements."""
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
    """Merge the axes before `first` into one axis of rows.

    Temperature and mask get as many rows, or one for all of them.
    """
    logits, temperature, class_mask, axis, learned = arguments
    sizes = backend.sizes(logits)
    mask = None if class_mask is None else _in_rows(class_mask, sizes, first)
    if first != 1:
        logits = backend.reshaped(logits, (-1, *sizes[first:]))
    return Arguments(
        logits,
        _in_rows(temperature, sizes, first),
        mask,
        axis - first + 1 if axis >= 0 else axis,
        learned,
    )


def _in_rows(x: Tensor, sizes: tuple[Size, ...], first: int) -> Tensor:
    """Merge a tensor that broadcasts to these sizes; a number stays."""
    if not len(x.shape):
        return x
    if first == 1 and len(x.shape) == len(sizes) and None not in x.shape:
        return x
    added = (1,) * (len(sizes) - len(x.shape))
    x = backend.reshaped(x, (*added, *backend.sizes(x)))
    known = (*added, *x.shape[len(added) :])
    # An unknown size may be 1; then it is broadcast, which is right too.
    tail = tuple(
        1 if size == 1 else goal
        for size, goal in zip(known[first:], sizes[first:], strict=True)
    )
    one_for_all = all(size == 1 for size in known[:first])
    before = (1,) * first if one_for_all else sizes[:first]
    x = ops.broadcast_to(x, (*before, *tail))
    return backend.reshaped(x, (1 if one_for_all else -1, *tail))


def _enlarged(
    x: Tensor | None, goal: tuple[Size, ...], filler: float | bool
) -> Tensor | None:
    """Pad `x` to the sizes of the goal, except where its size is 1."""
    if x is None or not len(x.shape):
        return x
    shape = (
        1 if size == 1 else up for size, up in zip(x.shape, goal, strict=True)
    )
    return backend.enlarged(x, tuple(shape), filler)
