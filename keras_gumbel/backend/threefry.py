"""Threefry-2x32, element by element: the random bits of a place.

The 64 bits at place n of a key are Threefry of the counter n, the low word
first, in twenty rounds: what `tf.random`'s Threefry gives at n. A number is
thus a function of its key and its place alone, whatever the shape that it is
drawn in, in every mode and on every framework.

Words are int32, whose sums wrap around everywhere. A shift to the right that
brings in the sign is made one that brings in zeros by a mask; or, where a file
format has no AND, by a product.

Reference:
    Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3",
    2011, section 4.3, https://doi.org/10.1145/2063384.2063405
"""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_gumbel._typing import Tensor

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


class Words(NamedTuple):
    """64 bits, as two int32."""

    low: Tensor
    high: Tensor


def words(x: Tensor) -> Words:
    """An int64 as words."""
    return Words(
        ops.cast(x, "int32"), ops.cast(ops.right_shift(x, 32), "int32")
    )


def bits_at(key: Tensor, place: Tensor) -> Words:
    """64 random bits for each place, an int64.

    Args:
        key: Int64 tensor `(2,)`, whose low words are the key.
        place: Int64 tensor of any shape.
    """
    return _threefry(ops.cast(key, "int32"), words(place), _rotated)


def portable_bits_at(key: Tensor, place: Tensor) -> Words:
    """The same bits, in operations that every file format has.

    These are sums, products, XOR, and shifts to the right that bring in the
    sign.

    Args:
        key: Int32 tensor `(2,)`.
        place: Int32 tensor of any shape, not negative.
    """
    return _threefry(
        key, Words(place, ops.zeros_like(place)), _rotated_by_product
    )


def _threefry(
    key: Tensor, counter: Words, rotated: Callable[[Tensor, int], Tensor]
) -> Words:
    first, second = key[0], key[1]
    keys = first, second, ops.bitwise_xor(first, second ^ PARITY)
    x, y = counter
    x, y = x + keys[0], y + keys[1]
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            x = x + y
            y = ops.bitwise_xor(rotated(y, turn), x)
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + (group + 1)
    return Words(x, y)


def _rotated(x: Tensor, turn: int) -> Tensor:
    right = ops.bitwise_and(ops.right_shift(x, 32 - turn), 2**turn - 1)
    return ops.bitwise_or(ops.left_shift(x, turn), right)


def _rotated_by_product(x: Tensor, turn: int) -> Tensor:
    # Of a negative number the shift to the right is 2**turn too low.
    negative = ops.cast(x < 0, "int32")
    return (x + negative) * 2**turn + ops.right_shift(x, 32 - turn)
