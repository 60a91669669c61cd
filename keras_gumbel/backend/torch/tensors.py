"""Operations on tensors that `keras.ops` lacks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

# Keras keeps these private.
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.variables import AutocastScope
from keras.src.backend.torch.core import to_torch_dtype

from keras_gumbel._typing import Shape, Tensor
from keras_gumbel.backend.torch.programs import is_plain
from keras_gumbel.backend.torch.tracing import export_format, is_eager

# Keras traces with these sizes in place of unknown ones.
_STAND_INS = (83, 89)


def bitcast(x: Tensor, dtype: str) -> Tensor:
    """Return the same bits as another type of the same width."""
    return x.view(to_torch_dtype(dtype))


def unsigned(word: Tensor, dtype: str) -> Tensor:
    """Return an int32, read without a sign, as a float."""
    # torch supports little of uint32, and half of a word has no sign.
    wide = to_torch_dtype(dtype)
    high = ((word >> 16) & 0xFFFF).to(wide)
    return high * 2.0**16 + (word & 0xFFFF).to(wide)


def max(
    x: Tensor,
    axis: int | tuple[int, ...],
    *,
    keepdims: bool = False,
    initial: float,
) -> Tensor:
    """Return the largest entry along an axis; `initial` if it is empty."""
    if 0 in x.shape:
        return _of_none(x, axis, keepdims, initial)
    return torch.amax(x, axis, keepdims)


def min(
    x: Tensor,
    axis: int | tuple[int, ...],
    *,
    keepdims: bool = False,
    initial: float,
) -> Tensor:
    """Return the smallest entry along an axis; `initial` if it is empty."""
    if 0 in x.shape:
        return _of_none(x, axis, keepdims, initial)
    return torch.amin(x, axis, keepdims)


def _of_none(
    x: Tensor, axis: int | tuple[int, ...], keepdims: bool, initial: float
) -> Tensor:
    # The sum of nothing has the shape of the result.
    found = torch.sum(x, axis, keepdims, dtype=x.dtype)
    return torch.full_like(found, initial)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """Return the matrix product; Keras would make float32 of float64."""
    return torch.matmul(x, y)


def maximum(x: Tensor, y: Tensor | float) -> Tensor:
    """Return the larger, or NaN; Keras would make float32 of float64."""
    return _of_two(x, y, torch.maximum)


def minimum(x: Tensor, y: Tensor | float) -> Tensor:
    """Return the smaller, or NaN; Keras would make float32 of float64."""
    return _of_two(x, y, torch.minimum)


def _of_two(x: Tensor, y: Tensor | float, which: Any) -> Tensor:
    if not isinstance(y, torch.Tensor):
        y = torch.as_tensor(y, dtype=x.dtype, device=x.device)
    elif y.dtype != x.dtype:
        wide = torch.promote_types(x.dtype, y.dtype)
        x, y = x.to(wide), y.to(wide)
    return which(x, y)


def log_gamma(x: Tensor) -> Tensor:
    """Return log((x - 1)!)."""
    return torch.lgamma(x)


def enlarged(x: Tensor, shape: Sequence[int], filler: float | bool) -> Tensor:
    """Pad `x` to the `shape`, with `filler` at the end of each axis."""
    more: list[int] = []
    for goal, size in zip(shape, x.shape, strict=True):
        more = [0, goal - size, *more]
    return torch.nn.functional.pad(x, more, value=filler) if any(more) else x


def corner(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the first entries of `x`, of the `shape`; -1 keeps an axis."""
    return x[tuple(slice(None if n == -1 else n) for n in shape)]


def reshaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return `keras.ops.reshape(x, shape)`."""
    return x.reshape(tuple(shape))


def run_of_rows(x: Tensor, start: Tensor | int, size: int) -> Tensor:
    """Return `size` rows of a matrix, from `start` on."""
    if is_eager():
        start = int(start)
        return x[start : start + size]
    return torch.index_select(x, 0, start + torch.arange(size))


def with_rows(x: Tensor, start: Tensor | int, rows: Tensor) -> Tensor:
    """Return `x` with `rows` in place of its rows from `start` on.

    In eager code it is `x` itself: a copy for each block would take longer.
    """
    if is_plain((x, rows)):
        start = int(start)
        x[start : start + len(rows)] = rows
        return x
    place = torch.as_tensor(start) + torch.arange(rows.shape[0])
    return torch.index_copy(x, 0, place.to(x.device), rows)


def one_hot(x: Tensor, size: int, axis: int, dtype: Any) -> Tensor:
    """Return 1 at the places `x` along a new axis, which exporters can turn."""
    axis %= x.ndim + 1
    shape = [1] * (x.ndim + 1)
    shape[axis] = -1
    place = torch.arange(size, device=x.device).reshape(shape)
    return (place == x.unsqueeze(axis)).to(dtype)


def bitwise_xor(x: Tensor, y: Tensor | int) -> Tensor:
    """Return the exclusive OR; of integers torch's ONNX has AND alone."""
    if export_format() == "onnx":
        return x + y - 2 * (x & y)
    return x ^ y


def right_shift(x: Tensor, count: int) -> Tensor:
    """Shift to the right, the sign coming in; ONNX divides, by itself to 0."""
    if export_format() == "onnx":
        return torch.div(x, 2**count, rounding_mode="floor")
    return x >> count


def isnan(x: Tensor) -> Tensor:
    """Return whether each is NaN, by what Inductor has an instruction for."""
    return x != x


def take_along_axis(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Return the entries at `indices`, which are not negative.

    A compiler makes a constant of each size in torch's `take_along_dim`.
    """
    sizes = [list(x.shape), list(indices.shape)]
    for one in sizes:
        one[axis] = 1
    if sizes[0] != sizes[1]:
        goal = list(torch.broadcast_shapes(*sizes))
        goal[axis] = -1
        x, indices = x.expand(goal), indices.expand(goal)
    return torch.gather(x, axis, indices.long())


def segment_sum(data: Tensor, segment_ids: Tensor, num_segments: int) -> Tensor:
    """Return `keras.ops.segment_sum`, which is float32 on torch, in any dtype.

    Rows with a number that is out of range are left out.
    """
    out = (segment_ids < 0) | (segment_ids >= num_segments)
    place = torch.where(out, num_segments, segment_ids).long()
    sums = data.new_zeros((num_segments + 1, *data.shape[1:]))
    return torch.index_add(sums, 0, place, data)[:num_segments]


def sum_to_shape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum `x` to `shape`: the transpose of broadcasting from it."""
    return x.sum_to_size(tuple(shape))


def widest_float() -> str:
    """Return the dtype in which sums are most exact."""
    return "float64"


def trains_by_values() -> bool:
    """Return whether Keras trains by values, not by variables."""
    return False


def rank(x: Tensor) -> int | None:
    """Return the number of axes."""
    return len(x.shape)


def to_tensor(x: Tensor, dtype: str | None = None) -> Tensor:
    """Return `x` as a tensor; read a variable."""
    if isinstance(x, keras.Variable):
        # A given dtype must not pass through the layer's compute dtype.
        x = x.value if dtype is None else read(x)
    if isinstance(x, np.ndarray) and x.dtype == np.uint64:
        # Keras on torch has no uint64.
        x = np.minimum(x, 2**63 - 1).astype("int64")
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        # Keras would make float32 of it, on torch alone.
        dtype = dtype or "float64"
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
    """Return the sizes of `x`, each None where Keras traces a stand-in."""
    shape = tuple(getattr(x, "shape", x))
    if not in_symbolic_scope():
        return shape
    return tuple(None if size in _STAND_INS else size for size in shape)


def has_numbers(x: Tensor) -> bool:
    """Return False in a trace of Keras, with missing or arbitrary numbers."""
    return not (x.is_meta or in_symbolic_scope())


def static_value(x: Tensor) -> np.ndarray | None:
    """Return `x` as an array if its value is known now, else None."""
    if isinstance(x, keras.Variable):
        return None
    if isinstance(x, torch.Tensor):
        known = is_eager(x) and x.device.type == "cpu"
        return keras.ops.convert_to_numpy(x) if known else None
    return np.asarray(x)


def layout(x: Any) -> str:
    """Return `"dense"`, `"ragged"` or `"sparse"`."""
    if isinstance(x, torch.Tensor):
        if x.is_nested:
            return "ragged"
        return "dense" if x.layout == torch.strided else "sparse"
    is_sparse = isinstance(x, keras.KerasTensor) and x.sparse
    return "sparse" if is_sparse else "dense"


def with_at_least(x: Tensor, size: int, axis: int, message: str) -> Tensor:
    """Return `x`; raise if its `axis` is below `size`.

    Do not raise where Keras traces, with sizes that stand in for others.
    """
    if x.shape[axis] < size and not in_symbolic_scope():
        raise ValueError(f"{message} {x.shape[axis]}")
    return x


def checkpoint_with(
    layer: keras.Layer, name: str, variable: keras.Variable
) -> None:
    """Do nothing: a `state_dict` holds all of `layer.variables`."""


def shares_objects() -> bool:
    """Return whether Keras reads or writes a file, which shares objects."""
    shared = get_global_attribute("shared_objects/id_to_obj_map")
    return shared is not None
