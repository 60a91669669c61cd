"""What holds of every sample, whatever is drawn, and from whatever."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, strategies as st

from tests.properties.kinds import (
    ANY_TEMPERATURE,
    GATE,
    HALF,
    KINDS,
    MILD,
    WHOLE,
    any_number,
    cases,
    check,
    whole_number,
    wide,
)
from tests.variants import slow

EFFORT = pytest.mark.parametrize("effort", [GATE, *slow(WHOLE)], ids=str)
# Of the computation, by dtype of the logits.
FLOAT = {
    "float16": "float32",
    "bfloat16": "float32",
    "float32": "float32",
    "float64": "float64",
}
ROUNDING = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-22,
    "float64": 2.0**-50,
}
# The largest power of two beside which whole numbers up to 8 are exact.
FAR = {
    "float16": 2.0**10,
    "bfloat16": 2.0**7,
    "float32": 2.0**20,
    "float64": 2.0**48,
}


def rounding(case):
    """Of numbers up to 1: of a result, and of the noise within."""
    dtype = "float32" if case.kind.form == "index" else case.dtype
    return max(ROUNDING[dtype], 1e-6 if case.dtype != "float64" else 0)


def near(case, actual, expected, by=1.0):
    """Equal for hard samples, up to rounding for soft ones."""
    scale = case.classes if case.kind.form == "index" else 1
    tolerance = 0 if case.kind.hard else by * scale * rounding(case)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def no_near_ties(case, perturbed):
    """Whether rounding cannot have decided between classes."""
    if case.kind.form == "gates":
        return (np.abs(perturbed) > 1e-3).all()
    if case.kind.form == "matrix":
        return True
    return (
        np.diff(np.sort(perturbed, axis=case.axis), axis=case.axis) > 1e-3
    ).all()


# ---------------------------------------------------------------------------
# Finite in, finite out; and what is in a sample.
# ---------------------------------------------------------------------------


def is_finite(case):
    temperature = tf.constant(case.temperature, FLOAT[case.dtype])
    y, *gradients = case.with_gradient(temperature=temperature)
    assert np.isfinite(y).all()
    # A derivative is up to 1 / temperature times this; past it, infinite.
    steepest = 4000 * case.classes**2 / case.temperature
    for gradient in map(wide, gradients):
        assert not np.isnan(gradient).any()
        if steepest < float(case.x.dtype.max):
            assert np.isfinite(gradient).all()


@EFFORT
def test_finite_in_finite_out(effort, seed):
    """Of logits up to the largest, at temperatures from 1e-6 to 1e6."""
    strategy = cases(effort, numbers=any_number, temperatures=ANY_TEMPERATURE)
    check(is_finite, strategy, effort.examples, seed)


def is_a_sample(case):
    y = case.numbers()
    form, hard = case.kind.form, case.kind.hard
    assert (y >= 0).all()
    if hard and form != "index":
        assert np.isin(y, (0, 1)).all()
    # An entry of a relaxed pair may pass 1.
    largest = case.kind.size(case.classes) if case.kind.size else 1
    assert (y <= (case.classes - 1 if form == "index" else largest)).all()
    if case.kind.size:
        total = y.sum(axis=case.row_axis())
        size = case.kind.size(case.classes)
        np.testing.assert_allclose(
            total, size, rtol=0, atol=0 if hard else 4 * size * rounding(case)
        )
    if form == "matrix" and hard:
        assert (y.sum(axis=-1) == 1).all()


@EFFORT
def test_rows_sum_to_one(effort, seed):
    """Or to two, in a pair; a hard sample is of zeros and ones."""
    strategy = cases(effort, numbers=any_number, temperatures=ANY_TEMPERATURE)
    check(is_a_sample, strategy, effort.examples, seed)


# ---------------------------------------------------------------------------
# Symmetries.
# ---------------------------------------------------------------------------


def in_rows(kind):
    return kind.form != "gates"


def is_shift_invariant(given):
    case, shift = given
    if case.kind.noise:
        assume(no_near_ties(case, case.logits() + case.noise()))
    shifted = case.x + tf.cast(shift, case.x.dtype)
    # A number of 64 and noise are added with fewer digits than noise alone.
    y, gradient = map(wide, case.with_gradient())
    near(case, case.numbers(shifted), y, by=100)
    # So there is no gradient along it, by any estimator.
    scale = case.classes * (1 + np.abs(gradient).max(initial=0))
    together = (-2, -1) if case.kind.form == "matrix" else case.axis
    along = gradient.sum(axis=together)
    rounded = max(ROUNDING[case.dtype], 1e-6)
    np.testing.assert_allclose(along, 0, atol=4 * scale * rounded)


@EFFORT
def test_shift_invariance(effort, seed):
    """What is added to all logits of a row changes nothing."""
    case = cases(effort, numbers=whole_number, temperatures=MILD, kinds=in_rows)
    strategy = st.tuples(case, st.integers(-64, 64))
    check(is_shift_invariant, strategy, effort.examples, seed)


def is_the_same_far_from_zero(given):
    case, offset = given
    if case.kind.noise:
        assume(no_near_ties(case, case.logits() + case.noise()))
    y, gradient = map(wide, case.with_gradient())
    far = case.x + tf.cast(offset * FAR[case.dtype], case.x.dtype)
    again, d_far = map(wide, case.with_gradient(far))
    near(case, again, y, by=100)
    scale = case.classes * (1 + np.abs(gradient).max(initial=0))
    rounded = max(ROUNDING[case.dtype], 1e-6)
    np.testing.assert_allclose(d_far, gradient, atol=100 * scale * rounded)


@EFFORT
def test_a_common_offset_changes_nothing_of_the_law(effort, seed):
    """Of logits that are exact there, beside which noise would be lost."""
    case = cases(effort, numbers=whole_number, temperatures=MILD, kinds=in_rows)
    strategy = st.tuples(case, st.sampled_from([1.0, -1.0]))
    check(is_the_same_far_from_zero, strategy, effort.examples, seed)


def moved(case, order, y):
    """A sample, as it is once the classes are in this order."""
    if case.kind.form == "index":
        return np.argsort(order)[y.astype(int)] if case.kind.hard else None
    return np.take(y, order, axis=case.axis)


def is_permutation_equivariant(given):
    case, random = given
    order = np.arange(case.classes)
    random.shuffle(order)
    x = case.logits()
    permuted = np.take(x, order, axis=case.axis)
    scale = 0.0
    if case.dtype in ("float32", "float64") and case.kind.noise:
        # With noise: what it takes for each class to keep its own.
        noise, scale = case.noise(), case.noise_scale
        assume(no_near_ties(case, x + noise))
        permuted += np.take(noise, order, axis=case.axis) - noise
    elif case.kind.hard:
        assume(no_near_ties(case, x))
    y = case.numbers(noise_scale=scale)
    again = case.numbers(tf.cast(permuted, case.x.dtype), noise_scale=scale)
    expected = moved(case, order, y)
    if expected is not None:
        near(case, again, expected, by=100)


@EFFORT
def test_permutation_equivariance(effort, seed):
    """Classes in another order, with their noise, are chosen as before."""
    case = cases(effort, numbers=whole_number, temperatures=MILD)
    strategy = st.tuples(case, st.randoms(use_true_random=False))
    check(is_permutation_equivariant, strategy, effort.examples, seed)


def is_the_same_on_the_last_axis(case):
    if case.kind.hard:
        assume(no_near_ties(case, case.logits()))
    y = case.numbers(noise_scale=0.0)
    shape = list(case.x.shape)
    if case.kind.form == "index":
        del shape[case.axis]
        assert case.draw().dtype == "float32"
    else:
        assert case.draw().dtype == case.x.dtype
    assert list(y.shape) == shape
    last = tf.constant(np.moveaxis(case.x.numpy(), case.axis, -1))
    rows = tf.reshape(last, (-1, case.classes))
    if case.kind.form == "matrix":
        rows = tf.reshape(last, (-1, case.classes, case.classes))
    flat = case.kind.draw(
        rows, -1, temperature=case.temperature, noise_scale=0.0, seed=0
    )
    flat = np.reshape(wide(flat), last.shape[: y.ndim])
    if case.kind.form != "index":
        flat = np.moveaxis(flat, -1, case.axis)
    near(case, y, flat)


@EFFORT
def test_any_rank_any_axis(effort, seed):
    """Equal to rows of two dimensions; of the shape and dtype promised."""
    strategy = cases(effort, numbers=whole_number, temperatures=MILD)
    check(is_the_same_on_the_last_axis, strategy, effort.examples, seed)


# ---------------------------------------------------------------------------
# Masks.
# ---------------------------------------------------------------------------


def never_has_what_is_forbidden(given):
    case, rng = given
    rng = np.random.default_rng(rng)
    mask = rng.random(case.x.shape) < rng.choice([0.2, 0.5, 0.9])
    if case.kind.name.endswith("pair"):
        # Of a pair two classes must be left, or none.
        allowed = mask.sum(axis=case.axis, keepdims=True)
        mask |= (allowed > 0) & (allowed < 2)
    y, gradient = map(wide, case.with_gradient(class_mask=mask))
    assert np.isfinite(y).all()
    assert (gradient[~mask] == 0).all()
    if case.kind.form == "index":
        rows = np.moveaxis(mask, case.axis, -1)
        assert (y[~rows.any(axis=-1)] == 0).all()
        if case.kind.hard:
            chosen = np.take_along_axis(rows, y[..., None].astype(int), -1)
            assert chosen[rows.any(axis=-1)].all()
    else:
        assert (y[~mask] == 0).all()
    # What stands where it is forbidden is not looked at.
    anything = rng.choice([np.nan, np.inf, -np.inf, 3.0], size=mask.shape)
    x = np.where(mask, case.logits(), anything)
    x = tf.cast(x, case.x.dtype)
    again = case.with_gradient(x, class_mask=mask)
    np.testing.assert_array_equal(wide(again[0]), y)
    np.testing.assert_array_equal(wide(again[1]), gradient)
    # A logit of -inf is a class that is forbidden.
    x = tf.where(mask, case.x, tf.cast(-np.inf, case.x.dtype))
    again = case.with_gradient(x)
    np.testing.assert_array_equal(wide(again[0]), y)
    np.testing.assert_array_equal(wide(again[1]), gradient)


def takes_any_mask(kind):
    # Of a matrix some pairs must be left; `-inf` are gates that are shut, and
    # parameters of a hard concrete gate, which has a law of its own.
    return kind.form != "matrix" and kind.name != "hard_concrete"


@EFFORT
def test_masked_classes_are_zero_without_a_gradient(effort, seed):
    case = cases(
        effort, numbers=any_number, temperatures=MILD, kinds=takes_any_mask
    )
    strategy = st.tuples(case, st.integers(0, 2**32 - 1))
    check(never_has_what_is_forbidden, strategy, effort.examples, seed)


# ---------------------------------------------------------------------------
# The formula, and the modes.
# ---------------------------------------------------------------------------


def by_hand(case):
    """The sample by NumPy, from the noise."""
    perturbed = case.logits() + case.noise()
    assume(no_near_ties(case, perturbed))
    axis, form = case.axis, case.kind.form
    if form == "gates":
        if case.kind.hard:
            return perturbed > 0
        return 1 / (1 + np.exp(-perturbed / case.temperature))
    size = case.kind.size(case.classes) if case.kind.size else 1
    if not case.kind.hard:
        y = np.exp(
            (perturbed - perturbed.max(axis, keepdims=True)) / case.temperature
        )
        y /= y.sum(axis, keepdims=True)
    else:
        rank = np.argsort(np.argsort(-perturbed, axis=axis), axis=axis)
        y = (rank < size).astype("float64")
    if form == "index":
        return np.moveaxis(y, axis, -1) @ np.arange(case.classes)
    return y


def has_a_formula(kind):
    return kind.noise and kind.form != "matrix" and kind.name != "soft pair"


def is_the_formula(case):
    near(case, case.numbers(), by_hand(case), by=10)


@EFFORT
def test_hard_is_the_argmax_of_the_perturbed_logits(effort, seed):
    """And soft their softmax, by NumPy in float64."""
    strategy = cases(
        effort, numbers=whole_number, temperatures=MILD, kinds=has_a_formula
    )
    check(is_the_formula, strategy, effort.examples, seed)


def is_the_same_in_every_mode(case):
    run = case.with_gradient
    y, gradient = run(case.x)
    for compiled in (False, True):
        again = tf.function(run, jit_compile=compiled, autograph=False)(case.x)
        near(case, wide(again[0]), wide(y))
        scale = 1 + np.abs(wide(gradient)).max(initial=0)
        np.testing.assert_allclose(
            wide(again[1]),
            wide(gradient),
            rtol=0,
            atol=4 * scale * rounding(case),
        )


@EFFORT
def test_same_seed_same_bits_in_every_mode(effort, seed):
    strategy = cases(effort, numbers=whole_number, temperatures=MILD)
    check(is_the_same_in_every_mode, strategy, effort.examples, seed)


def test_the_dtypes_are_all():
    assert {*HALF} <= {*ROUNDING} == {*WHOLE.dtypes}
    assert {*GATE.kinds} < {*KINDS}
