"""Padding, cutting and new shapes, quick in eager code.

TensorFlow's own derivatives of these take longer than a small sample. Here each
is one recorded step, whose derivative is another of them.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

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

    pairs = zip(before, after, strict=True)
    added = tuple((0, goal - size) for size, goal in pairs)

    def pad(x: Tensor) -> Tensor:
        return tf.raw_ops.PadV2(
            input=x,
            paddings=_on_host(added, "int64"),
            constant_values=_on_host(filler, x.dtype),
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
        begin = _on_host((0,) * len(after), "int64")
        size = _on_host(after, "int64")
        return tf.raw_ops.Slice(input=x, begin=begin, size=size)

    return _linear(cut, lambda dy: enlarged(dy, before, 0.0), x)


@unchecked
def reshaped(x: Tensor, shape: Sequence[Tensor | int]) -> Tensor:
    """Return `keras.ops.reshape(x, shape)`."""
    if not tf.executing_eagerly():
        return keras.ops.reshape(x, shape)
    before = tuple(x.shape)

    def turn(x: Tensor) -> Tensor:
        goal = _on_host(tuple(shape), "int64")
        return tf.raw_ops.Reshape(tensor=x, shape=goal)

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


@functools.lru_cache(maxsize=2**10)
def _on_host(numbers: Any, dtype: Any) -> Tensor:
    """Convert numbers, cached: eager code repeats the same few sizes.

    The host reads them. From a GPU it would wait for each.
    """
    with tf.device("CPU:0"):
        return tf.constant(numbers, dtype)
