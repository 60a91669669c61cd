"""Operations on arrays that `keras.ops` lacks."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax
from jax.experimental import sparse
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
    segment_sum as segment_sum,
    take_along_axis as take_along_axis,
)

# Keras keeps these private.
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.variables import AutocastScope

from keras_gumbel._typing import Shape, Tensor, Tensors
from keras_gumbel.backend import frames


def bitcast(x: Tensor, dtype: str) -> Tensor:
    """Return the same bits as another type of the same width."""
    return lax.bitcast_convert_type(x, np.dtype(dtype))


def unsigned(word: Tensor, dtype: str) -> Tensor:
    """Return an int32, read without a sign, as a float."""
    return bitcast(word, "uint32").astype(dtype)


def argmax(x: Tensor, axis: int) -> Tensor:
    """Return the place of the first largest entry, int32."""
    return lax.argmax(x, axis % x.ndim, np.int32)


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the largest entries per row, in order, and their places."""
    if not isinstance(x.shape[-1], int):
        # JAX must know that a row has `k` entries.
        x = jnp.pad(x, ((0, 0), (0, k)), constant_values=-jnp.inf)
    if frames.export_format({}) != "saved_model":
        values, places = lax.top_k(x, k)
        return values, places
    # TensorFlow 2.21 cannot read what JAX 0.10 writes for `lax.top_k`.
    order = jnp.argsort(x, axis=-1, stable=True, descending=True)[..., :k]
    return jnp.take_along_axis(x, order, axis=-1), order


def scan(
    step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    table: Tensor,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `lax.scan`, also over a symbolic number of entries.

    Over such a number JAX 0.10 compares integers of 32 and 64 bits, unless
    `jax_enable_x64` is set. This loop then has no derivative.
    """
    if isinstance(table.shape[0], int):
        return lax.scan(step, start, table, reverse=reverse)
    last = jnp.asarray(table.shape[0], "int32") - 1
    _, like = jax.eval_shape(step, start, table[0])
    results = jnp.zeros((table.shape[0], *like.shape), like.dtype)

    def one(n: Tensor, carry: Tensors) -> Tensors:
        state, results = carry
        place = last - n if reverse else n
        state, result = step(
            state, lax.dynamic_index_in_dim(table, place, 0, False)
        )
        return state, lax.dynamic_update_index_in_dim(results, result, place, 0)

    return lax.fori_loop(np.int32(0), last + 1, one, (start, results))


def log_gamma(x: Tensor) -> Tensor:
    """Return log((x - 1)!)."""
    return lax.lgamma(x)


def enlarged(x: Tensor, shape: Sequence[int], filler: float | bool) -> Tensor:
    """Pad `x` to the `shape`, with `filler` at the end of each axis."""
    more = [(0, goal - size) for goal, size in zip(shape, x.shape, strict=True)]
    return jnp.pad(x, more, constant_values=filler)


def corner(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the first entries of `x`, of the `shape`; -1 keeps an axis."""
    return x[tuple(slice(None if n == -1 else n) for n in shape)]


def reshaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return `keras.ops.reshape(x, shape)`."""
    return jnp.reshape(x, shape)


def run_of_rows(x: Tensor, start: Tensor, size: int) -> Tensor:
    """Return `size` rows of a matrix, from `start` on."""
    return lax.dynamic_slice_in_dim(x, start, size, 0)


def with_rows(x: Tensor, start: Tensor, rows: Tensor) -> Tensor:
    """Return `x` with `rows` in place of its rows from `start` on."""
    return lax.dynamic_update_slice_in_dim(x, rows, start, 0)


def sum_to_shape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum `x` to `shape`: the transpose of broadcasting from it."""
    lead = x.ndim - len(shape)
    axes = (n for n, size in enumerate(shape, lead) if size == 1)
    total = jnp.sum(x, (*range(lead), *axes))
    return jnp.reshape(total, tuple(shape))


def widest_float() -> str:
    """Return the dtype in which sums are most exact."""
    return "float64" if jax.config.jax_enable_x64 else "float32"


def trains_by_values() -> bool:
    """Return whether Keras trains by values, not by variables."""
    return True


def rank(x: Tensor) -> int | None:
    """Return the number of axes."""
    found: int = x.ndim
    return found


def to_tensor(x: Tensor, dtype: str | None = None) -> Tensor:
    """Return `x` as an array; read a variable."""
    if isinstance(x, keras.Variable):
        # A given dtype must not pass through the layer's compute dtype.
        x = x.value if dtype is None else read(x)
    wide = isinstance(x, np.ndarray) and x.dtype in (np.int64, np.uint64)
    if wide and not jax.config.jax_enable_x64:
        # JAX would keep the low 32 bits, a different number.
        x = np.clip(x, -(2**31), 2**31 - 1).astype("int32")
    return keras.ops.convert_to_tensor(x, dtype)


def read(variable: keras.Variable) -> Tensor:
    """Return the value of `variable`, in its own dtype.

    In a layer with a mixed policy Keras would cast it to half precision.
    """
    with AutocastScope(None):
        return variable.value


def sizes(x: Tensor) -> tuple[int, ...]:
    """Return the sizes of `x`."""
    return tuple(x.shape)


def static_shape(x: Tensor | Shape) -> Shape:
    """Return the sizes of `x`, each None where a trace has a symbol."""
    shape = getattr(x, "shape", x)
    return tuple(size if isinstance(size, int) else None for size in shape)


def has_numbers(x: Tensor) -> bool:
    """Return True: it has numbers, now or when a program runs."""
    del x
    return True


def static_value(x: Tensor) -> np.ndarray | None:
    """Return `x` as an array if its value is known now, else None."""
    if isinstance(x, keras.Variable | jax.core.Tracer):
        return None
    return np.asarray(x)


def layout(x: Any) -> str:
    """Return `"dense"` or `"sparse"`."""
    is_sparse = isinstance(x, sparse.JAXSparse)
    is_sparse |= isinstance(x, keras.KerasTensor) and x.sparse
    return "sparse" if is_sparse else "dense"


def with_at_least(x: Tensor, size: int, axis: int, message: str) -> Tensor:
    """Return `x`; raise if its `axis` is known to be below `size`."""
    known = all(isinstance(n, int) for n in (size, x.shape[axis]))
    if known and x.shape[axis] < size:
        raise ValueError(f"{message} {x.shape[axis]}")
    return x


def checkpoint_with(
    layer: keras.Layer, name: str, variable: keras.Variable
) -> None:
    """Do nothing: a checkpoint holds all of `layer.variables`."""


def shares_objects() -> bool:
    """Return whether Keras reads or writes a file, which shares objects."""
    shared = get_global_attribute("shared_objects/id_to_obj_map")
    return shared is not None
