"""Codes and what they stand for, in several codebooks at once.

Plain `keras.ops`, so that a model in inference mode exports to every format;
`codes_of`, for samples, is a compiled program. A code of -1 says that there is
none: where no class is allowed, and where a logit is NaN.
"""

from collections.abc import Callable

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_mask, dense
from keras_gumbel.numerics import categorical


@backend.unchecked
def likeliest(logits: Tensor) -> Tensor:
    """The likeliest code of each row, the first on ties, int32."""
    codes = backend.argmax(logits, -1)
    # Not by the peak, of which no two formats think alike: `ops.portable`.
    some = ops.any(logits > numerics.FORBIDDEN, axis=-1)
    bad = ops.isnan(logits) | (logits >= float("inf"))
    known = some & ~ops.any(bad, axis=-1)
    return ops.cast(ops.where(known, codes, -1), "int32")


def codes_of(y: Tensor) -> Tensor:
    """The code of a relaxed sample: its largest entry, int32."""
    size = y.shape[-1]
    codes = _codes_of_rows(size)(ops.reshape(y, (-1, size)))
    return ops.reshape(codes, ops.shape(y)[:-1])


@backend.cached
def _codes_of_rows(size: int) -> Callable[[Tensor], Tensor]:
    """Compiled once for each number of codes, of which `choices` makes use."""

    def codes_of_rows(y: Tensor) -> Tensor:
        codes = categorical.first_argmax(ops.reshape(y, (-1, size)), 1)
        # What is not above 0 is a row of zeros, or of NaN.
        known = categorical.entry(y, codes, 1) > 0
        return ops.where(known, codes, -1)

    return backend.compiled(codes_of_rows)


@backend.unchecked
def look_up(codes: Tensor, tables: Tensor) -> Tensor:
    """The rows `(..., groups, dim)` of codes `(..., groups)`, NaN for none.

    Of `tables`, `(groups, num_codes, dim)`.
    """
    groups, num_codes, dim = tables.shape
    codes = ops.cast(codes, "int")
    known = ops.logical_and(codes >= 0, codes < num_codes)
    place = ops.where(known, codes, 0)
    place = place + ops.arange(groups, dtype="int") * num_codes
    rows = ops.take(ops.reshape(tables, (-1, dim)), place, axis=0)
    return ops.where(ops.expand_dims(known, -1), rows, float("nan"))


def plus(total: Tensor | None, rows: Tensor) -> Tensor:
    """`total + rows`, rounded to the same bits everywhere.

    A chain of plain sums TensorFlow's graphs add up in an order of their own.
    """
    if total is None:
        return rows
    return ops.where(ops.isnan(rows), rows, total + rows)


def histogram(codes: Tensor, counted: Tensor | None, num_codes: int) -> Tensor:
    """How often each code is among `(..., groups)`, float64.

    Of all groups one after the other, those of -1 left out.

    Args:
        codes: As `likeliest` and `codes_of` give them.
        counted: Optional bool tensor `(...)`, False for what is left out.
        num_codes: Integer, the codes of each group.
    """
    place, size = _places(codes, counted, num_codes)
    ones = ops.ones(ops.shape(place), backend.widest_float())
    return ops.segment_sum(ones, place, size + 1)[:-1]


def uses_and_sums(
    codes: Tensor,
    vectors: Tensor | None,
    counted: Tensor | None,
    num_codes: int,
) -> tuple[Tensor, Tensor | None]:
    """How often each code is used, and the sum of the vectors that use it.

    Float32 `(groups, num_codes)`, and `(groups, num_codes, dim)`.

    Args:
        codes: `(rows, groups)`; those of -1 are left out.
        vectors: `(rows, groups, dim)`, float32, or None.
        counted: Optional bool tensor `(rows,)`, False for what is left out.
        num_codes: Integer, the codes of each group.
    """
    groups = codes.shape[-1]
    place, size = _places(codes, counted, num_codes)
    ones = ops.ones(ops.shape(place), "float32")
    uses = ops.segment_sum(ones, place, size + 1)[:-1]
    uses = ops.reshape(uses, (groups, num_codes))
    if vectors is None:
        return uses, None
    dim = vectors.shape[-1]
    sums = ops.segment_sum(ops.reshape(vectors, (-1, dim)), place, size + 1)
    return uses, ops.reshape(sums[:-1], (groups, num_codes, dim))


def _places(
    codes: Tensor, counted: Tensor | None, num_codes: int
) -> tuple[Tensor, int]:
    """Where each code is among those of all groups, and how many there are.

    Those left out have a place of their own, behind the others.
    """
    groups = codes.shape[-1]
    known = codes >= 0
    if counted is not None:
        known = ops.logical_and(known, counted[..., None])
    first = ops.arange(groups, dtype="int32") * num_codes
    # A place of its own for those left out, which then goes.
    place = ops.where(known, codes + first, groups * num_codes)
    return ops.reshape(place, (-1,)), groups * num_codes


def for_each_position(mask: Tensor, inputs: Tensor) -> Tensor:
    """A mask `(...)` of all but the last axis; later axes share theirs."""
    mask = dense(mask, "mask")
    check_mask(mask, inputs)
    trailing = (1,) * (len(inputs.shape) - 1 - len(mask.shape))
    mask = ops.reshape(mask, (*ops.shape(mask), *trailing))
    return ops.broadcast_to(mask, ops.shape(inputs)[:-1])


def mix(y: Tensor, tables: Tensor) -> Tensor:
    """y @ table, for each group: `(..., groups, dim)`."""
    # One product a group: of a batched one, ONNX loses the shape.
    groups = zip(ops.unstack(y, axis=-2), ops.unstack(tables), strict=True)
    return ops.stack([numerics.matmul(*group) for group in groups], axis=-2)
