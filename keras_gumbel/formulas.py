"""The mathematics, in `keras.ops`: what every estimator is written with.

Each function takes float32 or float64 tensors in which a forbidden class is
-inf. What draws noise is for the inside of a compiled program alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend, logarithms
from keras_gumbel._typing import Tensor

FORBIDDEN = float("-inf")
_SERIES_BITS = 44  # 2**20 series of random numbers, each of 2**44
# Beyond it exp(x) t + 1 is exp(x) t, for t as small as random numbers get.
_LARGE_ODDS = 80.0
_MOST_NUMBERS = 2**24  # float32 has every integer up to it
_FAR = 2.0**8  # in noise scales


def widen(logits: Tensor) -> Tensor:
    """Half precision has neither the range nor the digits for noise."""
    return ops.cast(logits, wide_dtype(logits))


@backend.unchecked
def allowed(logits: Tensor, *class_mask: Tensor | None) -> Tensor:
    """The logits, wide; -inf where there is a mask and it forbids."""
    wide = widen(logits)
    for mask in class_mask:
        wide = wide if mask is None else ops.where(mask, wide, FORBIDDEN)
    return wide


@backend.unchecked
def moved(logits: Tensor, noise: Tensor) -> Tensor:
    """logits + noise, of logits that may be forbidden."""
    return logits + noise


def wide_dtype(logits: Tensor) -> str:
    """The type that `widen` gives."""
    dtype = keras.backend.standardize_dtype(logits.dtype)
    return "float64" if dtype == "float64" else "float32"


@backend.unchecked
def positive_or_nan(temperature: Tensor, dtype: str) -> Tensor:
    """A temperature that is not positive must show, not flip the classes."""
    temperature = ops.convert_to_tensor(temperature, dtype)
    return ops.where(temperature > 0, temperature, float("nan"))


@backend.unchecked
def scale_or_nan(noise_scale: Tensor, logits: Tensor) -> Tensor:
    """A noise scale in the type that `logits` widen to; NaN if negative."""
    scale = ops.cast(noise_scale, wide_dtype(logits))
    return ops.where(scale >= 0, scale, float("nan"))


def temperature_gradient(
    parts: Tensor, temperature: Tensor, wanted: bool
) -> Tensor | None:
    """Each entry's part, summed to the temperature's own shape and dtype."""
    if not wanted:
        return None
    total = backend.sum_to_shape(parts, ops.shape(temperature))
    return ops.cast(total, temperature.dtype)


@backend.unchecked
def log_or_forbidden(probs: Tensor) -> Tensor:
    """log(probs), with -inf and no gradient at 0, NaN below it."""
    possible = probs != 0
    log = ops.log(ops.where(possible, probs, 1.0))
    return ops.where(possible, log, FORBIDDEN)


@backend.unchecked
def log_odds(probs: Tensor) -> Tensor:
    """log(p) - log(1 - p), NaN outside [0, 1].

    -inf at 0 and +inf at 1, without a gradient.
    """
    between = (probs != 0) & (probs != 1)
    p = ops.where(between, probs, 0.5)
    ends = ops.where(probs == 0, FORBIDDEN, float("inf"))
    return ops.where(between, ops.log(p) - ops.log1p(-p), ends)


class Draw(NamedTuple):
    """What a sample is drawn from.

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
    sources: tuple[Tensor, ...] = ()
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
    sources: tuple[Tensor, ...],
    noise_scale: Tensor | None,
    key: Tensor | None,
    axis: int,
    sizes: Tensor = None,
) -> Draw:
    """A draw of logits and perhaps a mask; without a key, of no noise."""

    def logits() -> Tensor:
        return allowed(*sources)

    return Draw(logits, noise_scale, key, axis, sources=sources, sizes=sizes)


def gumbel(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Standard Gumbel noise: -log(-log(1 - t)), t uniform in (0, 1).

    Large noise comes from small t, where floating-point numbers are dense:
    the upper tail is whole up to 45, where -log(-log(u)) of a float32 u in
    [0, 1) ends at 16.6.
    """
    return logarithms.minus_log(exponential(shape, key, dtype, start))


def exponential(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Standard exponential noise: -log(1 - t), between 2**-65 and 16.7."""
    t = backend.random_unit(shape, key, dtype, start)
    return logarithms.exponential(t)


def logistic(
    shape: Tensor, key: Tensor, dtype: str, start: Tensor | int = 0
) -> Tensor:
    """Standard logistic noise: log((1 - t) / t), and one sign for each.

    t is uniform in (0, 1/2), where floating-point numbers are dense: both
    tails are whole up to 45.
    """
    t, negative = backend.random_half(shape, key, dtype, start)
    size = logarithms.minus_log(t) - logarithms.small_exponential(t)
    return ops.where(negative, -size, size)


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
    near = draw._replace(logits=lambda: less(draw.logits(), far))
    return add_noise(near, gumbel, nan_to_inf)


@backend.unchecked
def offset(x: Tensor, noise_scale: Tensor | float, axis: int) -> Tensor:
    """The largest entry of a row that is far from 0, else 0: finite.

    What is added to a whole row changes no law of its sample, but the sum of
    a large number and noise has lost the noise's digits. Where the peak is
    within 2**8 noise scales, sums are rounded by at most 2**-17 of them, which
    moves no probability by more than 2e-6. There a row stays as it is, to the
    last bit.
    """
    return _if_far(maximum(x, axis), noise_scale)


@backend.unchecked
def less(x: Tensor, number: Tensor) -> Tensor:
    """x - number, in the order of `x` and finite where that is.

    A difference beyond the lowest number must not become -inf, which forbids.
    """
    return ops.maximum(x - number, x / 4 + 0.75 * _lowest(x))


@backend.unchecked
def near_matrices(x: Tensor, noise_scale: Tensor | float) -> Tensor:
    """Matrices (..., n, n), less what is common to rows or columns far from 0.

    Neither changes a law of permutations, nor what Sinkhorn's iterations tend
    to. Of each row its entry nearest to 0 tells, and then of each column. The
    largest entries would tell of both at once, and leave differences that have
    lost the others' digits.
    """
    for axis in (-1, -2):
        size = ops.abs(x)
        least = ops.min(size, axis=axis, keepdims=True, initial=float("inf"))
        nearest = maximum(ops.where(size == least, x, FORBIDDEN), axis)
        moved = x - _if_far(nearest, noise_scale)
        # Differences of huge numbers must not become infinite, which means
        # something.
        moved = ops.clip(moved, _lowest(x), -_lowest(x))
        x = select(size < float("inf"), moved, x)
    return x


def _if_far(x: Tensor, noise_scale: Tensor | float) -> Tensor:
    """`x` where it is far from 0 and finite, else 0."""
    size, scale = ops.abs(x), ops.cast(noise_scale, x.dtype)
    limit = ops.where(scale == 0.0, float("inf"), _FAR * scale)
    return select((size > limit) & (size < float("inf")), x, 0.0)


def _lowest(x: Tensor) -> float:
    return float(np.finfo(keras.backend.standardize_dtype(x.dtype)).min)


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


def conditional_gap(
    draw: Draw, logits: Tensor, choice: Tensor, number: Tensor
) -> tuple[Tensor, Tensor]:
    """Perturbed logits given which class is the largest.

        x_i = s * (log Z - log E_i),  Z = sum_k exp(logits_k / s)
        x_j = -s * log(E_j exp(-logits_j / s) + exp(-x_i / s))

    with E standard exponential and s the noise scale. Over choices i of law
    softmax(logits / s), x is logits + s * gumbel. Inside a compiled program
    only.

    Draws of one key are told apart by their `number`, an integer below 2**19,
    and from what `perturb` draws. Returned are x - x_i, in which nothing near
    is subtracted from the near, and x_i.
    """
    axis, scale = draw.axis, draw.noise_scale
    peak = maximum(logits, axis)
    divisor = ops.maximum(scale, smallest(logits))
    weight, gap = _weights(logits, peak, divisor)
    e = _exponential_like(logits, draw, 2 * number + 1)
    e_top = _exponential_like(peak, draw, 2 * number + 2, of_rows=True)
    top = ops.log(_total(weight, axis)) + logarithms.minus_log(e_top)
    # x_i - x_j = s * log(1 + E_j exp(a)), by exponentials that are at most 1.
    a = top - gap / divisor
    up, small = a > 0, ops.exp(-ops.abs(a))
    log = logarithms.minus_log(ops.where(up, e + small, 1.0 + e * small))
    x = scale * (log - ops.maximum(a, 0.0))
    x = ops.where(scale == 0.0, gap, x)
    x = ops.where(classes(logits, axis) == choice, 0.0, x)
    return ops.where(logits == FORBIDDEN, FORBIDDEN, x), peak + scale * top


def _exponential_like(
    x: Tensor, draw: Draw, series: Tensor, *, of_rows: bool = False
) -> Tensor:
    """Exponential noise of the shape of `x`, drawn once; 1 without noise."""
    shape = ops.shape(x)
    # Another shape than that of `perturb`: of two generators with one shape
    # XLA makes a function, which is fused with nothing.
    flat = (1, ops.size(x))

    def noise() -> Tensor:
        places = draw.places((1, -1), of_rows=of_rows, series=series)
        return exponential(flat, draw.key, x.dtype, places)

    drawn = backend.unfused_unless_zero(
        draw.noise_scale, noise, lambda: ops.ones(flat, x.dtype)
    )
    return ops.reshape(drawn, shape)


def conditional_logistic(
    draw: Draw, logits: Tensor, positive: Tensor, number: Tensor
) -> Tensor:
    """Perturbed logits given their sign, those of gates.

        |x| = s * (-log V + log(1 + exp(a / s) * (1 - V)))

    with V uniform in (0, 1), s the noise scale, and a the logit where x is
    `positive`, its negative where it is not. Over signs of law sigmoid(logits
    / s), x is logits + s * logistic. Inside a compiled program only.

    Draws of one key are told apart as those of `conditional_gap`. Without
    noise, x is the logits.
    """
    shape, scale = ops.shape(logits), draw.noise_scale
    # Another shape than that of `perturb`, as in `_exponential_like`.
    a = ops.reshape(ops.where(positive, logits, -logits), (1, -1))

    def noisy() -> Tensor:
        places = draw.places((1, -1), of_rows=True, series=number + 1)
        # 1 - V, so that small x, which gradients come from, are dense.
        t = backend.random_unit(ops.shape(a), draw.key, a.dtype, places)
        large = a / scale > _LARGE_ODDS
        odds = ops.exp(ops.where(large, _LARGE_ODDS, a / scale))
        size = scale * (logarithms.exponential(t) + ops.log1p(odds * t))
        return size + ops.where(large, a - scale * _LARGE_ODDS, 0.0)

    size = backend.unfused_unless_zero(scale, noisy, lambda: a)
    size = ops.reshape(size, shape)
    return ops.where(positive, size, -size)


def nan_to_inf(x: Tensor) -> Tensor:
    """+inf in place of NaN."""
    return ops.where(ops.isnan(x), float("inf"), x)


def classes(like: Tensor, axis: int) -> Tensor:
    """0, 1, ..., K - 1 along `axis`, ready to broadcast with `like`."""
    shape = [1] * len(like.shape)
    shape[axis] = -1
    return ops.reshape(ops.arange(ops.shape(like)[axis], dtype="int32"), shape)


def mean_class(y: Tensor, axis: int) -> Tensor:
    """sum_k k * y_k along `axis`."""
    mean = ops.sum(y * ops.cast(classes(y, axis), y.dtype), axis=axis)
    return exact_or_nan(mean, y, axis)


def exact_or_nan(number: Tensor, like: Tensor, axis: int) -> Tensor:
    """The number of a class; NaN where float32 would round those of `like`.

    Where the classes can be counted before, more than that are an error.
    """
    if like.shape[axis] is not None:
        return number
    exact = ops.shape(like)[axis] <= _MOST_NUMBERS
    return ops.where(exact, number, float("nan"))


def softmax(x: Tensor, temperature: Tensor, axis: int) -> Tensor:
    """softmax(x / temperature); a row with no class allowed is all zeros."""
    weight, _ = _weights(x, maximum(x, axis), temperature)
    return weight / _total(weight, axis)


def log_sum(x: Tensor, axis: int) -> Tensor:
    """log(sum(exp(x))) along `axis`, which stays; -inf of no class."""
    peak = maximum(x, axis)
    weight, _ = _weights(x, peak, 1.0)
    return peak + ops.log(_total(weight, axis))


def log_softmax(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """softmax(x), and its logarithm, which is 0 at forbidden classes."""
    weight, gap = _weights(x, maximum(x, axis), 1.0)
    total = _total(weight, axis)
    log = ops.where(x == FORBIDDEN, 0.0, gap - ops.log(total))
    return weight / total, log


def relaxed_vjp(
    x: Tensor, temperature: Tensor, dy: Tensor, axis: int
) -> tuple[Tensor, Tensor]:
    """`softmax_vjp` where the peak is still to be found."""
    return softmax_vjp(x, maximum(x, axis), temperature, dy, axis)


def smallest(x: Tensor) -> float:
    """The smallest normal number of the dtype of `x`."""
    return float(np.finfo(keras.backend.standardize_dtype(x.dtype)).tiny)


def maximum(x: Tensor, axis: int) -> Tensor:
    """The largest entry along `axis`, which stays; no gradient."""
    # Keras refuses the maximum of an empty batch unless told where to begin.
    peak = ops.max(x, axis=axis, keepdims=True, initial=FORBIDDEN)
    return ops.stop_gradient(peak)


def softmax_vjp(
    x: Tensor, peak: Tensor, temperature: Tensor, dy: Tensor, axis: int
) -> tuple[Tensor, Tensor]:
    """Gradient `dy` at softmax(x / temperature), taken back to its arguments.

    Inside a compiled program only. `peak` is the largest entry of each row.

    Returns:
        The gradient to `x`, and each entry's part of that to `temperature`.
    """
    weight, gap = _weights(x, peak, temperature)
    total = _total(weight, axis)
    # An infinite gradient at a class that is 0 (a log) must not become NaN.
    live = weight != 0.0
    weighted = ops.where(live, weight * dy, 0.0)
    mean = sum_in_lanes(weighted, axis) / total
    dx = ops.where(live, weight * (dy - mean), 0.0) / (total * temperature)
    # Any constant may stand in for the peak here: dx sums to 0.
    return dx, -dx * gap / temperature


def sigmoid_vjp(
    x: Tensor, temperature: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient `dy` at sigmoid(x / temperature), taken back to its arguments.

    Returns:
        The gradient to `x`, and each entry's part of that to `temperature`.
    """
    # On the side where it is small, and keeps its digits.
    y = ops.sigmoid(-ops.abs(x / temperature))
    dx = scaled(y * (1.0 - y) / temperature, dy)
    return dx, -dx * x / temperature


def scaled(weight: Tensor, dy: Tensor) -> Tensor:
    """weight * dy, 0 where the weight is: also for an infinite gradient."""
    return ops.where(weight != 0.0, weight * dy, 0.0)


def select(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """`where`, of what may be infinite or NaN where it is not chosen.

    For ONNX a `where` becomes a sum of products with 0 and 1, unless it asks
    for NaN.
    """
    if backend.export_format() == "onnx":
        condition = ops.isnan(ops.where(condition, float("nan"), 0.0))
    return ops.where(condition, x, y)


def step(x: Tensor) -> Tensor:
    """1 where x > 0, else 0; NaN where x is."""
    return ops.where(ops.isnan(x), x, ops.cast(x > 0, x.dtype))


def softmax_terms(
    x: Tensor, temperature: Tensor | float, dy: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """softmax(x / temperature) = weight / total, and the mean of `dy` by it.

    Inside a compiled program only.
    """
    weight, _ = _weights(x, maximum(x, axis), temperature)
    total = sum_in_lanes(weight, axis)
    total = ops.where(total == 0.0, 1.0, total)
    weighted = ops.where(weight != 0.0, weight * dy, 0.0)
    return weight, total, sum_in_lanes(weighted, axis) / total


def _weights(
    x: Tensor, peak: Tensor, temperature: Tensor | float
) -> tuple[Tensor, Tensor]:
    """The terms of softmax, and x - peak.

    The latter is finite wherever `x` is not NaN, and 0 at forbidden classes,
    so that no derivative multiplies 0 by infinity.
    """
    allowed = x != FORBIDDEN
    gap = ops.where(allowed, x - peak, 0.0)
    lowest = _lowest(x)
    gap = ops.where(gap < lowest, lowest, gap)
    return ops.where(allowed, ops.exp(gap / temperature), 0.0), gap


def _total(weight: Tensor, axis: int) -> Tensor:
    """The sum, 1 where all are 0."""
    total = ops.sum(weight, axis=axis, keepdims=True)
    return ops.where(total == 0.0, 1.0, total)


def sum_in_lanes(x: Tensor, axis: int) -> Tensor:
    """The sum along `axis`, which stays. Inside a compiled program only.

    A sum along the last axis would have XLA write what is summed to memory
    first, so the last axis is folded in eight and summed over the folds.
    """
    size = x.shape[axis]
    if axis == len(x.shape) - 1 and size and size % 8 == 0:
        folds = ops.reshape(x, (*ops.shape(x)[:-1], 8, size // 8))
        x = backend.materialize(ops.sum(folds, axis=-2))
    return ops.sum(x, axis=axis, keepdims=True)
