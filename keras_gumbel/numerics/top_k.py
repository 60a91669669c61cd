"""Several classes at once: the largest; and relaxed, by softmaxes in turn.

    w_1 = x,  a_j = softmax(w_j / t),  w_{j+1} = w_j + log(1 - a_j)
    k-hot = a_1 + ... + a_k

Only the peak of a row, if it is the only one, can have a share above 1/2,
where 1 - a loses digits. With d = (peak - second) / t and R the sum of
exp((w - second) / t) over all but the peak,

    a = 1 / (1 + R exp(-d))  and  1 - a = R exp(-d) / (1 + R exp(-d))

at the peak. The logarithm of 1 - a is finite, however cold it is. Rows are a
matrix's, with -inf at forbidden classes and +inf in place of NaN. A row is
finished after k softmaxes, or after one per allowed class if these are fewer.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics import FORBIDDEN, categorical, logarithms

# Marks the only peak, in place of its weight.
_PEAK = -1.0


def largest(x: Tensor, k: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the `k` largest entries of each row: k-hot, and in order.

    Args:
        x: Tensor (rows, classes), forbidden classes -inf, +inf for NaN.
        k: How many, int32, in all rows or per row, (rows, 1).
        most: The largest `k`, at most the number of classes.

    Returns:
        1 where an entry is among the largest and allowed, else 0, in the
        shape and dtype of `x`; and their classes, int32 (rows, most), the
        largest first, of ties the first, then -1 where no more are allowed.
        A row with a +inf has NaN and -1 in place of these.
    """
    # XLA would sort -0 after 0.
    x = ops.where(x == 0.0, 0.0, x)
    values, classes = backend.top_k(x, most)
    taken = numerics.classes(values, 1) < k
    # Slices would make XLA sort whole rows.
    least = ops.where(taken, values, float("inf"))
    least = backend.min(least, axis=1, keepdims=True, initial=float("inf"))
    last = ops.where(taken & (values == least), classes, 0)
    last = backend.max(last, axis=1, keepdims=True, initial=0)
    equal = (x == least) & (numerics.classes(x, 1) <= last)
    hot = ((x > least) | equal) & (x != FORBIDDEN)
    peak = backend.max(values, axis=1, keepdims=True, initial=FORBIDDEN)
    bad = peak == float("inf")
    hot = ops.where(bad, float("nan"), ops.cast(hot, x.dtype))
    none = bad | ~taken | (values == FORBIDDEN)
    return hot, ops.where(none, -1, ops.cast(classes, "int32"))


class Reductions(NamedTuple):
    """Two reductions of a row.

    `few` returns entries that include its two largest, and `total` the sum.
    """

    few: Callable[[Tensor], Tensor]
    total: Callable[[Tensor], Tensor]


ANYWHERE = Reductions(lambda w: w, lambda x: ops.sum(x, axis=1, keepdims=True))
COMPILED = Reductions(
    categorical.contenders, lambda x: numerics.sum_in_lanes(x, 1)
)


def relaxed_k_hot(
    x: Tensor, temperature: Tensor, k: Tensor, most: int, by: Reductions
) -> Tensor:
    """Return a_1 + ... + a_k; each row sums to `k`.

    `k` is one number or per row, (rows, 1), and at most `most`.
    """
    rounds = _rounds(x, k)

    def add(j: Tensor, w: Tensor, total: Tensor) -> Tensors:
        weight, spread = _weigh(w, temperature, by)
        row = _Row.of(spread, temperature, j < rounds)
        return _lower(w, weight, row), total + _share(weight, row)

    _, total = backend.loop(most, add, (x, ops.zeros_like(x)))
    return ops.where(_is_bad(x), float("nan"), total)


def relaxed_k_hot_vjp(
    x: Tensor, temperature: Tensor, dy: Tensor, k: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """Take gradient `dy` at `relaxed_k_hot` back to its arguments.

    Inside a compiled program only.

        da_j = dy - dw_{j+1} / (1 - a_j)
        dw_j = dw_{j+1} + (a_j da_j - a_j sum(a_j da_j)) / t

    Returns:
        The gradient to `x`, and each entry's part of `temperature`'s.
    """
    rounds = _rounds(x, k)
    weights, spreads = _weigh_again(x, temperature, rounds, most)

    def back(n: Tensor, dw: Tensor, parts: Tensor) -> Tensors:
        j = most - 1 - n
        weight = weights[j]
        row = _Row.of(spreads[j], temperature, j < rounds)
        step = _softmax_vjp(weight, row, dy, dw) * (1.0 / temperature)
        parts = parts - step * _log_weight(weight, row)
        return dw + step, parts

    zero = ops.zeros_like(x)
    dx, parts = backend.loop(most, back, (zero, zero))
    bad = _is_bad(x)
    return tuple(ops.where(bad, float("nan"), d) for d in (dx, parts))


def _weigh_again(
    x: Tensor, temperature: Tensor, rounds: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """Stack the results of `_weigh` in each of the softmaxes."""

    def add(j: Tensor, w: Tensor, weights: Tensor, spreads: Tensor) -> Tensors:
        weight, spread = _weigh(w, temperature, COMPILED)
        row = _Row.of(spread, temperature, j < rounds)
        weights = backend.with_rows(weights, j, weight[None])
        spreads = backend.with_rows(spreads, j, spread[None])
        return _lower(w, weight, row), weights, spreads

    rows, size = ops.shape(x)
    weights = ops.zeros((most, rows, size), x.dtype)
    spreads = ops.zeros((most, rows, 3), x.dtype)
    _, weights, spreads = backend.loop(most, add, (x, weights, spreads))
    return weights, spreads


class _Row(NamedTuple):
    """Numbers that the entries of a row share, (rows, 1) each.

    All are 0 in a finished row.
    """

    gap: Tensor  # d; 0 where there are several peaks
    peak: Tensor  # the share of the only peak, 0 where there are several
    others: Tensor  # the share of all others, 1 where there are several
    unit: Tensor  # 1 / R, an other's part of `others` per weight
    log_others: Tensor

    @classmethod
    def of(cls, spread: Tensor, temperature: Tensor, live: Tensor) -> "_Row":
        """Return the numbers of the rows that have this spread."""
        peak, second, rest = (spread[:, i : i + 1] for i in range(3))
        gap = (peak - second) / temperature
        left = rest * ops.exp(-gap)
        total = ops.where(second < peak, 1.0 + left, left)
        fields = cls(
            gap,
            numerics.select(second < peak, 1.0 / total, 0.0),
            left / total,
            # If there is only one class, no other has a part.
            numerics.select(rest == 0.0, 0.0, 1.0 / rest),
            ops.log(rest) - gap - ops.log(total),
        )
        return cls(*(numerics.select(live, one, 0.0) for one in fields))


def _weigh(
    w: Tensor, temperature: Tensor, by: Reductions
) -> tuple[Tensor, Tensor]:
    """Return exp((w - second) / t), or the only peak's mark; and the spread.

    The spread, (rows, 3), is the peak, the second (again the peak if there are
    several), and the sum R of the weights.
    """
    few = by.few(w)
    peak = numerics.maximum(few, 1)
    top = few == peak
    several = ops.sum(ops.cast(top, "int32"), axis=1, keepdims=True) > 1
    second = numerics.maximum(ops.where(top & ~several, FORBIDDEN, few), 1)
    weight = ops.exp((w - second) * (1.0 / temperature))
    weight = numerics.select(w == FORBIDDEN, 0.0, weight)
    weight = numerics.select((w == peak) & ~several, _PEAK, weight)
    # A maximum would drop NaN under XLA.
    rest = by.total(ops.where(weight < 0.0, 0.0, weight))
    return weight, ops.concatenate([peak, second, rest], axis=1)


def _share(weight: Tensor, row: _Row) -> Tensor:
    """Return a = softmax(w / t)."""
    other = weight * (row.others * row.unit)
    return ops.where(weight < 0.0, row.peak, other)


def _lower(w: Tensor, weight: Tensor, row: _Row) -> Tensor:
    """Return w + log(1 - a)."""
    other = weight * (row.others * row.unit)
    fall = logarithms.small_exponential(other)
    return w + numerics.select(weight < 0.0, row.log_others, -fall)


def _softmax_vjp(weight: Tensor, row: _Row, dy: Tensor, dw: Tensor) -> Tensor:
    """Return a (da - sum(a da)), for da = dy - dw / (1 - a).

    At the only peak a / (1 - a) has no bound, but it comes in only as a product
    with the others' shares: a_i a / (1 - a) = a weight_i / R.
    """
    share = weight * (row.others * row.unit)
    # An infinite gradient at a class that is 0 (a log) must not become NaN.
    other = ops.where(share > 0.0, share * (dy - dw / (1.0 - share)), 0.0)
    only = (weight < 0.0) & (row.peak > 0.0)
    peak = ops.where(only, row.peak * (row.others * dy - dw), 0.0)
    other_sum, peak_sum = COMPILED.total(other), COMPILED.total(peak)
    mean = row.others * other_sum + peak_sum
    return ops.where(
        weight < 0.0,
        peak_sum - row.peak * other_sum,
        other - weight * (row.unit * mean),
    )


def _log_weight(weight: Tensor, row: _Row) -> Tensor:
    """Return (w - peak) / t, and 0 at classes without weight."""
    highest = float(np.finfo(keras.backend.standardize_dtype(weight.dtype)).max)
    log = ops.log(ops.where(weight > 0.0, weight, 1.0))
    log = log - backend.minimum(row.gap, highest)
    return ops.where(weight > 0.0, log, 0.0)


def _rounds(x: Tensor, k: Tensor) -> Tensor:
    """Return how many softmaxes each row has, (rows, 1), int32."""
    allowed = ops.cast(x > FORBIDDEN, "int32")
    return backend.minimum(ops.sum(allowed, axis=1, keepdims=True), k)


def _is_bad(x: Tensor) -> Tensor:
    """Return whether a row has a +inf, (rows, 1)."""
    return numerics.maximum(x, 1) == float("inf")
