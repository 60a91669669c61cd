"""Threefry-2x32, element by element: the random bits of a place.

The 64 bits at place n of a key are Threefry of the counter n in twenty rounds,
low word first: the same bits as `tf.random`'s Threefry at n. So a number
depends on its key and its place alone, in every shape, mode and framework.

Words are int32, whose sums wrap around everywhere. A right shift brings in the
sign; a mask removes it, or a product where a file format has no AND.

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
    """64 bits, as two int32 words."""

    low: Tensor
    high: Tensor


def words(x: Tensor) -> Words:
    """Return an int64 as words."""
    return Words(
        ops.cast(x, "int32"), ops.cast(ops.right_shift(x, 32), "int32")
    )


def bits_at(key: Tensor, place: Tensor) -> Words:
    """Return 64 random bits for each place.

    Args:
        key: Int64 tensor `(2,)`; its low words are the key.
        place: Int64 tensor of any shape.
    """
    return _threefry(ops.cast(key, "int32"), words(place), _rotated)


def portable_bits_at(
    key: Tensor,
    place: Tensor,
    xor: Callable[[Tensor, Tensor], Tensor],
    right_shift: Callable[[Tensor, int], Tensor],
) -> Words:
    """Return the same bits, by operations that every file format has.

    These are sums, products, XOR, and right shifts that bring in the sign.

    Args:
        key: Int32 tensor `(2,)`.
        place: Int32 tensor of any shape, not negative.
        xor: The exclusive OR that the format has.
        right_shift: And its right shift, which brings in the sign.
    """

    def rotated(x: Tensor, turn: int) -> Tensor:
        # The right shift of a negative number is 2**turn too low.
        negative = ops.cast(x < 0, "int32")
        return (x + negative) * 2**turn + right_shift(x, 32 - turn)

    counter = Words(place, ops.zeros_like(place))
    return _threefry(key, counter, rotated, xor)


def _threefry(
    key: Tensor,
    counter: Words,
    rotated: Callable[[Tensor, int], Tensor],
    xor: Callable[[Tensor, Tensor], Tensor] = ops.bitwise_xor,
) -> Words:
    first, second = key[0], key[1]
    keys = first, second, xor(xor(first, second), PARITY)
    x, y = counter
    x, y = x + keys[0], y + keys[1]
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            x = x + y
            y = xor(rotated(y, turn), x)
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + (group + 1)
    return Words(x, y)


def _rotated(x: Tensor, turn: int) -> Tensor:
    right = ops.bitwise_and(ops.right_shift(x, 32 - turn), 2**turn - 1)
    return ops.bitwise_or(ops.left_shift(x, turn), right)
