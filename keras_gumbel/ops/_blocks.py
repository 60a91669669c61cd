"""Rows by blocks, whose working copies stay in cache."""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics.sizes import Size, is_name, larger

# What a block of rows holds: few enough elements that its working copies
# stay in cache, and enough rows that the product with the table is not bound
# by reading the table.
_BLOCK_ELEMENTS = 2**18
_BLOCK_ROWS = 256


class Block(NamedTuple):
    """A run of rows, as many in every block."""

    start: Tensor
    size: Size

    def of(self, x: Tensor) -> Tensor:
        """These rows of `x`; all of it where it is one for all."""
        if not len(x.shape) or x.shape[0] == 1:
            return x
        return backend.run_of_rows(x, self.start, self.size)

    def put(self, x: Tensor, rows: Tensor) -> Tensor:
        """`x` with these rows replaced."""
        return backend.with_rows(x, self.start, rows)


def _sizes(like: Tensor, groups: int) -> tuple[Size, Size]:
    """The number of rows, and of those in a block: as many of each group."""
    rows, classes = ops.shape(like)
    if is_name(rows):
        # No size of a block is known to be at most that of all.
        return rows, rows
    most = larger(_BLOCK_ELEMENTS // (classes * groups), _BLOCK_ROWS)
    each = rows // groups
    # Rather a block of up to twice the size than a loop over two.
    blocks = larger(each // most, 1)
    return rows, -(-each // blocks) * groups


def for_blocks(
    like: Tensor,
    groups: int,
    step: Callable[[Block, Tensors], Tensors],
    results: Tensors,
) -> Tensors:
    """`results` after `step` has filled in every block of their rows."""
    rows, size = _sizes(like, groups)
    count = -(-rows // larger(size, 1))

    def body(i: Tensor, *results: Tensor) -> Tensors:
        # XLA takes a size that comes from a shape for a constant; not always
        # one that comes from outside the loop.
        rows, size = _sizes(like, groups)
        # The last block reaches back rather than over the end: what it does
        # a second time comes out the same.
        block = Block(ops.minimum(i * size, rows - size), size)
        return i + 1, *step(block, results)

    _, *filled = ops.while_loop(
        lambda i, *_: i < count, body, (ops.cast(0, "int32"), *results)
    )
    return tuple(filled)
