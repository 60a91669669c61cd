"""The source of a sample, and perturbed logits."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics.masking import allowed, nan_to_inf
from keras_gumbel.numerics.noise import gumbel
from keras_gumbel.numerics.offsets import offset

_SERIES_BITS = 44  # 2**20 series of random numbers, each of 2**44


class Draw(NamedTuple):
    """The source of a sample.

    The logits come as a function: what prepares them, a mask or a wider type,
    is fused with what calls it.
    """

    logits: Callable[[], Tensor]
    # These are None where no noise is drawn.
    noise_scale: Tensor
    key: Tensor
    axis: int
    # Where these are a block of more rows, the number of the first.
    first_row: Tensor | int = 0
    # What the logits are made of: as they were given, and perhaps a mask.
    sources: Tensors = ()
    # How many entries the axes after that of the rows really have, an int64
    # vector, where the logits have more: forbidden ones, and none is counted.
    sizes: Tensor = None

    def of_rows(
        self, take: Callable[[Tensor], Tensor], first: Tensor
    ) -> "Draw":
        """That of a block of rows, which `take` takes of all that has rows."""

        def logits() -> Tensor:
            return allowed(*map(take, self.sources))

        return self._replace(logits=logits, first_row=first)

    def places(
        self, flat: Any, *, of_rows: bool = False, series: Tensor | int = 0
    ) -> Tensor:
        """Where the numbers of all entries begin, in row-major order.

        Every series has numbers of its own. Where the logits have more
        entries than there really are, it is the place of each, of the shape
        `flat`.

        Args:
            flat: In what shape the numbers are drawn.
            of_rows: A number for each row, and not for each class of it.
            series: An integer below 2**20.
        """
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
        """s of the law softmax(logits / s); 1 without noise, which has none."""
        return ops.where(self.noise_scale == 0.0, 1.0, self.noise_scale)

    def of_scale_one(self) -> "Draw":
        """The same sample of logits / s, with noise of scale 1 or without."""
        s = self.scale_of_law()
        return self._replace(
            logits=lambda: self.logits() / s, noise_scale=self.noise_scale / s
        )


def draw_from(
    sources: Tensors,
    noise_scale: Tensor | None,
    key: Tensor | None,
    axis: int,
    sizes: Tensor = None,
) -> Draw:
    """A draw of logits and perhaps a mask; without a key, of no noise."""

    def logits() -> Tensor:
        return allowed(*sources)

    return Draw(logits, noise_scale, key, axis, sources=sources, sizes=sizes)


def perturb(
    draw: Draw, less: Callable[[Tensor, Tensor], Tensor] = ops.subtract
) -> Tensor:
    """logits + noise_scale * gumbel, less the row's `offset`.

    +inf in place of NaN: what is not a number stands out as the peak of its
    row, where one comparison finds it. Inside a compiled program only.

    Where a difference of huge logits is beyond the lowest number, it becomes
    -inf: a class that no noise could have made the largest. Where that would
    matter, it does not with `formulas.less`, which takes longer.
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
    """then(logits + noise_scale * noise), drawn once however often it is read.

    `noise` is `gumbel` or `logistic`. Inside a compiled program only.
    """
    shape = ops.shape(draw.logits())

    # In one dimension, where compilers vectorise even for two classes.
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
