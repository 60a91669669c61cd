"""Subsets of a size: independent choices, given their sum.

With z_i ~ Bernoulli(sigmoid(x_i)) and N_i = z_1 + ... + z_i, the subset z given
that N_n = k has probability prod_i exp(x_i z_i) / e_k, where e_k is the kth
elementary symmetric polynomial of all exp(x). With e_j of the first i alone,

    level_i[j] = log e_j - log e_{j-1}
    chance_i[j] = P(z_i = 1 | N_i = j) = sigmoid(x_i - level_{i-1}[j])

and all results follow from these chances. The levels are only as large as
logits, however large the polynomials: from e_j + exp(x) e_{j-1},

    rise[j] = log(1 + exp(x_i - level[j])),  rise[0] = 0
    level_i[j] = level[j] + rise[j] - rise[j-1]

Here errors do not grow. An impossible sum has the level -inf, and the next
class is certain there.

Everything is float64. Tables have the shape (classes, sums, rows), for sums of
1 to the most: with rows last each step is a loop that vectorises.
"""

import itertools
from collections.abc import Callable

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.numerics.masking import FORBIDDEN

# Farther than this from the kth largest, a class is certain or impossible.
_CERTAIN = 1e4


def near_the_kth(x: Tensor, k: Tensor, most: int) -> Tensor:
    """Return logits less the kth largest, none farther than certainty asks.

    A row's shift changes no probability, and near 0 float64 has the log of the
    number of equal logits, which is lost beside huge ones.

    Args:
        x: Logits (rows, classes), forbidden classes -inf.
        k: Int32 (rows, 1), at most the number of allowed classes.
        most: The largest of `k`, 1 or more.
    """
    largest, _ = backend.top_k(x, most)
    place = ops.arange(most, dtype="int32") == backend.maximum(
        k - 1, ops.zeros_like(k)
    )
    # Any other row has no class to take: nothing is its kth.
    kth = ops.sum(ops.where(place, largest, 0.0), axis=1, keepdims=True)
    kth = ops.where(kth > FORBIDDEN, kth, 0.0)
    near = backend.maximum(backend.minimum(x - kth, _CERTAIN), -_CERTAIN)
    return ops.where(x > FORBIDDEN, near, FORBIDDEN)


def chances(x: Tensor, most: int) -> Tensor:
    """Return the table of P(z_i = 1 | N_i = j).

    Args:
        x: Logits (classes, rows), forbidden classes -inf.
        most: The largest sum, 1 or more.
    """

    def add(level: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        out = x == FORBIDDEN
        gap = x - level
        small = ops.exp(-ops.abs(gap))
        chance = ops.where(gap >= 0.0, 1.0, small) / (1.0 + small)
        total = backend.maximum(x, level) + ops.log1p(small)
        higher = total - _after(total - level)
        return ops.where(out, level, higher), ops.where(out, 0.0, chance)

    level = ops.full((most, ops.shape(x)[1]), FORBIDDEN, "float64")
    return _scan(add, level, x[:, None])[1]


def visits(chance: Tensor, k: Tensor) -> Tensor:
    """Return the table of P(N_i = j | N_n = k); `k` is int32, (rows,)."""

    def back(here: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
        taken = here * chance
        return here - taken + _before(taken), here

    last = ops.cast(_sums(chance) == k, "float64")
    return _scan(back, last, chance, reverse=True)[1]


def marginals(chance: Tensor, visit: Tensor) -> Tensor:
    """Return P(z_i = 1 | N_n = k), (classes, rows)."""
    return ops.sum(chance * visit, axis=1)


def sample(chance: Tensor, unit: Tensor, k: Tensor) -> Tensor:
    """Draw z given N_n = k, int32 (classes, 1, rows), from the last class on.

    `unit` has a uniform number in (0, 1) for each class, (classes, rows).
    """
    sums = _sums(chance)

    def take(
        left: Tensor, chance: Tensor, unit: Tensor
    ) -> tuple[Tensor, Tensor]:
        here = ops.where(sums == left, chance, 0.0)
        here = ops.sum(here, axis=0, keepdims=True)
        taken = ops.cast(unit < here, "int32")
        return left - taken, taken

    return _scan(take, k[None], chance, unit[:, None], reverse=True)[1]


def covariance_product(chance: Tensor, visit: Tensor, v: Tensor) -> Tensor:
    """Return Cov(z_i, sum_l v_l z_l | N_n = k), (classes, rows) as `v`.

    It is the gradient of sum_l v_l P(z_l = 1 | N_n = k) to the logits, in
    three parts: the classes before i, i itself and the classes behind it.
    """
    v = v[:, None]

    def add(mean: Tensor, chance: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        before = _after(mean)
        return mean + chance * (before + v - mean), before

    def back(
        behind: Tensor, chance: Tensor, visit: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        taken = chance * (behind + v * visit)
        return behind - chance * behind + _before(taken), behind

    nothing = ops.zeros_like(chance[0])
    _, before = _scan(add, nothing, chance, v)
    _, behind = _scan(back, nothing, chance, visit, v, reverse=True)
    total = ops.sum(chance * visit * v, axis=(0, 1))
    return ops.sum(chance * (visit * (before + v - total) + behind), axis=1)


def _scan(
    step: Callable[..., tuple[Tensor, Tensor]],
    start: Tensor,
    *tables: Tensor,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return `scan` of `step(state, *a class's tables) -> (state, result)`.

    The tables become one: on TensorFlow, Keras scans several only if it knows
    the number of classes before the program runs.
    """
    ends = list(itertools.accumulate(table.shape[1] for table in tables))

    def one(state: Tensor, joined: Tensor) -> tuple[Tensor, Tensor]:
        begins = (0, *ends[:-1])
        parts = (joined[a:b] for a, b in zip(begins, ends, strict=True))
        return step(state, *parts)

    whole = ops.concatenate(tables, axis=1) if len(tables) > 1 else tables[0]
    found: tuple[Tensor, Tensor] = backend.scan(
        one, start, whole, reverse=reverse
    )
    return found


def _sums(chance: Tensor) -> Tensor:
    """Return 1, 2, ... as a column."""
    return ops.arange(1, chance.shape[1] + 1, dtype="int32")[:, None]


def _after(x: Tensor) -> Tensor:
    """Move each sum's number to the next sum; 0 at the first."""
    return ops.concatenate([ops.zeros_like(x[:1]), x[:-1]], axis=0)


def _before(x: Tensor) -> Tensor:
    """Move each sum's number to the sum before; 0 at the last."""
    return ops.concatenate([x[1:], ops.zeros_like(x[:1])], axis=0)
