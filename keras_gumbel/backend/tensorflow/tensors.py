"""Operations on tensors that `keras.ops` lacks."""

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.ops import (
    argsort as argsort,
    bitwise_xor as bitwise_xor,
    isnan as isnan,
    matmul as matmul,
    max as max,
    maximum as maximum,
    min as min,
    minimum as minimum,
    one_hot as one_hot,
    right_shift as right_shift,
    scan as scan,
    segment_sum as segment_sum,
    take_along_axis as take_along_axis,
)

# Keras keeps these private.
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.variables import AutocastScope
from keras.src.utils.tracking import DotNotTrackScope

from keras_gumbel._typing import Shape, Tensor
from keras_gumbel.backend.tensorflow.tracing import is_vectorised


def bitcast(x: Tensor, dtype: str) -> Tensor:
    """Return the same bits as another type of the same width."""
    # `keras.ops.view` fails where a size is unknown.
    return tf.bitcast(x, dtype)


def unsigned(word: Tensor, dtype: str) -> Tensor:
    """Return an int32, read without a sign, as a float."""
    return tf.cast(bitcast(word, "uint32"), dtype)


def argmax(x: Tensor, axis: int) -> Tensor:
    """Return the place of the first largest entry, int32.

    Keras's own tells 0 from -0 by their bits, which LiteRT cannot do.
    """
    return tf.argmax(x, axis, output_type=tf.int32)


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the largest entries per row, in order, and their places."""
    values, places = keras.ops.top_k(x, k)
    return values, places


def log_gamma(x: Tensor) -> Tensor:
    """Return log((x - 1)!)."""
    return tf.math.lgamma(x)


def run_of_rows(x: Tensor, start: Tensor, size: Tensor | int) -> Tensor:
    """Return `size` rows of a matrix, from `start` on."""
    # A loop reads a run of the flat vector in one go.
    width = keras.ops.shape(x)[1]
    first = tf.cast(start, tf.int64) * tf.cast(width, tf.int64)
    flat = tf.slice(
        tf.reshape(x, [-1]), [first], [tf.cast(size * width, tf.int64)]
    )
    return tf.reshape(flat, (size, width))


def with_rows(x: Tensor, start: Tensor, rows: Tensor) -> Tensor:
    """Return `x` with `rows` in place of its rows from `start` on."""
    if is_vectorised():
        place = start + tf.range(tf.shape(rows)[0])
        return tf.tensor_scatter_nd_update(x, place[:, None], rows)
    # This has no derivative, but it does not copy `x` in a loop.
    start = (start, *(0,) * (len(x.shape) - 1))
    return keras.ops.slice_update(x, start, rows)


def sum_to_shape(x: Tensor, shape: Tensor) -> Tensor:
    """Sum `x` to `shape`: the transpose of broadcasting from it."""
    axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=shape).r1
    return tf.reshape(tf.reduce_sum(x, axes), shape)


def widest_float() -> str:
    """Return the dtype in which sums are most exact."""
    return "float64"


def trains_by_values() -> bool:
    """Return whether Keras trains by values, not by variables."""
    return False


def rank(x: Tensor) -> int | None:
    """Return the number of axes, None if unknown."""
    found: int | None = x.shape.rank
    return found


def to_tensor(x: Tensor, dtype: str | None = None) -> Tensor:
    """Return `x` as a tensor; read a variable now, which Keras would delay."""
    if isinstance(x, float):
        convert = _number if tf.executing_eagerly() else tf.convert_to_tensor
        return convert(x, dtype)
    if isinstance(x, keras.Variable):
        # A given dtype must not pass through the layer's compute dtype. This
        # takes one operation, where Keras takes three.
        value = tf.convert_to_tensor(x.value if dtype is None else read(x))
        return tf.cast(value, dtype or value.dtype)
    return tf.convert_to_tensor(keras.ops.convert_to_tensor(x, dtype))


def read(variable: keras.Variable) -> Tensor:
    """Return the value of `variable`, in its own dtype.

    In a layer with a mixed policy Keras would cast it to half precision.
    """
    with AutocastScope(None):
        return variable.value


@functools.lru_cache(maxsize=64)
def _number(x: float, dtype: str | None) -> Tensor:
    """Convert `x`, cached: eager code repeats the same few settings."""
    return tf.convert_to_tensor(x, dtype)


def static_shape(x: Tensor | Shape) -> Shape:
    """Return the sizes of `x`, each None where a graph does not know it."""
    return tuple(getattr(x, "shape", x))


def has_numbers(x: Tensor) -> bool:
    """Return True: it has numbers, now or when a program runs."""
    del x
    return True


def static_value(x: Tensor) -> np.ndarray | None:
    """Return `x` as an array if its value is known now, else None."""
    if isinstance(x, keras.Variable | tf.Variable):
        return None
    return tf.get_static_value(x) if tf.is_tensor(x) else np.asarray(x)


def layout(x: Any) -> str:
    """Return `"dense"`, `"ragged"` or `"sparse"`."""
    if isinstance(x, tf.RaggedTensor):
        return "ragged"
    if isinstance(x, tf.SparseTensor):
        return "sparse"
    if isinstance(x, keras.KerasTensor):
        # Keras 3.10 has no ragged tensors.
        ragged = getattr(x, "ragged", False)
        return "ragged" if ragged else "sparse" if x.sparse else "dense"
    return "dense"


def with_at_least(x: Tensor, size: int, axis: int, message: str) -> Tensor:
    """Return `x`; raise when the program runs if its `axis` is below `size`.

    The error ends with the `message` and the actual size.
    """
    shape = tf.shape(x)
    given = shape[axis]
    check = tf.debugging.Assert(given >= size, [message, given])
    least = tf.one_hot(axis, len(x.shape), on_value=size, dtype=shape.dtype)
    # XLA drops the assertion, but refuses this slice beyond the end of `x`.
    with tf.control_dependencies([check] if check is not None else []):
        start, end = tf.zeros_like(shape), tf.maximum(shape, least)
        whole = tf.slice(x, start, end, name="with_at_least")
    return tf.ensure_shape(whole, x.shape)


def checkpoint_with(
    layer: keras.Layer, name: str, variable: keras.Variable
) -> None:
    """Make `tf.train.Checkpoint` of `layer` hold `variable`, as `name`.

    It finds attributes that are variables, but none that hold a variable.
    """
    # Keras watches TensorFlow's list, and would make the variable a weight.
    with DotNotTrackScope():
        layer._track_trackable(variable, name)


def shares_objects() -> bool:
    """Return whether Keras reads or writes a file, which shares objects."""
    shared = get_global_attribute("shared_objects/id_to_obj_map")
    return shared is not None
