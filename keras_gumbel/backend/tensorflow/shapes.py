"""Padding, cutting and new shapes, quick in eager code.

TensorFlow's own derivatives of these take longer than a small sample. Here each
is one recorded step, whose derivative is another of them.
"""

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

# `tf` does not export the pause of all tapes.
from tensorflow.python.eager import record

from keras_gumbel._typing import Tensor
from keras_gumbel.backend.tensorflow.programs import unchecked


def sizes(x: Tensor) -> tuple[Tensor | int, ...]:
    """Return the sizes of `x`, each a tensor where a graph does not know it."""
    known = tuple(x.shape)
    # Keras asks the device even for what is known.
    return keras.ops.shape(x) if None in known else known


@unchecked
def enlarged(
    x: Tensor, shape: Sequence[Tensor | int], filler: float | bool
) -> Tensor:
    """Pad `x` to the `shape`, with `filler` at the end of each axis."""
    if not tf.executing_eagerly():
        pairs = zip(shape, keras.ops.shape(x), strict=True)
        more = [[0, goal - size] for goal, size in pairs]
        return tf.pad(x, more, constant_values=filler)
    before, after = tuple(x.shape), tuple(shape)
    if before == after:
        return x

    def pad(x: Tensor) -> Tensor:
        return tf.raw_ops.PadV2(
            input=x,
            paddings=_paddings(before, after),
            constant_values=number(filler, x.dtype),
        )

    return _linear(pad, lambda dy: corner(dy, before), x)


@unchecked
def corner(x: Tensor, shape: Sequence[Tensor | int]) -> Tensor:
    """Return the first entries of `x`, of the `shape`; -1 keeps an axis."""
    if not tf.executing_eagerly():
        return tf.slice(x, [0] * len(shape), shape)
    before = tuple(x.shape)
    pairs = zip(before, shape, strict=True)
    after = tuple(size if goal == -1 else goal for size, goal in pairs)
    if before == after:
        return x

    def cut(x: Tensor) -> Tensor:
        begin = _integers((0,) * len(after))
        return tf.raw_ops.Slice(input=x, begin=begin, size=_integers(after))

    return _linear(cut, lambda dy: enlarged(dy, before, 0.0), x)


@unchecked
def reshaped(x: Tensor, shape: Sequence[Tensor | int]) -> Tensor:
    """Return `keras.ops.reshape(x, shape)`."""
    if not tf.executing_eagerly():
        return keras.ops.reshape(x, shape)
    before = tuple(x.shape)

    def turn(x: Tensor) -> Tensor:
        return tf.raw_ops.Reshape(tensor=x, shape=_integers(tuple(shape)))

    return _linear(turn, lambda dy: reshaped(dy, before), x)


def _linear(
    function: Callable[[Tensor], Tensor],
    transpose: Callable[[Tensor], Tensor],
    x: Tensor,
) -> Tensor:
    """Return `function(x)` as one recorded step. In eager code only.

    Args:
        function: A linear function, perhaps with a constant added.
        transpose: Maps the gradient at its result to the gradient at `x`. It
            needs derivatives of its own.
        x: A tensor.
    """
    with record.stop_recording():
        y = function(x)
    if record.could_possibly_record():
        record.record_operation("linear", [y], [x], lambda dy: [transpose(dy)])
    return y


@functools.lru_cache(maxsize=64)
def number(x: float, dtype: str | None) -> Tensor:
    """Convert `x`, cached: eager code repeats the same few settings."""
    return tf.convert_to_tensor(x, dtype)


@functools.lru_cache(maxsize=2**10)
def _integers(numbers: tuple[int, ...]) -> Tensor:
    """Convert integers, cached: eager code repeats the same few sizes."""
    return tf.constant(numbers, "int64")


@functools.lru_cache(maxsize=2**10)
def _paddings(before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """Return what `tf.pad` adds to go from one shape to the other."""
    more = [(0, goal - size) for size, goal in zip(before, after, strict=True)]
    return tf.constant(more, "int64")
