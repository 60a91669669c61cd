"""Sorting, hard and relaxed: SoftSort, of rows (rows, n).

    z = s in order,  w_ij = exp(-|z_i - s_j| / t)
    P_ij = w_ij / sum_j w_ij

The weighted mean of values at a place needs no matrix. In order, weights are
products, w_ik = w_ij w_jk for j between, so each sum up to a place follows
from another one. We double the sums in log2(n) rounds: with

    S_i = sum_{i - s < k <= i} w_ik v_k,  S_i + w_{i, i-s} S_{i-s}

is the sum over twice as many. Forbidden entries are -inf: they come last in
order, and have no weight.
"""

from typing import NamedTuple

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics.dtypes import lowest
from keras_gumbel.numerics.masking import FORBIDDEN
from keras_gumbel.numerics.sizes import Size


def order_of(x: Tensor, descending: bool) -> Tensor:
    """Return the entry at each place, int32 (rows, n); of ties the first."""
    key = -x if descending else x
    # XLA would sort 0 after -0.
    key = ops.where(key == 0.0, 0.0, key)
    key = ops.where(x <= FORBIDDEN, float("inf"), key)
    return ops.cast(backend.argsort(key, 1), "int32")


def to_entries(values: Tensor, order: Tensor) -> Tensor:
    """Move values at places (rows, n) to the entries at these places."""
    rows, size = ops.shape(order)
    first = ops.arange(rows, dtype="int32")[:, None] * size
    flat = ops.reshape(first + order, (-1,))
    sums = backend.segment_sum(ops.reshape(values, (-1,)), flat, rows * size)
    return ops.reshape(sums, (rows, size))


def numbers(x: Tensor) -> Tensor:
    """Return 0, 1, ..., n - 1 in each row, in the type and shape of `x`."""
    number = ops.cast(numerics.classes(x, 1), x.dtype)
    return number + ops.zeros_like(x)


class Places(NamedTuple):
    """Rows in order, (rows, n) each."""

    z: Tensor  # finite
    real: Tensor  # 1 where there is an entry, 0 behind the last
    order: Tensor
    sign: float  # of z_i - z_k where k comes before i

    @classmethod
    def of(cls, x: Tensor, order: Tensor, descending: bool) -> "Places":
        """Return the places of the entries of `x`."""
        z = backend.take_along_axis(x, order, axis=1)
        real = z > FORBIDDEN
        z = numerics.select(real & (z < float("inf")), z, 0.0)
        sign = -1.0 if descending else 1.0
        return cls(z, ops.cast(real, x.dtype), order, sign)


def permutation(x: Tensor, places: Places, temperature: Tensor) -> Tensor:
    """Return SoftSort's P, (rows, n, n); places without an entry are 0."""
    gaps, real = _minus_distances(x, places)
    # No peak is needed: each place has an entry at distance 0.
    weights = ops.exp(gaps / of_a_matrix(temperature))
    weights = numerics.select(real, weights, 0.0)
    return weights / numerics.total_or_one(weights, 2)


def permutation_vjp(
    x: Tensor, places: Places, temperature: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor]:
    """Take gradient `dy` at `permutation` back to its arguments.

    Inside a compiled program only. If two entries are equal, the slope is as if
    the one that comes first in order were apart.

    Returns:
        The gradient to `x`, and each entry's part of `temperature`'s.
    """
    gaps, real = _minus_distances(x, places)
    gaps = ops.where(real, gaps, FORBIDDEN)
    tau = of_a_matrix(temperature)
    d_gaps, parts = numerics.relaxed_vjp(gaps, tau, dy, 2)
    number = numbers(x)
    place = to_entries(number, places.order)
    away = ops.sign(number[:, :, None] - place[:, None, :]) * places.sign
    step = d_gaps * away
    own = to_entries(ops.sum(step, axis=2), places.order)
    return ops.sum(step, axis=1) - own, ops.sum(parts, axis=1)


def mean_by_matrix(
    values: Tensor, places: Places, temperature: Tensor
) -> Tensor:
    """Return `mean` without a loop, for formats that have none."""
    real = places.real > 0.0
    entries = ops.where(real, places.z, FORBIDDEN)
    weights = permutation(entries, places, temperature)
    return ops.sum(weights * (values * places.real)[:, None, :], axis=2)


def mean(
    values: Tensor, places: Places, temperature: Tensor
) -> tuple[Tensor, Tensor]:
    """Return sum_k w_ik values_k / sum_k w_ik by place, and the sum of weights.

    Inside a compiled program only.
    """
    before, after = _sums(places, temperature, values * places.real)
    total = before[0] + after[0] - places.real
    total = ops.where(total > 0.0, total, 1.0)
    weighted = before[1] + after[1] - values * places.real
    return weighted / total * places.real, total


def mean_vjp(
    values: Tensor, places: Places, temperature: Tensor, dy: Tensor
) -> Tensors:
    """Take gradient `dy` at `mean` back to its arguments.

    With a_i = dy_i / sum_k w_ik and b_i = a_i mean_i, and D(u) the sum of
    w_ik u_k over smaller z less the sum over larger ones:

        dz_i = -(a_i D(v) - b_i D(1) + v_i D(a) - D(b)) / t

    Returns:
        The gradients to `values` and to `x`, the latter at the entries, and
        each entry's part of `temperature`'s.
    """
    y, total = mean(values, places, temperature)
    # An entry's distance to itself does not depend on its value.
    a = dy * places.real / total
    b = a * y
    v = values * places.real
    before, after = _sums(places, temperature, v, a, b)
    d_one, d_v, d_a, d_b = (
        (up - down) * places.sign
        for up, down in zip(before, after, strict=True)
    )
    slope = a * d_v - b * d_one + v * d_a - d_b
    dz = -slope * places.real / temperature
    entries = ops.where(places.real > 0.0, places.z, FORBIDDEN)
    top = backend.max(entries, axis=1, keepdims=True, initial=FORBIDDEN)
    # Keras would round a number for `where` to float32 on torch.
    top = backend.maximum(top, lowest(dz))
    # Any constant may be subtracted here: dz sums to 0.
    gap = backend.maximum(places.z - top, lowest(dz)) * places.real
    parts = -dz * gap / temperature
    d_values = (before[2] + after[2] - a) * places.real
    return d_values, *(to_entries(d, places.order) for d in (dz, parts))


def _minus_distances(x: Tensor, places: Places) -> tuple[Tensor, Tensor]:
    """Return -|z_i - s_j|, finite, and whether place and entry exist."""
    there = x > FORBIDDEN
    real = (places.real > 0.0)[:, :, None] & there[:, None, :]
    near = numerics.select(there & (x < float("inf")), x, 0.0)
    gaps = -ops.abs(places.z[:, :, None] - near[:, None, :])
    return backend.maximum(gaps, lowest(x)), real


def of_a_matrix(temperature: Tensor) -> Tensor:
    """Return a number, or one per row, as one for each matrix."""
    return temperature[..., None] if len(temperature.shape) else temperature


def _sums(
    places: Places, temperature: Tensor, *values: Tensor
) -> tuple[Tensors, Tensors]:
    """Sum w_ik v_k over k <= i, and over k >= i; v is ones, and `values`."""
    rows, size = ops.shape(places.z)
    both = ops.stack([places.real, *values])
    both = ops.stack([both, ops.flip(both, axis=2)])
    z = ops.stack([places.z, ops.flip(places.z, axis=1)])
    if len(temperature.shape):
        temperature = ops.reshape(
            ops.broadcast_to(temperature, (2, rows, 1)), (1, 2 * rows)
        )
    # Places first, so that a shift is a run of memory: (n, values, 2 rows).
    count = len(values) + 1
    both = ops.reshape(ops.transpose(both, (3, 1, 0, 2)), (size, -1))
    z = ops.reshape(ops.transpose(z, (2, 0, 1)), (size, -1))

    def double(number: Tensor | int, total: Tensor) -> Tensors:
        shift = _power_of_two(number)
        weight = ops.exp(-ops.abs(z - _shifted(z, shift)) / temperature)
        behind = ops.reshape(_shifted(total, shift), (size, count, 2 * rows))
        behind = ops.reshape(behind * weight[:, None], (size, -1))
        return (total + behind,)

    (total,) = backend.loop(_doublings(size), double, (both,))
    total = ops.reshape(total, (size, count, 2, rows))
    before, after = ops.unstack(ops.transpose(total, (2, 1, 3, 0)), 2)
    return (
        tuple(ops.unstack(before, count)),
        tuple(ops.unstack(ops.flip(after, axis=2), count)),
    )


def _doublings(size: Size) -> Size:
    """Return how often 1 doubles before it is at least `size`."""
    if isinstance(size, int):
        return max(size - 1, 0).bit_length()
    powers = _power_of_two(ops.arange(31, dtype="int32"))
    return ops.sum(ops.cast(powers < size, "int32"))


def _power_of_two(number: Size) -> Size:
    if isinstance(number, int):
        return 2**number
    return ops.left_shift(ops.ones_like(number), number)


def _shifted(x: Tensor, shift: Tensor) -> Tensor:
    """Move rows of a matrix down by `shift`; zeros come in."""
    size = ops.shape(x)[0]
    padded = ops.concatenate([ops.zeros_like(x), x], axis=0)
    return backend.run_of_rows(padded, size - shift, size)
