"""Operations on arrays that `keras.ops` is without."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax
from jax.experimental import sparse
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

from keras_gumbel._typing import Shape, Tensor
from keras_gumbel.backend import frames


def bitcast(x: Tensor, dtype: str) -> Tensor:
    """The same bits as another type of the same width."""
    return lax.bitcast_convert_type(x, np.dtype(dtype))


def unsigned(word: Tensor, dtype: str) -> Tensor:
    """An int32 as the number that its bits are without a sign."""
    return bitcast(word, "uint32").astype(dtype)


def argmax(x: Tensor, axis: int) -> Tensor:
    """The place of the first largest entry, int32."""
    return lax.argmax(x, axis % x.ndim, np.int32)


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The largest entries of each row in order, and their places."""
    if not isinstance(x.shape[-1], int):
        # JAX must know that there are as many.
        x = jnp.pad(x, ((0, 0), (0, k)), constant_values=-jnp.inf)
    if frames.export_format({}) != "saved_model":
        values, places = lax.top_k(x, k)
        return values, places
    # TensorFlow 2.21 cannot read what JAX 0.10 writes for `lax.top_k`.
    order = jnp.argsort(x, axis=-1, stable=True, descending=True)[..., :k]
    return jnp.take_along_axis(x, order, axis=-1), order


def log_gamma(x: Tensor) -> Tensor:
    """log((x - 1)!)."""
    return lax.lgamma(x)


def enlarged(x: Tensor, shape: Sequence[int], filler: float | bool) -> Tensor:
    """`x` of at least the `shape`: with entries of the `filler` at the ends."""
    more = [(0, goal - size) for goal, size in zip(shape, x.shape, strict=True)]
    return jnp.pad(x, more, constant_values=filler)


def corner(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The first entries of `x`, so that it has the `shape`; all for -1."""
    return x[tuple(slice(None if n == -1 else n) for n in shape)]


def run_of_rows(x: Tensor, start: Tensor, size: int) -> Tensor:
    """Rows of a matrix, as many as `size`, from `start` on."""
    return lax.dynamic_slice_in_dim(x, start, size, 0)


def with_rows(x: Tensor, start: Tensor, rows: Tensor) -> Tensor:
    """`x` with as many of its first axis, from `start` on, replaced."""
    return lax.dynamic_update_slice_in_dim(x, rows, start, 0)


def sum_to_shape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """`x` summed to `shape`: the transpose of broadcasting from it."""
    lead = x.ndim - len(shape)
    axes = (n for n, size in enumerate(shape, lead) if size == 1)
    total = jnp.sum(x, (*range(lead), *axes))
    return jnp.reshape(total, tuple(shape))


def widest_float() -> str:
    """The dtype that sums are exact in as far as they can be."""
    return "float64" if jax.config.jax_enable_x64 else "float32"


def trains_by_values() -> bool:
    """Whether Keras trains by values of variables, and not by these."""
    return True


def rank(x: Tensor) -> int | None:
    """How many axes it has."""
    found: int = x.ndim
    return found


def to_tensor(x: Tensor, dtype: str | None = None) -> Tensor:
    """`x` as an array; a variable is read."""
    if isinstance(x, keras.Variable):
        # Not by way of the dtype that a layer computes in.
        x = x.value if dtype is None else read(x)
    wide = isinstance(x, np.ndarray) and x.dtype in (np.int64, np.uint64)
    if wide and not jax.config.jax_enable_x64:
        # JAX would keep the low 32 bits, another number.
        x = np.clip(x, -(2**31), 2**31 - 1).astype("int32")
    return keras.ops.convert_to_tensor(x, dtype)


def read(variable: keras.Variable) -> Tensor:
    """What is behind `variable`, in its own dtype.

    Inside a layer of a mixed policy Keras would cast it to half precision.
    """
    with AutocastScope(None):
        return variable.value


def static_shape(x: Tensor | Shape) -> Shape:
    """The sizes of `x`, each None where a trace has a symbol for it."""
    shape = getattr(x, "shape", x)
    return tuple(size if isinstance(size, int) else None for size in shape)


def has_numbers(x: Tensor) -> bool:
    """Whether there are numbers, now or when a program runs: always."""
    del x
    return True


def static_value(x: Tensor) -> np.ndarray | None:
    """`x` as an array where its value is known now, otherwise None."""
    if isinstance(x, keras.Variable | jax.core.Tracer):
        return None
    return np.asarray(x)


def layout(x: Any) -> str:
    """`"dense"` or `"sparse"`."""
    is_sparse = isinstance(x, sparse.JAXSparse)
    is_sparse |= isinstance(x, keras.KerasTensor) and x.sparse
    return "sparse" if is_sparse else "dense"


def with_at_least(x: Tensor, size: int, axis: int, message: str) -> Tensor:
    """`x`; an error where its `axis` is known to be below `size`."""
    known = all(isinstance(n, int) for n in (size, x.shape[axis]))
    if known and x.shape[axis] < size:
        raise ValueError(f"{message} {x.shape[axis]}")
    return x


def checkpoint_with(
    layer: keras.Layer, name: str, variable: keras.Variable
) -> None:
    """Nothing: a checkpoint is of `layer.variables`, in which all is."""


def shares_objects() -> bool:
    """Whether Keras reads or writes a file, in which what is one stays one."""
    shared = get_global_attribute("shared_objects/id_to_obj_map")
    return shared is not None
