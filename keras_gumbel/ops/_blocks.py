"""Loops over blocks of rows, whose working copies stay in cache."""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics.sizes import Size, is_name, larger

# Size of a block: few enough elements that its working copies stay in cache,
# and enough rows that the product with the table is not bound by reading the
# table.
_BLOCK_ELEMENTS = 2**18
_BLOCK_ROWS = 256


class Block(NamedTuple):
    """A run of rows, of the same size in every block; or all, from None on."""

    start: Tensor | None
    size: Size

    @property
    def first(self) -> Tensor | int:
        """Return the number of its first row."""
        return 0 if self.start is None else self.start

    def of(self, x: Tensor) -> Tensor:
        """Return these rows of `x`, or all of `x` if all rows share one."""
        if self.start is None or not len(x.shape) or x.shape[0] == 1:
            return x
        return backend.run_of_rows(x, self.start, self.size)

    def put(self, x: Tensor, rows: Tensor) -> Tensor:
        """Return `x` with these rows replaced."""
        if self.start is None:
            return rows
        return backend.with_rows(x, self.start, rows)


def _sizes(
    like: Tensor, groups: int, classes: Size | None
) -> tuple[Size, Size]:
    """Return the number of rows, and per block: a multiple of `groups`."""
    rows, width = ops.shape(like)
    if is_name(rows):
        # No block size is known to be at most the number of rows.
        return rows, rows
    classes = width if classes is None else classes
    most = larger(_BLOCK_ELEMENTS // (classes * groups), _BLOCK_ROWS)
    each = rows // groups
    # A block of up to twice the size is better than a loop over two.
    blocks = larger(each // most, 1)
    return rows, -(-each // blocks) * groups


def for_blocks(
    like: Tensor,
    groups: int,
    step: Callable[[Block, Tensors], Tensors],
    results: Tensors,
    classes: Size | None = None,
) -> Tensors:
    """Return `results`, with every block of rows filled in by `step`.

    Args:
        like: A matrix with the same number of rows.
        groups: Integer, the number of rows that stay together.
        step: Function that fills in a block: of the block and the results.
        results: Tensors with the same number of rows, to fill in.
        classes: Elements per row of the working copies. `None`: as in `like`.
    """
    rows, size = _sizes(like, groups, classes)
    count = -(-rows // larger(size, 1))

    if backend.loops_are_written_out():
        # A program for any number of rows has no number of blocks.
        return step(Block(None, rows), results)

    def fill(i: Tensor, *results: Tensor) -> Tensors:
        # XLA treats a size as constant if it comes from a shape, but not
        # always if it comes from outside the loop.
        rows, size = _sizes(like, groups, classes)
        # The last block reaches back, not over the end: rows computed a
        # second time come out the same.
        block = Block(ops.minimum(i * size, rows - size), size)
        return step(block, results)

    return backend.loop(count, fill, results)
