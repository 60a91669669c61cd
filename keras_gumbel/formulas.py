"""The mathematics, in `keras.ops`: what every estimator is written with.

Each function takes float32 or float64 tensors in which a forbidden class is
-inf. What draws noise is for the inside of a compiled program alone.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend, logarithms
from keras_gumbel._typing import Tensor

FORBIDDEN = float("-inf")
_BEYOND = 2**31 - 1  # no class has this number


def widen(logits: Tensor) -> Tensor:
    """Half precision has neither the range nor the digits for noise."""
    return ops.cast(logits, wide_dtype(logits))


def wide_dtype(logits: Tensor) -> str:
    """The type that `widen` gives."""
    dtype = keras.backend.standardize_dtype(logits.dtype)
    return "float64" if dtype == "float64" else "float32"


def positive_or_nan(temperature: Tensor, dtype: str) -> Tensor:
    """A temperature that is not positive must show, not flip the classes."""
    temperature = ops.cast(temperature, dtype)
    return ops.where(temperature > 0, temperature, float("nan"))


def temperature_gradient(
    parts: Tensor, temperature: Tensor, wanted: bool
) -> Tensor | None:
    """Each entry's part, summed to the temperature's own shape and dtype."""
    if not wanted:
        return None
    total = backend.sum_to_shape(parts, ops.shape(temperature))
    return ops.cast(total, temperature.dtype)


def log_or_forbidden(probs: Tensor) -> Tensor:
    """log(probs), with -inf and no gradient at 0, NaN below it."""
    possible = probs != 0
    log = ops.log(ops.where(possible, probs, 1.0))
    return ops.where(possible, log, FORBIDDEN)


def gumbel(shape: Tensor, key: Tensor, dtype: str) -> Tensor:
    """Standard Gumbel noise: -log(-log(1 - t)), t uniform in (0, 1).

    Large noise comes from small t, where floating-point numbers are dense:
    the upper tail is whole up to 45, where -log(-log(u)) of a float32 u in
    [0, 1) ends at 16.6.
    """
    t = backend.random_unit(shape, key, dtype)
    return logarithms.minus_log(logarithms.exponential(t))


def perturb(
    logits: Callable[[], Tensor], noise_scale: Tensor, key: Tensor
) -> Tensor:
    """logits() + noise_scale * gumbel, drawn once however often it is read.

    +inf in place of NaN: what is not a number stands out as the peak of its
    row, where one comparison finds it. Inside a compiled program only.
    """

    # In one dimension, where compilers vectorise even for two classes.
    def flat() -> Tensor:
        return ops.reshape(logits(), (-1,))

    def noisy() -> Tensor:
        x = flat()
        noise = gumbel(ops.shape(x), key, x.dtype)
        return _nan_to_inf(x + noise_scale * noise)

    perturbed = backend.unfused_unless_zero(
        noise_scale, noisy, lambda: _nan_to_inf(flat())
    )
    return ops.reshape(perturbed, ops.shape(logits()))


def _nan_to_inf(x: Tensor) -> Tensor:
    return ops.where(ops.isnan(x), float("inf"), x)


def classes(like: Tensor, axis: int) -> Tensor:
    """0, 1, ..., K - 1 along `axis`, ready to broadcast with `like`."""
    shape = [1] * len(like.shape)
    shape[axis] = -1
    return ops.reshape(ops.arange(ops.shape(like)[axis], dtype="int32"), shape)


def mean_class(y: Tensor, axis: int) -> Tensor:
    """sum_k k * y_k along `axis`."""
    return ops.sum(y * ops.cast(classes(y, axis), y.dtype), axis=axis)


def softmax(x: Tensor, temperature: Tensor, axis: int) -> Tensor:
    """softmax(x / temperature); a row with no class allowed is all zeros."""
    weight, total, _ = _weights(x, _maximum(x, axis), temperature, axis)
    return weight / total


def relaxed_vjp(
    x: Tensor, temperature: Tensor, dy: Tensor, axis: int
) -> tuple[Tensor, Tensor]:
    """`softmax_vjp` where the peak is still to be found."""
    return softmax_vjp(x, _maximum(x, axis), temperature, dy, axis)


def _maximum(x: Tensor, axis: int) -> Tensor:
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
    weight, total, gap = _weights(x, peak, temperature, axis)
    # An infinite gradient at a class that is 0 (a log) must not become NaN.
    live = weight != 0.0
    weighted = ops.where(live, weight * dy, 0.0)
    mean = _sum_in_lanes(weighted, axis) / total
    dx = ops.where(live, weight * (dy - mean), 0.0) / (total * temperature)
    # Any constant may stand in for the peak here: dx sums to 0.
    return dx, -dx * gap / temperature


def _weights(
    x: Tensor, peak: Tensor, temperature: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The terms of softmax, their sum (1 where all are 0), and x - peak.

    The last is finite wherever `x` is not NaN, and 0 at forbidden classes,
    so that no derivative multiplies 0 by infinity.
    """
    allowed = x != FORBIDDEN
    gap = ops.where(allowed, x - peak, 0.0)
    lowest = float(np.finfo(keras.backend.standardize_dtype(x.dtype)).min)
    gap = ops.where(gap < lowest, lowest, gap)
    weight = ops.where(allowed, ops.exp(gap / temperature), 0.0)
    total = ops.sum(weight, axis=axis, keepdims=True)
    return weight, ops.where(total == 0.0, 1.0, total), gap


def _sum_in_lanes(x: Tensor, axis: int) -> Tensor:
    """The sum along `axis`, which stays. Inside a compiled program only.

    A sum along the last axis would have XLA write what is summed to memory
    first, so the last axis is folded in eight and summed over the folds.
    """
    size = x.shape[axis]
    if axis == len(x.shape) - 1 and size and size % 8 == 0:
        folds = ops.reshape(x, (*ops.shape(x)[:-1], 8, size // 8))
        x = backend.materialize(ops.sum(folds, axis=-2))
    return ops.sum(x, axis=axis, keepdims=True)


def first_argmax(x: Tensor, axis: int) -> Tensor:
    """The index of the first largest entry, int32, with `axis` of size 1.

    K where no class is allowed, and -1 where the largest is +inf, which is
    what `perturb` makes of a NaN: a choice that `one_hot`, `class_number` and
    `row` know how to show. Inside a compiled program only.
    """
    size, last = x.shape[axis], axis == len(x.shape) - 1
    run = _run_length(size) if last and size else 1
    peak, first = _peak(x, axis) if run == 1 else _peak_by_runs(x, run)
    first = ops.where(peak == FORBIDDEN, ops.shape(x)[axis], first)
    return ops.where(peak == float("inf"), -1, first)


def _run_length(size: int) -> int:
    """A divisor of `size` to search by, 1 where there is none."""
    fitting = (run for run in range(16, 65) if size % run == 0)
    return next(fitting, 1) if size >= 64 else 1


def _peak(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The largest entry, and its first place."""
    peak = _maximum(x, axis)
    # A minimum over indices vectorises; XLA's argmax is a scalar loop on
    # CPUs.
    candidate = ops.where(x == peak, classes(x, axis), _BEYOND)
    return peak, ops.min(candidate, axis=axis, keepdims=True, initial=_BEYOND)


def _peak_by_runs(x: Tensor, run: int) -> tuple[Tensor, Tensor]:
    """`_peak` along the last axis, in one pass over `x`.

    The place is looked for among the peaks of its runs of `run` entries, and
    then within the one run.
    """
    lead, runs = ops.shape(x)[:-1], x.shape[-1] // run
    entries = ops.reshape(x, (-1, runs, run))
    peaks = backend.materialize(ops.max(entries, axis=-1, initial=FORBIDDEN))
    peak, which = _peak(peaks, 1)
    flat = ops.reshape(entries, (-1, run))
    rows = ops.arange(ops.shape(peak)[0], dtype="int32")[:, None]
    entries = ops.take(flat, ops.squeeze(rows * runs + which, 1), axis=0)
    _, where = _peak(entries, 1)
    first = which * run + where
    return ops.reshape(peak, (*lead, 1)), ops.reshape(first, (*lead, 1))


def entry(x: Tensor, choice: Tensor, axis: int) -> Tensor:
    """x at the choice; NaN where that is a mark for NaN."""
    inside = ops.clip(choice, 0, ops.shape(x)[axis] - 1)
    value = ops.take_along_axis(x, inside, axis=axis)
    return ops.where(choice < 0, float("nan"), value)


def one_hot(choice: Tensor, like: Tensor, axis: int) -> Tensor:
    """1 at the choice, 0 elsewhere; shape and dtype of `like`."""
    hot = ops.cast(classes(like, axis) == choice, like.dtype)
    return ops.where(choice < 0, float("nan"), hot)


def class_number(choice: Tensor, like: Tensor, axis: int) -> Tensor:
    """The choice as a float32 number without `axis`; 0 where there is none."""
    nothing = choice == ops.cast(ops.shape(like)[axis], "int32")
    number = ops.cast(ops.where(nothing, 0, choice), "float32")
    number = ops.where(choice < 0, float("nan"), number)
    return ops.squeeze(number, axis=axis)


def row(table: Tensor, choice: Tensor) -> Tensor:
    """The chosen rows of `table`; zeros where there is no choice."""
    choice = ops.squeeze(choice, axis=1)
    size = ops.shape(table)[0]
    rows = ops.take(table, ops.clip(choice, 0, size - 1), axis=0)
    rows = ops.where((choice == size)[:, None], 0.0, rows)
    return ops.where((choice < 0)[:, None], float("nan"), rows)


def row_transpose(d_rows: Tensor, choice: Tensor, table: Tensor) -> Tensor:
    """The gradient at `row(table, choice)`, taken back to `table`."""
    size = ops.shape(table)[0]
    # A row of its own for those without a choice, which then goes.
    sums = ops.segment_sum(d_rows, ops.squeeze(choice, axis=1), size + 1)
    return ops.cast(sums[:size], table.dtype)
