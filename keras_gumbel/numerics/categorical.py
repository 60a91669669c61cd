"""The choice of a class, which is a hard sample: drawn and shown.

A choice is the index of a class, int32, with the category axis of size 1. It
is K where no class is allowed, and -1 where a logit is NaN or +inf: `one_hot`,
`class_number` and `row` know how to show these.
"""

import itertools
from collections.abc import Callable

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel.numerics import Draw
from keras_gumbel.numerics.sizes import whole

_BEYOND = 2**31 - 1  # no class has this number
_LONGEST_RUN = 64
_BELOW_ONE = 1 - 2.0**-52


@backend.native
def first_argmax(x: Tensor, axis: int) -> Tensor:
    """Return the index of the first largest entry, int32, `axis` of size 1.

    It is K where no class is allowed, and -1 where the largest is +inf, which
    `perturb` puts in place of a NaN: `one_hot`, `class_number` and `row` know
    how to show these. Inside a compiled program only.
    """
    size, last = backend.static_shape(x)[axis], axis == len(x.shape) - 1
    run = _run_length(size) if last and size and backend.fuses() else 1
    peak, first = _peak(x, axis) if run == 1 else _peak_by_runs(x, run)
    first = ops.where(peak == numerics.FORBIDDEN, ops.shape(x)[axis], first)
    return ops.where(peak == float("inf"), -1, first)


def contenders(x: Tensor) -> Tensor:
    """Return few entries of each row (rows, classes), with the two largest.

    They are the peaks of runs, and the entries of the one run with the largest.
    Inside a compiled program only.
    """
    size = backend.static_shape(x)[1]
    run = _run_length(size) if size else 1
    if run == 1:
        return x
    entries, peaks = _in_runs_with_peaks(x, run)
    _, which = _peak(peaks, 1)
    others = numerics.classes(peaks, 1) != which
    others = ops.where(others, peaks, numerics.FORBIDDEN)
    return ops.concatenate([others, _one_run(entries, which)], axis=1)


def _run_length(size: int) -> int:
    """Return a divisor of `size` to search by, 1 where there is none."""
    fitting = (run for run in range(16, _LONGEST_RUN + 1) if size % run == 0)
    return next(fitting, 1) if size >= 64 else 1


def _peak(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the largest entry, and its first place."""
    peak = numerics.maximum(x, axis)
    # A minimum over indices vectorises; XLA's argmax is a scalar CPU loop.
    candidate = ops.where(x == peak, numerics.classes(x, axis), _BEYOND)
    return peak, backend.min(
        candidate, axis=axis, keepdims=True, initial=_BEYOND
    )


def _peak_by_runs(x: Tensor, run: int) -> tuple[Tensor, Tensor]:
    """Return `_peak` along the last axis, in one pass over `x`.

    Look for the place among the peaks of runs of `run` entries, and then within
    the one run.
    """
    lead = ops.shape(x)[:-1]
    entries, peaks = _in_runs_with_peaks(x, run)
    peak, which = _peak(peaks, 1)
    entries = _one_run(entries, which)
    _, where = _peak(entries, 1)
    first = which * run + where
    return ops.reshape(peak, (*lead, 1)), ops.reshape(first, (*lead, 1))


def _in_runs_with_peaks(x: Tensor, run: int) -> tuple[Tensor, Tensor]:
    """Return the last axis as (rows, runs, run), and each run's peak."""
    entries = ops.reshape(x, (-1, x.shape[-1] // run, run))
    peaks = backend.max(entries, axis=-1, initial=numerics.FORBIDDEN)
    return entries, backend.materialize(peaks)


def _one_run(entries: Tensor, which: Tensor) -> Tensor:
    """Return run `which` of each row, (rows, run)."""
    runs, run = entries.shape[1:]
    rows = ops.arange(ops.shape(entries)[0], dtype="int32")[:, None]
    flat = ops.reshape(entries, (-1, run))
    return ops.take(flat, ops.squeeze(rows * runs + which, 1), axis=0)


def sample(draw: Draw) -> Tensor:
    """Draw a class from softmax(logits / noise_scale), by one number per row.

        the first k with sum_{j <= k} w_j > u * sum_j w_j,
        w = exp(logits / noise_scale), u uniform in (0, 1) from 64 bits

    The cumulative distribution is inverted in float64, where a class of
    probability 1e-12 keeps four digits; one without weight is never chosen.
    With a `noise_scale` of 0 it is the first of the likeliest classes. Inside
    a compiled program only.
    """
    x = numerics.with_axis_at(numerics.nan_to_inf(draw.logits()), draw.axis, -1)
    lead, size = ops.shape(x)[:-1], ops.shape(x)[-1]
    start = draw.places((-1, 1), of_rows=True)
    choice = _sample(ops.reshape(x, (-1, size)), draw, 1, start)
    return numerics.with_axis_at(ops.reshape(choice, (*lead, 1)), -1, draw.axis)


def several(draw: Draw, count: int) -> Tensor:
    """Draw `count` classes per row of logits (rows, classes): (rows, count).

    `sample` gives the same classes if each row of its logits comes `count`
    times. Here rows are not repeated, and a row's weights are summed once.
    """
    return _sample(numerics.nan_to_inf(draw.logits()), draw, count, 0)


def _sample(x: Tensor, draw: Draw, count: int, start: Tensor | int) -> Tensor:
    """Draw `count` classes per row (rows, classes), by numbers from `start`."""
    # Unfused, or each reader would repeat the sums for each class.
    return backend.unfused_unless_zero(
        draw.noise_scale,
        lambda: _sample_rows(x, draw, count, start),
        lambda: ops.repeat(first_argmax(x, 1), count, axis=1),
    )


def _sample_rows(
    x: Tensor, draw: Draw, count: int, start: Tensor | int
) -> Tensor:
    """Return `_sample` where there is noise."""
    rows, size = ops.shape(x)
    x = _in_runs(x, numerics.FORBIDDEN)
    peak = backend.materialize(
        backend.max(x, axis=-1, initial=numerics.FORBIDDEN)
    )
    peak = backend.max(peak, axis=1, keepdims=True, initial=numerics.FORBIDDEN)
    unit = backend.unfused_unless_zero(
        draw.noise_scale,
        lambda: numerics.random_unit((rows, count), draw.key, "float64", start),
        lambda: ops.zeros((rows, count), "float64"),
    )

    def weigh(x: Tensor) -> Tensor:
        weight = ops.exp((x - peak[..., None]) / draw.noise_scale)
        return ops.cast(weight, "float64")

    choice, _ = _invert(x, weigh, lambda total: unit * total)
    choice = ops.where(peak == numerics.FORBIDDEN, whole(size), choice)
    bad = (peak == float("inf")) | ops.isnan(draw.noise_scale)
    return ops.where(bad, -1, choice)


def _in_runs(x: Tensor, filler: float) -> Tensor:
    """Return rows in runs short enough to be gone through one by one."""
    rows, size = ops.shape(x)[0], backend.static_shape(x)[1]
    if size is None or size <= _LONGEST_RUN:
        return ops.expand_dims(x, 1)
    run = _run_length(size)
    if run == 1:
        run = _LONGEST_RUN
        rest = ops.full((rows, -size % run), filler, x.dtype)
        x = ops.concatenate([x, rest], axis=1)
    return ops.reshape(x, (rows, x.shape[1] // run, run))


def _invert(
    x: Tensor,
    weigh: Callable[[Tensor], Tensor],
    threshold: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Return the first place where summed weights exceed `threshold(total)`.

    Totals are (rows, 1); a row has one threshold per place to find.

    Returns:
        The place among the runs' entries, and the rest of the threshold there.
    """
    runs, run = backend.static_shape(x)[1:]
    if runs == 1:
        return _scan(weigh(x), threshold)
    totals = backend.materialize(ops.sum(weigh(x), axis=-1))
    which, rest = _invert(_in_runs(totals, 0.0), lambda w: w, threshold)
    rows = ops.arange(ops.shape(x)[0], dtype="int32")[:, None]
    entries = ops.reshape(x, (-1, run))
    entries = ops.take(entries, rows * runs + which, axis=0)
    where, rest = _scan(weigh(entries), lambda _: rest)
    return which * run + where, rest


def _scan(
    weights: Tensor, threshold: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return `_invert` of one run per threshold, or one for all of a row."""
    if backend.static_shape(weights)[2] is None:
        sums = ops.cumsum(weights, axis=2)
        limit = _below(sums[:, :, -1], threshold)
        past = sums <= limit[..., None]
        place = ops.cast(ops.sum(past, axis=2), "int32")
        return place, limit - backend.max(
            ops.where(past, sums, 0.0), axis=2, initial=0.0
        )
    # Written out, sums are several times faster than by `cumsum`.
    sums = list(itertools.accumulate(ops.unstack(weights, axis=2)))
    limit = _below(sums[-1], threshold)
    place = ops.zeros(ops.shape(limit), "int32")
    before = ops.zeros_like(limit)
    for total in sums:
        place = place + ops.cast(total <= limit, "int32")
        before = ops.where(total <= limit, total, before)
    return place, limit - before


def _below(total: Tensor, threshold: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the threshold, or a number just below the last sum."""
    return backend.minimum(threshold(total), total * _BELOW_ONE)


@backend.native
def entry(x: Tensor, choice: Tensor, axis: int) -> Tensor:
    """Return x at the choice; NaN where that is a mark for NaN."""
    inside = ops.clip(choice, 0, ops.shape(x)[axis] - 1)
    value = backend.take_along_axis(x, inside, axis=axis)
    return ops.where(choice < 0, float("nan"), value)


@backend.native
def peak(x: Tensor, choice: Tensor, axis: int) -> Tensor:
    """Return `entry`, where the choice is a largest entry of `x`."""
    return entry(x, choice, axis)


@backend.native
def one_hot(choice: Tensor, like: Tensor, axis: int) -> Tensor:
    """Return 1 at the choice, 0 elsewhere; shape and dtype of `like`."""
    hot = ops.cast(numerics.classes(like, axis) == choice, like.dtype)
    return ops.where(choice < 0, float("nan"), hot)


def class_number(choice: Tensor, like: Tensor, axis: int) -> Tensor:
    """Return the choice as float32 without `axis`; 0 where there is none."""
    nothing = choice == ops.cast(ops.shape(like)[axis], "int32")
    number = ops.cast(ops.where(nothing, 0, choice), "float32")
    number = ops.where(choice < 0, float("nan"), number)
    return numerics.exact_or_nan(ops.squeeze(number, axis), like, axis)


def row(table: Tensor, choice: Tensor) -> Tensor:
    """Return the chosen rows of `table`; zeros where there is no choice."""
    choice = ops.squeeze(choice, axis=1)
    size = ops.shape(table)[0]
    rows = ops.take(table, ops.clip(choice, 0, size - 1), axis=0)
    rows = ops.where((choice == size)[:, None], 0.0, rows)
    return ops.where((choice < 0)[:, None], float("nan"), rows)


def row_transpose(d_rows: Tensor, choice: Tensor, table: Tensor) -> Tensor:
    """Take the gradient at `row(table, choice)` back to `table`.

    Half precision would lose all but the first few hundred of equal terms, so
    the sum is wide.
    """
    size, wide = ops.shape(table)[0], numerics.widen(d_rows)
    # Gradients without a choice get a row of their own, which is dropped.
    sums = backend.segment_sum(wide, ops.squeeze(choice, axis=1), size + 1)
    return ops.cast(sums[:size], table.dtype)
