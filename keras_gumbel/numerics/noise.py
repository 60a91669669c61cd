"""Noise with its whole tails, from 64 random bits per number, on logits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.backend import threefry
from keras_gumbel.numerics import logarithms
from keras_gumbel.numerics.masking import allowed, nan_to_inf
from keras_gumbel.numerics.offsets import offset

_SERIES_BITS = 44  # 2**20 series of random numbers, each of 2**44


class Draw(NamedTuple):
    """The source of a sample.

    The logits come as a function: their preparation, a mask or a wider type,
    then fuses with the caller.
    """

    logits: Callable[[], Tensor]
    # These are None where no noise is drawn.
    noise_scale: Tensor
    key: Tensor
    axis: int
    # If the rows are a block of more rows, the number of the first.
    first_row: Tensor | int = 0
    # The sources of the logits: as they were given, and perhaps a mask.
    sources: Tensors = ()
    # If the logits have forbidden entries added, which do not count: the true
    # sizes of the axes after the rows, an int64 vector.
    sizes: Tensor = None

    def of_rows(
        self, take: Callable[[Tensor], Tensor], first: Tensor
    ) -> "Draw":
        """Return the draw of the rows that `take` takes of each source."""

        def logits() -> Tensor:
            return allowed(*map(take, self.sources))

        return self._replace(logits=logits, first_row=first)

    def places(
        self, flat: Any, *, of_rows: bool = False, series: Tensor | int = 0
    ) -> Tensor:
        """Return where the numbers of all entries begin, in row-major order.

        Every series has numbers of its own. If the logits have more entries
        than there really are, return each entry's place, in the shape `flat`.

        Args:
            flat: The shape in which the numbers are drawn.
            of_rows: Whether numbers are per row, and not per class.
            series: An integer below 2**20.
        """
        if self.sizes is None and _are_zero(self.first_row, series):
            return 0
        shape = list(ops.shape(self.logits()))
        first = ops.cast(self.first_row, "int64")
        begin = ops.cast(series, "int64") * 2**_SERIES_BITS
        if self.sizes is None:
            each = 1 if of_rows or not shape else shape[self.axis]
            return first * ops.cast(each, "int64") + begin
        place = ops.arange(shape[0], dtype="int64") + first
        for axis, size in enumerate(shape[1:], 1):
            one = of_rows and axis == self.axis
            number = ops.arange(1 if one else size, dtype="int64")
            true = 1 if one else self.sizes[axis - 1]
            place = place[..., None] * true + number
        return ops.reshape(place + begin, flat)

    def scale_of_law(self) -> Tensor:
        """Return s of the distribution softmax(logits / s); without noise 1."""
        return ops.where(self.noise_scale == 0.0, 1.0, self.noise_scale)

    def of_scale_one(self) -> "Draw":
        """Return the same draw of logits / s, with noise of scale 1 or none."""
        s = self.scale_of_law()
        return self._replace(
            logits=lambda: self.logits() / s, noise_scale=self.noise_scale / s
        )


def _are_zero(*places: Tensor | int) -> bool:
    return all(isinstance(x, int) and x == 0 for x in places)


def draw_from(
    sources: Tensors,
    noise_scale: Tensor | None,
    key: Tensor | None,
    axis: int,
    sizes: Tensor = None,
) -> Draw:
    """Return a draw of logits and perhaps a mask; without a key, no noise."""

    def logits() -> Tensor:
        return allowed(*sources)

    return Draw(logits, noise_scale, key, axis, sources=sources, sizes=sizes)


def perturb(
    draw: Draw, less: Callable[[Tensor, Tensor], Tensor] = ops.subtract
) -> Tensor:
    """Return logits + noise_scale * gumbel, less the row's `offset`.

    +inf replaces NaN: so it stands out as the peak of its row, where one
    comparison finds it. Inside a compiled program only.

    If a difference of huge logits is beyond the lowest number, it becomes -inf:
    no noise could have made that class the largest. Where that would matter,
    pass `offsets.less`, which takes longer but stays finite.
    """
    far = offset(draw.logits(), draw.noise_scale, draw.axis)
    near = draw
    if not backend.is_known_zero(far):
        near = draw._replace(logits=lambda: less(draw.logits(), far))
    return add_noise(near, gumbel, nan_to_inf)


@backend.native
def add_noise(
    draw: Draw,
    noise: Callable[..., Tensor],
    then: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Return then(logits + noise_scale * noise), drawn once for all readers.

    `noise` is `gumbel` or `logistic`. Inside a compiled program only.
    """
    shape = ops.shape(draw.logits())

    # In one dimension compilers vectorise, even for two classes.
    def flat() -> Tensor:
        return ops.reshape(draw.logits(), (-1,))

    def noisy() -> Tensor:
        x = flat()
        drawn = noise(ops.shape(x), draw.key, x.dtype, draw.places((-1,)))
        return then(x + draw.noise_scale * drawn)

    perturbed = backend.unfused_unless_zero(
        draw.noise_scale, noisy, lambda: then(flat())
    )
    return ops.reshape(perturbed, shape)


@backend.native
def gumbel(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Draw standard Gumbel noise: -log(-log(1 - t)), t uniform in (0, 1).

    Large noise comes from small t, where floating-point numbers are dense:
    the upper tail is whole up to 45, where -log(-log(u)) of a float32 u in
    [0, 1) ends at 16.6.
    """
    return logarithms.minus_log(exponential(shape, key, dtype, start))


@backend.native
def exponential(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Draw standard exponential noise: -log(1 - t), from 2**-65 to 16.7."""
    t = random_unit(shape, key, dtype, start)
    return logarithms.exponential(t)


@backend.native
def logistic(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Draw standard logistic noise: log((1 - t) / t), and one sign for each.

    t is uniform in (0, 1/2), where floating-point numbers are dense: both
    tails are whole up to 45.
    """
    t, negative = random_half(shape, key, dtype, start)
    size = logarithms.minus_log(t) - logarithms.small_exponential(t)
    return ops.where(negative, -size, size)


@backend.native
def random_unit(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Draw from the open interval (0, 1). Inside a compiled program only.

    (bits + 1/2) / 2**64, rounded to `dtype`: never 0, as small as 2**-65,
    and at most the largest number below 1.

    Args:
        shape: Integers or an integer tensor.
        key: A key from `backend.next_key`.
        dtype: `"float32"` or `"float64"`.
        start: The first number's place among the 2**64 of the key; or an int64
            tensor of the shape, with each number's place.
    """
    return _unit(*_words(shape, key, start), dtype)


@backend.native
def random_half(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """Draw from (0, 1/2), and a coin. Inside a compiled program only.

    They tell a uniform number by its distance to the nearer end, and which end
    it is: as fine at 1 as at 0. The bits are the same as in `random_unit`; the
    first is the coin.
    """
    low, high = _words(shape, key, start)
    carry = ops.cast(low < 0, "int32")
    doubled = ops.left_shift(low, 1), ops.left_shift(high, 1) | carry
    return _unit(*doubled, dtype) / 2, high < 0


def _words(
    shape: Tensor, key: Tensor, start: Tensor | int
) -> tuple[Tensor, Tensor]:
    """Return 64 bits per number: two int32 words, the low one first."""
    if isinstance(start, int) or not len(start.shape):
        return backend.random_bits(shape, key, start)
    return threefry.bits_at(key, start)


def _unit(low: Tensor, high: Tensor, dtype: str) -> Tensor:
    """Return (bits + 1/2) / 2**64, below 1."""
    # Two words convert faster than one of 64 bits, and lose nothing: the
    # low one counts only where the high one is small.
    unit = backend.unsigned(low, dtype) * 2.0**-64 + 2.0**-65
    unit = unit + backend.unsigned(high, dtype) * 2.0**-32
    name = keras.backend.standardize_dtype(dtype)
    return backend.minimum(unit, float(np.nextafter(1, 0, dtype=name)))
