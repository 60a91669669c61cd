"""Any number of rows by programs of few: more rows come along, and go.

What a compiled program does holds for one size. Sizes go up to the next rung
of a ladder, and rows of zeros fill what is between. No number of a row depends
on how many there are, nor on which program it comes from, since the noise of
an element is told by its place alone.
"""

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import Arguments

# Rungs are a quarter apart at most; where that is much, an eighth.
_LARGE = 2**16
# From here on a program of its own costs less than copies do.
_LARGEST = 2**24


def rung(size: Tensor | int, width: Tensor | int) -> Tensor | int:
    """The next rung from `size` rows on, each of `width` elements."""
    if isinstance(size, int) and isinstance(width, int):
        elements = size * width
        if elements >= _LARGEST:
            return size
        octave = max((size - 1).bit_length() - 1, 0)
        finer = elements >= _LARGE
        step: int = 2 ** max(octave - 2 - finer, 0)
        return -(-size // step) * step
    size = ops.cast(size, "int64")
    elements = size * ops.cast(width, "int64")
    octaves = ops.cast(2 ** ops.arange(1, 32, dtype="int64"), "int64")
    octave = ops.sum(ops.cast(octaves < size, "int32"))
    finer = ops.cast(elements >= _LARGE, "int32")
    step = ops.left_shift(1, ops.maximum(octave - 2 - finer, 0))
    step = ops.cast(step, "int64")
    up = -(-size // step) * step
    return ops.cast(ops.where(elements >= _LARGEST, size, up), "int32")


def by_rungs(
    sample: Callable[..., Any],
    arguments: Arguments,
    noise: tuple[Tensor, ...],
    others: tuple[Tensor, ...],
    first: int,
    unit: int,
) -> Any:
    """`sample(arguments, noise, *others)`, its rows those of a rung.

    Args:
        sample: What programs compute, each of one size. Its results have the
            rows of the logits.
        arguments: Of any shape.
        noise: As for `sample`.
        others: As for `sample`.
        first: Axes of the logits before it are rows.
        unit: How many rows stay together.
    """
    if _fits(arguments.logits, first, unit):
        return sample(arguments, noise, *others)
    lead = ops.shape(arguments.logits)[:first]
    rows = in_rows(arguments, first)
    count, *tail = ops.shape(rows.logits)
    width = 1
    for size in tail:
        width = width * size
    size = rung(count // unit, width) * unit
    more = Arguments(
        backend.with_rows(rows.logits, size, 0.0),
        _with_rows(rows.temperature, size, 1.0),
        _with_rows(rows.class_mask, size, True),
        *rows[3:],
    )

    def back(result: Tensor) -> Tensor:
        result = backend.first_rows(result, count)
        return ops.reshape(result, (*lead, *ops.shape(result)[1:]))

    results = sample(more, noise, *others)
    if isinstance(results, tuple):
        return tuple(map(back, results))
    return back(results)


def _fits(logits: Tensor, first: int, unit: int) -> bool:
    """Whether there is nothing to be gained by more rows."""
    lead, tail = tuple(logits.shape[:first]), tuple(logits.shape[first:])
    if not lead:
        return True
    if not backend.is_eager():
        # What is known when a graph is traced, its program is compiled for.
        return None not in lead
    width = math.prod(tail)
    return len(lead) == 1 and rung(lead[0] // unit, width) * unit == lead[0]


def in_rows(arguments: Arguments, first: int) -> Arguments:
    """The same with one axis in place of those before `first`, of rows.

    Temperature and mask have as many, or one for all of them.
    """
    logits, temperature, class_mask, axis, learned = arguments
    lead = ops.shape(logits)[:first]
    rank = len(logits.shape)

    def flat(x: Tensor) -> Tensor:
        shape = (1,) * (rank - len(x.shape)) + tuple(ops.shape(x))
        before, tail = shape[:first], shape[first:]
        if all(isinstance(size, int) and size == 1 for size in before):
            return ops.reshape(x, (1, *tail))
        x = ops.broadcast_to(ops.reshape(x, shape), (*lead, *tail))
        return ops.reshape(x, (-1, *tail))

    return Arguments(
        ops.reshape(logits, (-1, *ops.shape(logits)[first:])),
        flat(temperature) if len(temperature.shape) else temperature,
        None if class_mask is None else flat(class_mask),
        axis - first + 1 if axis >= 0 else axis,
        learned,
    )


def _with_rows(x: Tensor | None, size: Tensor | int, filler: Any) -> Any:
    """`x` with `size` rows, where it has one for each."""
    if x is None or not len(x.shape) or x.shape[0] == 1:
        return x
    return backend.with_rows(x, size, filler)
