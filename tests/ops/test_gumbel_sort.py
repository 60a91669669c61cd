"""`gumbel_sort`: law, values, gradients, edges.

Without noise the perturbed scores are the scores; with it they are
`sample_gumbel` of the same seed away.
"""

import itertools

import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.ops.gumbel_sort import noiseless_order, sample_order
from tests import reference, statistics
from tests.harness import gradients, tensor, to_numpy
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

SHAPE = (2, 3, 6)
TAU = np.array(0.7)
OUTPUTS = ("permutation", "sorted", "ranks")


def normal(shape, seed, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def drawn(x, temperature, output, *, hard=False, descending=True, **kwargs):
    """What the layer draws."""
    arguments = {"class_mask": None, "noise_scale": 1.0, "seed": 0, **kwargs}
    return sample_order(
        x,
        temperature,
        output=output,
        hard=hard,
        descending=descending,
        **arguments,
    )


def expected(output, hard, scores, perturbed, tau, descending=True):
    """By NumPy, of the definitions."""
    matrix = (
        reference.hard_sort(perturbed, descending)
        if hard
        else reference.soft_sort(perturbed, tau, descending)
    )
    if output == "permutation":
        return matrix
    if output == "sorted":
        scores = np.where(scores > -np.inf, scores, 0.0)
        return np.einsum("...ij,...j->...i", matrix, scores)
    if hard:
        return np.einsum("...ij,i->...j", matrix, np.arange(scores.shape[-1]))
    return reference.soft_ranks(perturbed, tau, descending)


# ---------------------------------------------------------------------------
# The law of orders.
# ---------------------------------------------------------------------------

SCORES = np.array([0.5, 1.5, -1.0, 0.0], "float32")
ORDERS = list(itertools.permutations(range(4)))


def plackett_luce(scores):
    """The probability of each order, one drawn after another."""
    p = reference.softmax(scores, 1.0)
    left = [1 - np.cumsum([0.0, *p[list(order)]])[:-1] for order in ORDERS]
    return np.array(
        [
            np.prod(p[list(order)] / rest)
            for order, rest in zip(ORDERS, left, strict=True)
        ]
    )


def check_law(sampler, seed, n, descending=True):
    """Of the 24 orders, and of neighbouring rows.

    Detected with n = 1e6: a move of 0.6 % of the mass between halves of the
    orders.
    """
    matrix, order = map(to_numpy, sampler(np.tile(SCORES, (n, 1)), seed))
    # The matrix is of this very order. No chance involved.
    assert np.array_equal(matrix, np.eye(4)[order]), "not one another's"
    if not descending:
        order = order[:, ::-1]
    number = np.full(4**4, -1)
    number[np.array(ORDERS) @ 4 ** np.arange(4)] = np.arange(24)
    found = number[order @ 4 ** np.arange(4)]
    assert (found >= 0).all(), "no permutation"
    law = plackett_luce(SCORES)
    counts = np.bincount(found, minlength=24)
    assert statistics.chi_squared_p(counts, law) > FALSE_FAIL_RATE
    pairs = np.bincount(found[0::2] * 24 + found[1::2], minlength=24**2)
    p = statistics.chi_squared_p(pairs, np.outer(law, law))
    assert p > FALSE_FAIL_RATE, "one row tells of the next"


@pytest.mark.parametrize(
    ("descending", "temperature"), [(True, 10.0), *slow_rows((False, 0.1))]
)
def test_an_order_has_the_law_of_plackett_and_luce(
    descending, temperature, seed
):
    """Whatever the temperature; from the smallest on it is reversed."""

    def sampler(x, seed):
        return kg.ops.gumbel_sort(
            x, temperature, hard=True, descending=descending, seed=seed
        )

    check_law(sampler, seed, 10**6, descending)


def in_numpy(x, seed, noise="gumbel", scale=1.0, repeat=1, again=False):
    """A right sampler, and with other settings a wrong one."""
    draw = getattr(np.random.default_rng(seed), noise)
    shape = (len(x) // repeat, 4)
    order = np.argsort(-(x / scale + draw(size=shape).repeat(repeat, 0)))
    shown = np.argsort(-(x / scale + draw(size=x.shape))) if again else order
    return np.eye(4)[shown], order


BUGS = {
    "normal noise": {"noise": "normal"},
    "a temperature in the law": {"scale": 0.9},
    "one noise for two rows": {"repeat": 2},
    "noise drawn twice": {"again": True},
}


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_planted_bug_fails(bug, seed):
    if bug is None:
        check_law(in_numpy, seed, 100_000)
        return
    with pytest.raises(AssertionError):
        check_law(lambda *a: in_numpy(*a, **BUGS[bug]), seed, 100_000)


def test_the_first_of_an_order_are_the_largest(seed):
    """Those of `gumbel_top_k` with the same seed."""
    x = normal((50, 7), seed, "float32")
    _, order = kg.ops.gumbel_sort(x, seed=seed)
    _, first = kg.ops.gumbel_top_k(x, 3, seed=seed)
    np.testing.assert_array_equal(to_numpy(order)[:, :3], first)
    assert to_numpy(order).dtype == "int32"


# ---------------------------------------------------------------------------
# Values and gradients.
# ---------------------------------------------------------------------------

each_output = pytest.mark.parametrize("output", OUTPUTS)


@pytest.mark.slow_ids("False-True-ranks")
@each_output
@pytest.mark.parametrize(
    ("hard", "descending"),
    [(False, True), (True, False), *slow_rows((False, False), (True, True))],
)
def test_it_is_the_formula(output, hard, descending, seed):
    """With noise, in float64, at a temperature for each row."""
    x = normal(SHAPE, seed)
    perturbed = x + 0.5 * to_numpy(
        kg.ops.sample_gumbel(SHAPE, dtype="float64", seed=seed)
    )
    tau = np.exp(normal((2, 1, 1), seed + 1))
    y = to_numpy(
        drawn(
            x,
            tensor(tau),
            output,
            hard=hard,
            descending=descending,
            noise_scale=0.5,
            seed=seed,
        )
    )
    right = expected(output, hard, x, perturbed, tau, descending)
    tolerance = 0 if hard and output != "sorted" else 1e-6
    np.testing.assert_allclose(y, right, rtol=0, atol=tolerance)


@each_output
@pytest.mark.parametrize("descending", [True, *slow(False)])
def test_gradients_are_those_of_the_relaxation(output, descending, seed):
    """By differences of the formula, in float64; hard, straight through."""
    x, direction = normal((2, *SHAPE), seed)
    noise = to_numpy(kg.ops.sample_gumbel(SHAPE, dtype="float64", seed=seed))
    shape = (*SHAPE, 6) if output == "permutation" else SHAPE
    dtype = "float32" if output == "ranks" else "float64"
    upstream = normal(shape, seed + 1).astype(dtype)

    def loss(x, tau):
        y = expected(output, False, x, x + noise, tau, descending)
        return np.sum(y * upstream)

    h = 1e-6
    along = (loss(x + h * direction, TAU) - loss(x - h * direction, TAU)) / 2
    slope = (loss(x, TAU + h) - loss(x, TAU - h)) / 2
    for hard in (False, True):
        _, d_x, d_tau = gradients(
            lambda x, tau, hard=hard: drawn(
                x, tau, output, hard=hard, descending=descending, seed=seed
            ),
            x,
            TAU,
            upstream=upstream,
        )
        found = np.sum(d_x * direction)
        np.testing.assert_allclose(found, along / h, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(d_tau, slope / h, rtol=1e-6, atol=1e-7)


@pytest.mark.slow_ids("130-ranks")
@pytest.mark.parametrize("output", [*slow("sorted"), "ranks"])
@pytest.mark.parametrize("n", [1, *slow(2, 37), 130])
def test_sums_without_a_matrix_are_those_with_one(output, n, seed):
    """In float32, of any number of entries."""
    x, upstream = normal((2, 4, n), seed, "float32")
    found = gradients(
        lambda x, tau: drawn(x, tau, output, noise_scale=0.0),
        x,
        np.float32(0.3),
        upstream=upstream,
    )
    right = expected(output, False, x, x.astype("float64"), 0.3)
    np.testing.assert_allclose(found[0], right, rtol=0, atol=2e-6 * n)
    wide = gradients(
        lambda x, tau: drawn(x, tau, output, noise_scale=0.0),
        x.astype("float64"),
        np.array(0.3),
        upstream=upstream.astype(found[0].dtype)
        if output == "ranks"
        else upstream.astype("float64"),
    )
    # The temperature's is a sum over all entries.
    scale = 1 + np.abs(wide[1]).max(), 1 + np.abs(wide[1]).sum()
    for one, other, size in zip(found[1:], wide[1:], scale, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * size)


@pytest.mark.slow_ids("permutation", "sorted")
@each_output
def test_cold_is_hard(output, seed):
    x = normal(SHAPE, seed)
    cold = to_numpy(drawn(x, 1e-6, output, seed=seed))
    hard = to_numpy(drawn(x, 1.0, output, hard=True, seed=seed))
    np.testing.assert_allclose(cold, hard, atol=1e-9)


def test_the_matrix_sorts(seed):
    x = normal(SHAPE, seed)
    matrix, order = map(
        to_numpy, kg.ops.gumbel_sort(x, hard=True, noise_scale=0.0)
    )
    sorted_ = np.einsum("...ij,...j->...i", matrix, x)
    np.testing.assert_array_equal(sorted_, -np.sort(-x))
    np.testing.assert_array_equal(order, np.argsort(-x))


# ---------------------------------------------------------------------------
# Edges.
# ---------------------------------------------------------------------------


@pytest.mark.slow_ids("True-False-ranks", "True-False-sorted")
@each_output
@pytest.mark.parametrize("noiseless", [False, *slow(True)])
@pytest.mark.parametrize("descending", [True, *slow(False)])
def test_what_is_not_there_has_no_place(output, noiseless, descending, seed):
    """By a mask or -inf: zeros, no gradient, the others as without it."""
    x = normal((4, 6), seed)
    mask = np.ones(x.shape, bool)
    mask[0, [1, 4]] = mask[1, :5] = mask[2] = False
    gone = np.where(mask, x, -np.inf)

    def draw(x, tau, hard, class_mask=None):
        if noiseless:
            return noiseless_order(
                x,
                tau,
                output=output,
                hard=hard,
                descending=descending,
                class_mask=class_mask,
            )
        given = {"noise_scale": 0.0, "class_mask": class_mask}
        return drawn(x, tau, output, hard=hard, descending=descending, **given)

    for hard in (False, True):
        y = to_numpy(draw(gone, TAU, hard))
        right = expected(output, hard, gone, gone, TAU, descending)
        np.testing.assert_allclose(y, right, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(y[2], 0)
        upstream = normal(y.shape, seed + 1).astype(y.dtype)
        by_mask = gradients(
            lambda x, tau, hard=hard: draw(x, tau, hard, tensor(mask)),
            np.where(mask, x, np.nan),
            TAU,
            upstream=upstream,
        )
        np.testing.assert_array_equal(by_mask[0], y)
        np.testing.assert_array_equal(by_mask[1][~mask], 0)
        assert np.isfinite(by_mask[1]).all()
        assert np.isfinite(by_mask[2])
    if not noiseless:
        _, order = kg.ops.gumbel_sort(
            gone, descending=descending, noise_scale=0.0
        )
        right = reference.order_of(gone, descending)
        np.testing.assert_array_equal(order, right)


@pytest.mark.slow_ids("nan-ranks", "nan-sorted")
@each_output
@pytest.mark.parametrize("bad", [np.nan, *slow(np.inf)])
def test_nan_spoils_its_row_alone(output, bad, seed):
    x = normal((3, 5), seed)
    x[1, 2] = bad
    for hard in (False, True):
        y = to_numpy(drawn(x, 1.0, output, hard=hard, seed=seed))
        assert np.isnan(y[1]).all()
        assert np.isfinite(y[[0, 2]]).all()
        y = to_numpy(
            noiseless_order(x, 1.0, output=output, hard=hard, descending=True)
        )
        assert np.isnan(y[1]).all()
        assert np.isfinite(y[[0, 2]]).all()
    _, order = kg.ops.gumbel_sort(x, seed=seed)
    order = to_numpy(order)
    np.testing.assert_array_equal(order[1], -1)
    assert (np.sort(order[[0, 2]]) == np.arange(5)).all()


def test_of_ties_the_first():
    x = np.array([[1.0, 2.0, 1.0, 2.0], [0.0, -0.0, 0.0, -0.0]], "float32")
    for descending, right in (
        (True, [[1, 3, 0, 2], [0, 1, 2, 3]]),
        (False, [[0, 2, 1, 3], [0, 1, 2, 3]]),
    ):
        _, order = kg.ops.gumbel_sort(x, descending=descending, noise_scale=0.0)
        assert to_numpy(order).tolist() == right


def test_sorted_scores_far_from_0_keep_their_digits(seed):
    x = (np.arange(5)[None] + 2.0**20).astype("float32")
    y = to_numpy(drawn(x, 0.25, "sorted", noise_scale=0.0))
    right = expected("sorted", False, x, x.astype("float64"), 0.25)
    np.testing.assert_allclose(y - 2.0**20, right - 2.0**20, atol=0.1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: kg.ops.gumbel_sort(np.arange(3)),
            TypeError,
            "`scores` must be a float tensor",
        ),
        (
            lambda: kg.ops.gumbel_sort(np.ones(3), descending=1),
            TypeError,
            "`descending` must be True or False. Received: descending=1",
        ),
        (
            lambda: kg.ops.gumbel_sort(np.ones(3), 0.0),
            ValueError,
            "`temperature` must be positive",
        ),
        (
            lambda: kg.GumbelSort(output="order"),
            ValueError,
            "`output` must be one of ('permutation', 'sorted', 'ranks'). "
            "Received: output='order'",
        ),
        (
            lambda: kg.GumbelSort(descending="yes"),
            TypeError,
            "`descending` must be True or False",
        ),
    ],
)
def test_messages(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)
