"""Forbidden entries and NaN, before a sample is drawn."""

from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel.numerics.dtypes import wide_dtype, widen

FORBIDDEN = float("-inf")


@backend.unchecked
def allowed(logits: Tensor, *class_mask: Tensor | None) -> Tensor:
    """Return the logits, wide; -inf where there is a mask and it forbids."""
    wide = widen(logits)
    for mask in class_mask:
        wide = wide if mask is None else ops.where(mask, wide, FORBIDDEN)
    return wide


@backend.unchecked
def moved(logits: Tensor, noise: Tensor) -> Tensor:
    """Return logits + noise, where logits may be forbidden."""
    return logits + noise


def pairs_of_items(
    mask: Tensor, n: Tensor | int, m: Tensor | int, wide: Tensor | bool
) -> Tensor:
    """Return which pairs of a matrix a mask (..., n) of its rows allows.

    If n = m, columns are places of the same items and padding takes its own;
    not where the matrix is `wide`. The result broadcasts to (..., n, m).
    """
    rows = ops.expand_dims(mask, -1)
    if wide is True:
        return rows
    if wide is not False:
        lead = tuple(ops.shape(mask))[:-1]
        mask = ops.broadcast_to(mask, (*lead, n))
        more = ops.ones((*lead, m), "bool")
        mask = ops.concatenate([mask, more], axis=-1)[..., :m] | wide
    return rows & ops.expand_dims(mask, -2)


@backend.native
@backend.unchecked
def positive_or_nan(temperature: Tensor, dtype: str) -> Tensor:
    """Return a temperature; NaN, if not positive, as it would flip classes."""
    temperature = ops.convert_to_tensor(temperature, dtype)
    return ops.where(temperature > 0, temperature, float("nan"))


@backend.native
@backend.unchecked
def scale_or_nan(noise_scale: Tensor, logits: Tensor) -> Tensor:
    """Return a noise scale in the wide type of `logits`; NaN if negative."""
    scale = ops.cast(noise_scale, wide_dtype(logits))
    return ops.where(scale >= 0, scale, float("nan"))


def temperature_gradient(
    parts: Tensor, temperature: Tensor, wanted: bool
) -> Tensor | None:
    """Sum each entry's part to the temperature's own shape and dtype."""
    if not wanted:
        return None
    total = backend.sum_to_shape(parts, ops.shape(temperature))
    return ops.cast(total, temperature.dtype)


@backend.unchecked
def log_or_forbidden(probs: Tensor) -> Tensor:
    """Return log(probs), with -inf and no gradient at 0, NaN below it."""
    possible = probs != 0
    log = ops.log(ops.where(possible, probs, 1.0))
    return ops.where(possible, log, FORBIDDEN)


@backend.unchecked
def log_odds(probs: Tensor) -> Tensor:
    """Return log(p) - log(1 - p), NaN outside [0, 1].

    -inf at 0 and +inf at 1, without a gradient.
    """
    between = (probs != 0) & (probs != 1)
    p = ops.where(between, probs, 0.5)
    ends = ops.where(probs == 0, FORBIDDEN, float("inf"))
    return ops.where(between, ops.log(p) - ops.log1p(-p), ends)


@backend.unchecked
def nan_unless(known: Tensor, x: Tensor) -> Tensor:
    """Return `x` where it is known, else NaN."""
    return ops.where(known, x, float("nan"))


def nan_to_inf(x: Tensor) -> Tensor:
    """Replace NaN by +inf."""
    return ops.where(backend.isnan(x), float("inf"), x)
