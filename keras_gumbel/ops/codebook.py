"""Codes and their vectors, in several codebooks at once.

Plain `keras.ops`, so that a model in inference mode exports to every format;
`codes_of`, for samples, is a compiled program. A code of -1 means that there is
none: no class is allowed, or a logit is NaN.
"""

from collections.abc import Callable

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_mask, dense
from keras_gumbel.numerics import categorical


@backend.unchecked
def likeliest(logits: Tensor) -> Tensor:
    """Return the likeliest code of each row, the first on ties, int32."""
    codes = backend.argmax(logits, -1)
    # The peak cannot tell: formats differ on it, see `numerics.portable`.
    some = ops.any(logits > numerics.FORBIDDEN, axis=-1)
    bad = ops.isnan(logits) | (logits >= float("inf"))
    known = some & ~ops.any(bad, axis=-1)
    return ops.cast(ops.where(known, codes, -1), "int32")


def codes_of(y: Tensor) -> Tensor:
    """Return the code of a relaxed sample: its largest entry, int32."""
    size = y.shape[-1]
    codes = _codes_of_rows(size)(ops.reshape(y, (-1, size)))
    return ops.reshape(codes, ops.shape(y)[:-1])


@backend.cached
def _codes_of_rows(size: int) -> Callable[[Tensor], Tensor]:
    """Compile once per number of codes, which `first_argmax` must know."""

    def codes_of_rows(y: Tensor) -> Tensor:
        codes = categorical.first_argmax(ops.reshape(y, (-1, size)), 1)
        # If no entry is above 0, the row is all zeros or NaN.
        known = categorical.peak(y, codes, 1) > 0
        return ops.where(known, codes, -1)

    return backend.compiled(codes_of_rows)


@backend.unchecked
def look_up(codes: Tensor, tables: Tensor) -> Tensor:
    """Return the rows of `tables` for codes `(..., groups)`, NaN for none.

    `tables` are `(groups, num_codes, dim)`, the rows `(..., groups, dim)`.
    """
    groups, num_codes, dim = tables.shape
    codes = ops.cast(codes, "int")
    known = ops.logical_and(codes >= 0, codes < num_codes)
    place = ops.where(known, codes, 0)
    place = place + ops.arange(groups, dtype="int") * num_codes
    rows = ops.take(ops.reshape(tables, (-1, dim)), place, axis=0)
    return numerics.nan_unless(ops.expand_dims(known, -1), rows)


def plus(total: Tensor | None, rows: Tensor) -> Tensor:
    """Return `total + rows`, rounded to the same bits everywhere.

    TensorFlow's graphs would reorder a chain of plain sums.
    """
    if total is None:
        return rows
    return ops.where(ops.isnan(rows), rows, total + rows)


def histogram(codes: Tensor, counted: Tensor | None, num_codes: int) -> Tensor:
    """Count how often each code is among `(..., groups)`, in float64.

    The counts of all groups follow one another; codes of -1 are left out.

    Args:
        codes: As `likeliest` and `codes_of` give them.
        counted: Optional bool tensor `(...)`, False to leave a position out.
        num_codes: Integer, the codes of each group.
    """
    place, size = _places(codes, counted, num_codes)
    ones = ops.ones(ops.shape(place), backend.widest_float())
    return backend.segment_sum(ones, place, size + 1)[:-1]


def uses_and_sums(
    codes: Tensor,
    vectors: Tensor | None,
    counted: Tensor | None,
    num_codes: int,
) -> tuple[Tensor, Tensor | None]:
    """Return how often each code is used, and the sum of its vectors.

    Both are float32: `(groups, num_codes)` and `(groups, num_codes, dim)`.

    Args:
        codes: `(rows, groups)`; codes of -1 are left out.
        vectors: `(rows, groups, dim)`, float32, or None.
        counted: Optional bool tensor `(rows,)`, False to leave a row out.
        num_codes: Integer, the codes of each group.
    """
    groups = codes.shape[-1]
    place, size = _places(codes, counted, num_codes)
    ones = ops.ones(ops.shape(place), "float32")
    uses = backend.segment_sum(ones, place, size + 1)[:-1]
    uses = ops.reshape(uses, (groups, num_codes))
    if vectors is None:
        return uses, None
    dim = vectors.shape[-1]
    sums = backend.segment_sum(ops.reshape(vectors, (-1, dim)), place, size + 1)
    return uses, ops.reshape(sums[:-1], (groups, num_codes, dim))


def _places(
    codes: Tensor, counted: Tensor | None, num_codes: int
) -> tuple[Tensor, int]:
    """Return each code's place among the codes of all groups, and their number.

    Codes that are left out share one more place behind the others.
    """
    groups = codes.shape[-1]
    known = codes >= 0
    if counted is not None:
        known = ops.logical_and(known, counted[..., None])
    first = ops.arange(groups, dtype="int32") * num_codes
    # Callers drop this extra place.
    place = ops.where(known, codes + first, groups * num_codes)
    return ops.reshape(place, (-1,)), groups * num_codes


def for_each_position(mask: Tensor, inputs: Tensor) -> Tensor:
    """Broadcast a mask to all but the last axis; later axes share a value."""
    mask = dense(mask, "mask")
    check_mask(mask, inputs)
    trailing = (1,) * (len(inputs.shape) - 1 - len(mask.shape))
    mask = ops.reshape(mask, (*ops.shape(mask), *trailing))
    return ops.broadcast_to(mask, ops.shape(inputs)[:-1])


def mix(y: Tensor, tables: Tensor) -> Tensor:
    """Return y @ table for each group, `(..., groups, dim)`."""
    # One product per group: ONNX loses the shape of a batched product.
    groups = zip(ops.unstack(y, axis=-2), ops.unstack(tables), strict=True)
    return ops.stack([numerics.matmul(*group) for group in groups], axis=-2)
