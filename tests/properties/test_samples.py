"""What holds of every sample, whatever is drawn, and from whatever."""

import keras
import numpy as np
from hypothesis import assume, strategies as st

from tests.harness import in_mode, tensor, value_and_grad
from tests.properties.kinds import (
    ANY_TEMPERATURE,
    FLOAT,
    GATE,
    HALF,
    KINDS,
    MILD,
    WHOLE,
    any_number,
    cases,
    check,
    each_effort,
    largest,
    whole_number,
    wide,
)

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
    dtype = "float32" if case.kind.is_number else case.dtype
    return max(ROUNDING[dtype], 1e-6 if case.dtype != "float64" else 0)


def near(case, actual, expected, by=1.0):
    """Equal for hard samples, up to rounding for soft ones."""
    scale = case.classes if case.kind.is_number else 1
    tolerance = 0 if case.kind.hard else by * scale * rounding(case)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def same_slope(case, actual, expected, of=1):
    """Up to rounding; one to the temperature is a sum, `of` so many."""
    scale = of * (1 + np.abs(expected).max(initial=0))
    tolerance = 4 * scale * max(rounding(case), ROUNDING[case.dtype])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def no_near_ties(case, perturbed):
    """Whether rounding cannot have decided between classes."""
    if case.kind.form == "gates":
        return (np.abs(perturbed) > 1e-3).all()
    if case.kind.is_matrix:
        return True
    return (
        np.diff(np.sort(perturbed, axis=case.axis), axis=case.axis) > 1e-3
    ).all()


# ---------------------------------------------------------------------------
# Finite in, finite out; and what is in a sample.
# ---------------------------------------------------------------------------


def is_finite(case):
    y, *gradients = case.with_gradient()
    assert np.isfinite(wide(y)).all()
    # A derivative is up to 1 / temperature times this; past it, infinite.
    steepest = 4000 * case.classes**2 / case.temperature
    for gradient in gradients:
        dtype = keras.backend.standardize_dtype(gradient.dtype)
        assert not np.isnan(wide(gradient)).any()
        if steepest < largest(dtype):
            assert np.isfinite(wide(gradient)).all()


@each_effort()
def test_finite_in_finite_out(effort, seed):
    """Of logits up to the largest, at temperatures from 1e-6 to 1e6."""
    strategy = cases(effort, numbers=any_number, temperatures=ANY_TEMPERATURE)
    check(is_finite, strategy, effort.examples, seed)


def is_a_sample(case):
    y = case.numbers()
    form, hard = case.kind.form, case.kind.hard
    assert (y >= 0).all()
    if hard and not case.kind.is_number:
        assert np.isin(y, (0, 1)).all()
    # An entry of a relaxed pair may pass 1.
    largest = case.kind.size(case.classes) if case.kind.size else 1
    largest = case.classes - 1 if case.kind.is_number else largest
    assert (y <= largest + rounding(case)).all()
    if case.kind.size:
        total = y.sum(axis=case.row_axis())
        size = case.kind.size(case.classes)
        np.testing.assert_allclose(
            total, size, rtol=0, atol=0 if hard else 4 * size * rounding(case)
        )
    if case.kind.is_matrix and hard:
        assert (y.sum(axis=-1) == 1).all()
        assert (y.sum(axis=-2) <= 1).all()
    if form == "wide matrix" and not hard:
        # Each entry is rounded by itself.
        rounded = case.x.shape[-2] * rounding(case)
        assert (y.sum(axis=-2) <= 1 + 4 * rounded).all()


@each_effort()
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
    shifted = (case.x + np.float64(shift)).astype(case.dtype)
    # A number of 64 and noise are added with fewer digits than noise alone.
    y, gradient, _ = map(wide, case.with_gradient())
    near(case, case.numbers(shifted), y, by=100)
    # So there is no gradient along it, by any estimator.
    scale = case.classes * (1 + np.abs(gradient).max(initial=0))
    together = (-2, -1) if case.kind.is_matrix else case.axis
    along = gradient.sum(axis=together)
    rounded = max(ROUNDING[case.dtype], 1e-6)
    np.testing.assert_allclose(along, 0, atol=4 * scale * rounded)


@each_effort(in_rows)
def test_shift_invariance(effort, seed):
    """What is added to all logits of a row changes nothing."""
    case = cases(effort, numbers=whole_number, temperatures=MILD)
    strategy = st.tuples(case, st.integers(-64, 64))
    check(is_shift_invariant, strategy, effort.examples, seed)


def is_the_same_far_from_zero(given):
    case, offset = given
    if case.kind.noise:
        assume(no_near_ties(case, case.logits() + case.noise()))
    y, *gradients = map(wide, case.with_gradient())
    far = (case.logits() + offset * FAR[case.dtype]).astype(case.dtype)
    again, *moved = map(wide, case.with_gradient(far))
    near(case, again, y, by=100)
    rounded = max(ROUNDING[case.dtype], 1e-6)
    for one, other in zip(moved, gradients, strict=True):
        scale = case.x.size * (1 + np.abs(other).max(initial=0))
        np.testing.assert_allclose(one, other, atol=100 * scale * rounded)


@each_effort(in_rows)
def test_a_common_offset_changes_nothing_of_the_law(effort, seed):
    """Of logits that are exact there, beside which noise would be lost."""
    case = cases(effort, numbers=whole_number, temperatures=MILD)
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
    again = case.numbers(permuted.astype(case.dtype), noise_scale=scale)
    expected = moved(case, order, y)
    if expected is not None:
        near(case, again, expected, by=100)


def can_be_without_noise(kind):
    return kind.takes_scale


@each_effort(can_be_without_noise)
def test_permutation_equivariance(effort, seed):
    """Classes in another order, with their noise, are chosen as before."""
    case = cases(effort, numbers=whole_number, temperatures=MILD)
    strategy = st.tuples(case, st.randoms(use_true_random=False))
    check(is_permutation_equivariant, strategy, effort.examples, seed)


def is_the_same_on_the_last_axis(case):
    if case.kind.hard:
        assume(no_near_ties(case, case.logits()))
    y, gradient, slope = case.with_gradient(noise_scale=0.0)
    promised = "float32" if case.kind.is_number else case.dtype
    assert keras.backend.standardize_dtype(y.dtype) == promised
    assert keras.backend.standardize_dtype(gradient.dtype) == case.dtype
    y, gradient, slope = map(wide, (y, gradient, slope))
    weights = case.weights()
    assert y.shape == weights.shape
    # The classes behind all else, and all else in one dimension.
    size = case.classes
    rows = (-1, size)
    if case.kind.is_matrix:
        rows = (-1, *case.x.shape[-2:])
    last = np.moveaxis(case.x, case.axis, -1)
    if case.kind.form == "index":
        given = weights.ravel()
    else:
        given = np.moveaxis(weights, case.axis, -1).reshape(rows)
    flat, (d_flat, flat_slope) = value_and_grad(
        lambda x, temperature: case.kind.draw(
            x, -1, temperature=temperature, noise_scale=0.0, seed=0
        ),
        last.reshape(rows),
        np.array(case.temperature, FLOAT[case.dtype]),
        upstream=given,
    )
    flat = wide(flat).reshape(last.shape[: y.ndim])
    if case.kind.form != "index":
        flat = np.moveaxis(flat, -1, case.axis)
    near(case, y, flat)
    d_flat = np.moveaxis(wide(d_flat).reshape(last.shape), -1, case.axis)
    same_slope(case, d_flat, gradient)
    same_slope(case, wide(flat_slope), slope, of=case.x.size)


@each_effort(
    can_be_without_noise,
    gate=("soft", "hard", "soft index", "hard index", "hard pair"),
)
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
    if "pair" in case.kind.name:
        # Of a pair two classes must be left, or none.
        allowed = mask.sum(axis=case.axis, keepdims=True)
        mask |= (allowed > 0) & (allowed < 2)
    found = [wide(one) for one in case.with_gradient(class_mask=mask)]
    y, gradient, slope = found
    assert np.isfinite(y).all()
    assert np.isfinite(slope)
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
    x = np.where(mask, case.logits(), anything).astype(case.dtype)
    again = case.with_gradient(x, class_mask=mask)
    for one, other in zip(again, found, strict=True):
        np.testing.assert_array_equal(wide(one), other)
    # A logit of -inf is a class that is forbidden.
    x = np.where(mask, case.logits(), -np.inf).astype(case.dtype)
    again = case.with_gradient(x)
    for one, other in zip(again, found, strict=True):
        np.testing.assert_array_equal(wide(one), other)


def takes_any_mask(kind):
    # Of a matrix some pairs must be left; `-inf` are gates that are shut, and
    # parameters of a hard concrete gate, which has a law of its own.
    return not kind.is_matrix and kind.name != "hard_concrete"


@each_effort(
    takes_any_mask,
    gate=("soft", "st", "hard index", "hard pair", "hard gates"),
)
def test_masked_classes_are_zero_without_a_gradient(effort, seed):
    case = cases(effort, numbers=any_number, temperatures=MILD)
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
    simple = kind.form != "ranks" and not kind.is_matrix
    return kind.noise and simple and not kind.name.startswith("soft pair")


def is_the_formula(case):
    near(case, case.numbers(), by_hand(case), by=10)


@each_effort(has_a_formula)
def test_hard_is_the_argmax_of_the_perturbed_logits(effort, seed):
    """And soft their softmax, by NumPy in float64."""
    strategy = cases(effort, numbers=whole_number, temperatures=MILD)
    check(is_the_formula, strategy, effort.examples, seed)


def is_rounded_float32(case):
    half = case.with_gradient()
    whole = case.with_gradient(case.x.astype("float32"))
    for one, other in zip(half, whole, strict=True):
        dtype = keras.backend.standardize_dtype(one.dtype)
        rounded = wide(other).astype(dtype).astype("float64")
        # The temperature's gradient is a sum in float32, which compilers may
        # take in another order in another program.
        rtol = 2e-6 if dtype == "float32" else 0
        np.testing.assert_allclose(wide(one), rounded, rtol=rtol, atol=rtol)


@each_effort(
    dtypes=HALF,
    gate=("soft", "hard index", "soft gates", "hard_concrete"),
)
def test_half_precision_is_rounded_float32(effort, seed):
    """One rounding at the end; neither noise nor choice knows of it."""
    strategy = cases(effort, numbers=whole_number, temperatures=MILD)
    check(is_rounded_float32, strategy, effort.examples, seed)


def is_the_same_in_every_mode(case):
    temperature = np.array(case.temperature, FLOAT[case.dtype])
    given = tensor(case.x), tensor(temperature)
    y, *gradients = map(wide, case.with_gradient(*given))
    for mode in ("graph", "compiled"):
        again, *slopes = map(wide, in_mode(mode, case.with_gradient)(*given))
        near(case, again, y)
        for one, other in zip(slopes, gradients, strict=True):
            same_slope(case, one, other, of=case.x.size)


# Each example is two programs of its own.
@each_effort(examples=1, gate=("soft", "hard index", "hard gates"))
def test_same_seed_same_bits_in_every_mode(effort, seed):
    strategy = cases(effort, numbers=whole_number, temperatures=MILD)
    check(is_the_same_in_every_mode, strategy, effort.examples, seed)


def test_the_gate_has_each_of_all():
    assert {*HALF} <= {*ROUNDING} == {*WHOLE.dtypes}
    assert {kind for effort in GATE for kind in effort.kinds} == {*KINDS}
    assert {effort.dtypes[0] for effort in GATE} == {*WHOLE.dtypes}
