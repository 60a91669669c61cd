"""The nearest row of a table, for codebooks."""

from collections.abc import Callable

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._tracing import portable_format
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel._validation import check_codebook, check_vectors, dense
from keras_gumbel.numerics import categorical
from keras_gumbel.ops._blocks import Block, for_blocks
from keras_gumbel.ops._ladder import rung
from keras_gumbel.ops.codebook import likeliest

# Codes per block: few enough that a block of scores stays in cache.
_BLOCK_CODES = 1024


def nearest_code(vectors: Tensor, table: Tensor) -> Tensor:
    """Return the index of the nearest row of `table`, the first on ties.

        argmin_k |vector - table_k|**2

    The distances are computed in float64, block by block, so no tensor has
    the size (rows, num_codes). (LiteRT and ONNX files compute them in float32,
    and all at once.)

    Args:
        vectors: Float tensor `(..., dim)`.
        table: Float tensor `(num_codes, dim)`, one row a code.

    Returns:
        An int32 tensor `(...)`, -1 for a non-finite vector, and for all
        vectors if a code is NaN. It has no gradient.

    Raises:
        ValueError: For a `table` whose shape does not fit.
        TypeError: For arguments that are not floats.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> table = keras.ops.convert_to_tensor([[0.0, 0.0], [1.0, 1.0]])
    >>> vectors = keras.ops.convert_to_tensor([[0.1, 0.2], [2.0, 0.9]])
    >>> codes = kg.ops.nearest_code(vectors, table)
    >>> keras.ops.convert_to_numpy(codes).tolist()
    [0, 1]

    Reference:
        van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation
        Learning", 2017, eq. 1, https://arxiv.org/abs/1711.00937
    """
    vectors, table = dense(vectors, "vectors"), dense(table, "table")
    check_vectors(vectors)
    check_codebook(table, vectors)
    codes = nearest_codes(
        ops.expand_dims(vectors, -2), ops.expand_dims(table, 0)
    )
    return ops.squeeze(codes, -1)


def nearest_codes(vectors: Tensor, tables: Tensor) -> Tensor:
    """Run `nearest_code` on several tables at once.

    Args:
        vectors: Float tensor `(..., groups, dim)`.
        tables: Float tensor `(groups, num_codes, dim)`.

    Returns:
        The codes `(..., groups)`, int32.
    """
    if portable_format():
        return likeliest(minus_distances(vectors, tables))
    groups, _, dim = tables.shape
    lead = ops.shape(vectors)[:-2]
    x = ops.reshape(vectors, (-1, groups * dim))
    rows = ops.shape(x)[0]
    if backend.programs_are_sized() or None in vectors.shape:
        # As every program, it serves a range of sizes.
        goal = rung(rows, rows * groups * dim)
        x = backend.enlarged(x, (goal, groups * dim), 0.0)
    codes = _program((groups, tables.shape[1], dim))(x, tables)
    codes = backend.corner(codes, (rows, groups))
    return ops.reshape(codes, (*lead, groups))


def minus_distances(vectors: Tensor, tables: Tensor) -> Tensor:
    """Return minus the squared distances, `(..., groups, num_codes)`.

    Plain operations with their gradient, in the dtype of the arguments.
    """
    products = ops.einsum("...gd,gkd->...gk", vectors, tables)
    of_codes = ops.sum(ops.square(tables), axis=-1)
    of_vectors = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return 2 * products - of_codes - of_vectors


@backend.cached
def _program(shape: tuple[int, int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    """Compile once per shape of the tables, for any number of rows."""
    groups, codes, dim = shape

    def forward(x: Tensor, tables: Tensor) -> Tensors:
        tables = ops.cast(tables, "float64")

        def step(block: Block, filled: Tensors) -> Tensors:
            rows = ops.reshape(block.of(x), (-1, groups, dim))
            rows = ops.cast(ops.transpose(rows, (1, 0, 2)), "float64")
            found = _of_block(rows, tables)
            return (block.put(filled[0], ops.transpose(found)),)

        none = ops.zeros((ops.shape(x)[0], groups), "int32")
        most = min(codes, _BLOCK_CODES) * groups
        return for_blocks(x, 1, step, (none,), most)

    def backward(dy: Tensor, *_: Tensor) -> tuple[None, None]:
        del dy
        return None, None

    return backend.with_gradient(backend.compiled(forward), backward)


def _of_block(rows: Tensor, tables: Tensor) -> Tensor:
    """Find the nearest codes, int32 (groups, rows), of (groups, rows, dim)."""
    groups, codes, dim = tables.shape
    blocks = -(-codes // _BLOCK_CODES)
    if blocks == 1:
        return _known(*_best(rows, tables))
    size = -(-codes // blocks)

    def step(n: Tensor, score: Tensor, best: Tensor) -> Tensors:
        # The last block reaches back: a code found again is no better.
        first = ops.minimum(n * size, codes - size)
        zero = ops.zeros_like(first)
        run = ops.slice(tables, (zero, first, zero), (groups, size, dim))
        found, place = _best(rows, run)
        better = found > score
        best = ops.where(better, place + first, best)
        return ops.where(better, found, score), best

    shape = ops.shape(rows)[:2]
    score = ops.full(shape, -float("inf"), "float64")
    none = ops.zeros(shape, "int32")
    return _known(*backend.loop(blocks, step, (score, none)))


def _best(rows: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest x . c - |c|**2 / 2, infinity for NaN; its place."""
    scores = numerics.matmul(rows, ops.transpose(tables, (0, 2, 1)))
    scores = scores - ops.sum(ops.square(tables), axis=-1)[:, None] / 2
    scores = numerics.nan_to_inf(scores)
    place = ops.squeeze(categorical.first_argmax(scores, 2), 2)
    peak = backend.max(scores, axis=-1, initial=-float("inf"))
    return peak, place


def _known(score: Tensor, place: Tensor) -> Tensor:
    """Return the place, or -1 where the score is infinite."""
    return ops.where(ops.isinf(score), -1, place)
