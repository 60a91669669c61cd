"""Operations on tensors that `keras.ops` is without."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.ops import (
    matmul as matmul,
    max as max,
    maximum as maximum,
    min as min,
    minimum as minimum,
)

# Keras keeps these to itself.
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.variables import AutocastScope
from keras.src.utils.tracking import DotNotTrackScope

from keras_gumbel._typing import Shape, Tensor
from keras_gumbel.backend.tensorflow.programs import unchecked
from keras_gumbel.backend.tensorflow.tracing import is_vectorised


def bitcast(x: Tensor, dtype: str) -> Tensor:
    """The same bits as another type of the same width."""
    # `keras.ops.view` cannot where a size is unknown.
    return tf.bitcast(x, dtype)


def unsigned(word: Tensor, dtype: str) -> Tensor:
    """An int32 as the number that its bits are without a sign."""
    return tf.cast(bitcast(word, "uint32"), dtype)


def argmax(x: Tensor, axis: int) -> Tensor:
    """The place of the first largest entry, int32.

    Keras's own tells 0 from -0 by their bits, which LiteRT has no way to do.
    """
    return tf.argmax(x, axis, output_type=tf.int32)


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The largest entries of each row in order, and their places."""
    values, places = keras.ops.top_k(x, k)
    return values, places


def log_gamma(x: Tensor) -> Tensor:
    """log((x - 1)!)."""
    return tf.math.lgamma(x)


@unchecked
def enlarged(
    x: Tensor, shape: Sequence[Tensor | int], filler: float | bool
) -> Tensor:
    """`x` of at least the `shape`: with entries of the `filler` at the ends."""
    more = (
        goal - size
        for goal, size in zip(shape, keras.ops.shape(x), strict=True)
    )
    return tf.pad(x, [[0, size] for size in more], constant_values=filler)


def corner(x: Tensor, shape: Sequence[Tensor | int]) -> Tensor:
    """The first entries of `x`, so that it has the `shape`; all for -1."""
    return tf.slice(x, [0] * len(shape), shape)


def run_of_rows(x: Tensor, start: Tensor, size: Tensor | int) -> Tensor:
    """Rows of a matrix, as many as `size`, from `start` on."""
    # A run of a vector, where a loop over it reads in one go.
    width = keras.ops.shape(x)[1]
    first = tf.cast(start, tf.int64) * tf.cast(width, tf.int64)
    flat = tf.slice(
        tf.reshape(x, [-1]), [first], [tf.cast(size * width, tf.int64)]
    )
    return tf.reshape(flat, (size, width))


def with_rows(x: Tensor, start: Tensor, rows: Tensor) -> Tensor:
    """`x` with as many of its first axis, from `start` on, replaced."""
    if is_vectorised():
        place = start + tf.range(tf.shape(rows)[0])
        return tf.tensor_scatter_nd_update(x, place[:, None], rows)
    # This has no derivative, but it does not copy `x` in a loop.
    start = (start, *(0,) * (len(x.shape) - 1))
    return keras.ops.slice_update(x, start, rows)


def sum_to_shape(x: Tensor, shape: Tensor) -> Tensor:
    """`x` summed to `shape`: the transpose of broadcasting from it."""
    axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=shape).r1
    return tf.reshape(tf.reduce_sum(x, axes), shape)


def widest_float() -> str:
    """The dtype that sums are exact in as far as they can be."""
    return "float64"


def trains_by_values() -> bool:
    """Whether Keras trains by values of variables, and not by these."""
    return False


def rank(x: Tensor) -> int | None:
    """How many axes it has, None where that is not known."""
    found: int | None = x.shape.rank
    return found


def to_tensor(x: Tensor, dtype: str | None = None) -> Tensor:
    """`x` as a tensor; a variable is read, which Keras leaves to later."""
    if isinstance(x, float):
        number = _number if tf.executing_eagerly() else tf.convert_to_tensor
        return number(x, dtype)
    if isinstance(x, keras.Variable):
        # Not by way of the dtype that a layer computes in. And in one
        # operation, where Keras takes three.
        value = tf.convert_to_tensor(x.value if dtype is None else read(x))
        return tf.cast(value, dtype or value.dtype)
    return tf.convert_to_tensor(keras.ops.convert_to_tensor(x, dtype))


def read(variable: keras.Variable) -> Tensor:
    """What is behind `variable`, in its own dtype.

    Inside a layer of a mixed policy Keras would cast it to half precision.
    """
    with AutocastScope(None):
        return variable.value


@functools.lru_cache(maxsize=64)
def _number(x: float, dtype: str | None) -> Tensor:
    """Eager code is called again with the same few settings."""
    return tf.convert_to_tensor(x, dtype)


def static_shape(x: Tensor | Shape) -> Shape:
    """The sizes of `x`, each None where a graph does not know it."""
    return tuple(getattr(x, "shape", x))


def has_numbers(x: Tensor) -> bool:
    """Whether there are numbers, now or when a program runs: always."""
    del x
    return True


def static_value(x: Tensor) -> np.ndarray | None:
    """`x` as an array where its value is known now, otherwise None."""
    if isinstance(x, keras.Variable | tf.Variable):
        return None
    return tf.get_static_value(x) if tf.is_tensor(x) else np.asarray(x)


def layout(x: Any) -> str:
    """`"dense"`, `"ragged"` or `"sparse"`."""
    if isinstance(x, tf.RaggedTensor):
        return "ragged"
    if isinstance(x, tf.SparseTensor):
        return "sparse"
    if isinstance(x, keras.KerasTensor):
        # Keras 3.10 has no ragged ones.
        ragged = getattr(x, "ragged", False)
        return "ragged" if ragged else "sparse" if x.sparse else "dense"
    return "dense"


def with_at_least(x: Tensor, size: int, axis: int, message: str) -> Tensor:
    """`x`, or an error when the program runs: its `axis` is below `size`.

    The error ends with the `message` and the size that came.
    """
    shape = tf.shape(x)
    given = shape[axis]
    check = tf.debugging.Assert(given >= size, [message, given])
    least = tf.one_hot(axis, len(x.shape), on_value=size, dtype=shape.dtype)
    # XLA drops the assertion. This slice, which is all of `x`, it refuses.
    with tf.control_dependencies([check] if check is not None else []):
        start, end = tf.zeros_like(shape), tf.maximum(shape, least)
        whole = tf.slice(x, start, end, name="with_at_least")
    return tf.ensure_shape(whole, x.shape)


def checkpoint_with(
    layer: keras.Layer, name: str, variable: keras.Variable
) -> None:
    """Have `tf.train.Checkpoint` of `layer` hold `variable`, as `name`.

    It finds the attributes that are variables, and none that hold one.
    """
    # Keras watches the list that TensorFlow notes it in, and would make a
    # weight of what is none.
    with DotNotTrackScope():
        layer._track_trackable(variable, name)


def shares_objects() -> bool:
    """Whether Keras reads or writes a file, in which what is one stays one."""
    shared = get_global_attribute("shared_objects/id_to_obj_map")
    return shared is not None
