"""What the papers prove of the estimators, by enumeration.

Given the sample, `st`, `reinmax` and `gapped_st` draw nothing more: one
gradient for each state of the variables, weighed by its probability, is their
exact expectation. What is left to chance is that a state does not come up.
"""

import itertools

import numpy as np
import pytest
from keras import ops

import keras_gumbel as kg
from tests import reference
from tests.harness import grad, tensor, to_numpy
from tests.variants import slow, slow_rows

EXACT = 1e-12


def gradients(objective, logits, estimator, temperature, n, seed):
    """Samples of shape (n, *logits.shape), and each one's gradient."""
    x = np.tile(logits, (n, *[1] * logits.ndim))

    def sample(x):
        return kg.ops.gumbel_softmax(
            x, temperature, hard=True, estimator=estimator, seed=seed
        )

    found = grad(lambda x: ops.sum(objective(sample(x))), x)
    return to_numpy(sample(tensor(x))), found


def states_of(logits):
    """Every joint state, one-hot, and its probability."""
    variables, size = logits.shape
    hot = np.eye(size)
    choices = itertools.product(range(size), repeat=variables)
    states = np.array([hot[list(choice)] for choice in choices])
    p = reference.softmax(logits, 1.0)
    return states, np.prod(np.sum(states * p, -1), -1)


def mean_and_variance(objective, logits, estimator, seed, temperature=1.0):
    """Of an estimator that draws no more than its state, exactly."""
    y, found = gradients(objective, logits, estimator, temperature, 20000, seed)
    states, probs = states_of(logits)
    agree = np.einsum("svk,nvk->sn", states, y) == logits.shape[0]
    assert agree.any(axis=1).all(), "a state did not come up"
    g = found[agree.argmax(axis=1)]
    mean = np.tensordot(probs, g, 1)
    return mean, np.tensordot(probs, (g - mean) ** 2, 1)


def exact_gradient(objective, logits):
    """sum_z p(z) f(z) (z - p)."""
    states, probs = states_of(logits)
    values = to_numpy(objective(tensor(states)))
    score = states - reference.softmax(logits, 1.0)
    return np.tensordot(probs * values, score, 1)


def bias(objective, logits, estimator, seed, temperature=1.0):
    """||E g - exact|| / ||exact||."""
    mean, _ = mean_and_variance(objective, logits, estimator, seed, temperature)
    exact = exact_gradient(objective, logits)
    return np.linalg.norm(mean - exact) / np.linalg.norm(exact)


def problem(seed, variables=1, size=5):
    """Logits, a linear function, a quadratic and a cubic one."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(variables, size))
    n = variables * size
    c, h, t = (tensor(rng.normal(size=(n,) * rank)) for rank in (1, 2, 3))

    def flat(y):
        return ops.reshape(y, (-1, n))

    def linear(y):
        return ops.matmul(flat(y), c)

    def quadratic(y):
        # Not symmetric.
        return linear(y) + ops.einsum("si,ij,sj->s", flat(y), h, flat(y))

    def cubic(y):
        return linear(y) + ops.einsum(
            "si,sj,sk,ijk->s", flat(y), flat(y), flat(y), t
        )

    return logits, linear, quadratic, cubic


@pytest.mark.parametrize("size", [5, *slow(2, 8)])
def test_straight_through_is_exact_for_linear_losses(size, seed):
    """With no variance at all; and is not for quadratic ones."""
    logits, linear, quadratic, _ = problem(seed, size=size)
    mean, variance = mean_and_variance(linear, logits, "st", seed)
    np.testing.assert_allclose(mean, exact_gradient(linear, logits), atol=EXACT)
    assert variance.max() < EXACT**2
    assert bias(quadratic, logits, "st", seed) > 0.01
    # A wrong temperature shows.
    assert bias(linear, logits, "st", seed, temperature=0.9) > 0.01


@pytest.mark.parametrize("size", [5, *slow(2, 8)])
def test_reinmax_is_exact_for_quadratic_losses(size, seed):
    """And is not for cubic ones, nor at another temperature."""
    logits, linear, quadratic, cubic = problem(seed, size=size)
    assert bias(linear, logits, "reinmax", seed) < EXACT
    assert bias(quadratic, logits, "reinmax", seed) < EXACT
    assert bias(cubic, logits, "reinmax", seed) > 0.01
    assert bias(linear, logits, "reinmax", seed, temperature=1.1) > 0.01


@pytest.mark.parametrize(("variables", "size"), [(2, 4), *slow_rows((3, 3))])
def test_reinmax_is_exact_where_quadratic_in_each_variable(
    variables, size, seed
):
    """A product of a quadratic of each: of degree 2n, and exact."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(variables, size))
    h = rng.normal(size=(variables, size, size))

    def product(y):
        squares = ops.einsum("svi,vij,svj->sv", y, h, y)
        return ops.prod(1 + squares, -1)

    def of_third_degree(y):
        return product(y) * ops.sum(y[:, 0] * h[0, 0], -1)

    assert bias(product, logits, "reinmax", seed) < EXACT
    assert bias(product, logits, "st", seed) > 0.01
    assert bias(of_third_degree, logits, "reinmax", seed) > 0.001


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5, 3.0])
def test_reinmax_has_the_bias_of_its_closed_form(temperature, seed):
    """For linear losses E W = diag(q) - (qq' + qp' + pq' - pp') / 2."""
    logits, linear, _, _ = problem(seed)
    mean, _ = mean_and_variance(linear, logits, "reinmax", seed, temperature)
    p, q = (reference.softmax(logits, t)[0] for t in (1.0, temperature))
    w = np.outer(q, q) + np.outer(q, p) + np.outer(p, q) - np.outer(p, p)
    c = to_numpy(linear(tensor(np.eye(5)[:, None])))
    np.testing.assert_allclose(mean[0], (np.diag(q) - w / 2) @ c, atol=EXACT)


def test_reinmax_and_straight_through_err_to_opposite_sides(seed):
    """DARN's bias is that of straight-through turned round; f quadratic."""
    logits, _, quadratic, _ = problem(seed)
    exact = exact_gradient(quadratic, logits)
    st, _ = mean_and_variance(quadratic, logits, "st", seed)
    reinmax, _ = mean_and_variance(quadratic, logits, "reinmax", seed)
    darn = 2 * reinmax - st
    np.testing.assert_allclose(darn - exact, exact - st, atol=EXACT)


def binary(power, c=0.0):
    """|b - c|**power of a variable of two classes, b its first entry."""

    def objective(y):
        return ops.abs(y[:, 0, 0] - c) ** power

    return objective


def logit(p):
    return np.array([[np.log(p) - np.log1p(-p), 0.0]])


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_binary_reinmax_is_the_trapezoid_rule(p, seed):
    """p (1 - p) (f'(0) + f'(1)) / 2; 50 % too large for b**3."""
    logits = logit(p)

    def smooth(y):
        return ops.sin(3 * y[:, 0, 0])

    mean, _ = mean_and_variance(smooth, logits, "reinmax", seed)
    expected = p * (1 - p) * (3 + 3 * np.cos(3)) / 2
    # Some backends of Keras have the sine of float32 alone.
    np.testing.assert_allclose(mean[0, 0], expected, rtol=1e-6)
    assert bias(binary(3), logits, "reinmax", seed) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("power", "point", "loss", "optimum"),
    [
        (2, 0.45, 0.2475, 0.2025),
        (1.5, 0.4749, 0.3522, 0.3019),
        (3, 0.4010, 0.1213, 0.0911),
    ],
)
def test_straight_through_settles_where_no_optimum_is(
    power, point, loss, optimum, seed
):
    """Tucker's toy: |b - 0.45|**n, at c**(n-1) / (c**(n-1) + (1-c)**(n-1)).

    Descent comes back to that point from both sides; the exact gradient and
    ReinMax's point on to b = 0.
    """
    c = 0.45
    objective = binary(power, c)
    fixed = c ** (power - 1) / (c ** (power - 1) + (1 - c) ** (power - 1))
    assert fixed == pytest.approx(point, abs=1e-4)
    ends = (1 - c) ** power, c**power
    assert fixed * ends[0] + (1 - fixed) * ends[1] == pytest.approx(
        loss, abs=1e-4
    )
    assert min(ends) == pytest.approx(optimum, abs=1e-4)

    def slope(p, estimator):
        mean, _ = mean_and_variance(objective, logit(p), estimator, seed)
        return mean[0, 0]

    assert abs(slope(fixed, "st")) < EXACT
    assert slope(fixed - 0.02, "st") < 0 < slope(fixed + 0.02, "st")
    for p in (fixed - 0.02, fixed + 0.02):
        assert exact_gradient(objective, logit(p))[0, 0] > 0
        assert slope(p, "reinmax") > 0


# ---------------------------------------------------------------------------
# The relaxations, on the same toy: an integral over their noise, taken by a
# fine grid of it through the package with no noise of its own.
# ---------------------------------------------------------------------------


def expected_slope(log_odds, temperature, c, hard):
    """E of the gradient of (y - c)**2, y relaxed or hard, to the log-odds.

    The difference of two Gumbels is logistic. Its density is integrated by
    the midpoint rule over +-60 about the two places where it and the softmax
    change, the second of which, where a hard sample jumps, is an edge.
    """
    line = np.linspace(-60, 60, 40001)
    edges = np.sort([*line, *(line * min(temperature, 1) - log_odds)])
    noise = (edges[1:] + edges[:-1]) / 2

    def loss(x):
        y = kg.ops.gumbel_softmax(
            x, temperature, hard=hard, noise_scale=0.0, seed=0
        )
        return ops.sum((y[:, 0] - c) ** 2)

    slope = grad(loss, np.stack([log_odds + noise, 0 * noise], -1))[:, 0]
    density = np.exp(-np.abs(noise)) / (1 + np.exp(-np.abs(noise))) ** 2
    return np.sum(slope * density * np.diff(edges))


@pytest.mark.parametrize("c", [0.3, 0.4, 0.45])
@pytest.mark.parametrize(
    ("hard", "threshold"),
    [
        (False, lambda c: 1 - 2 * c),
        (True, lambda c: (1 - 2 * c) / (2 * np.log(2))),
    ],
    ids=["soft", "hard"],
)
def test_relaxations_point_the_right_way_below_a_temperature(
    hard, threshold, c
):
    """Far in the tail: 1 - 2c for soft, about (1 - 2c) / (2 log 2) for hard.

    The second is a limit, for thresholds that are small.
    """
    tau = threshold(c)
    margin = 0.1 if not hard or c > 0.42 else 0.4
    p = -25.0  # log-odds: near enough to the limit
    assert expected_slope(p, tau * (1 - margin), c, hard) > 0
    assert expected_slope(p, tau * (1 + margin), c, hard) < 0


@pytest.mark.parametrize(
    ("temperature", "point"),
    [(1.0, 0.4334), (0.5, 0.4059), (0.2, 0.3091), (0.075, 0.0179)],
)
def test_straight_through_gumbel_settles_too(temperature, point):
    """On (b - 0.45)**2, in fewer and fewer places as it cools."""

    def slope(p):
        return expected_slope(logit(p)[0, 0], temperature, 0.45, True)

    step = 2e-4
    assert slope(point - step) < 0 < slope(point + step)


def test_at_even_odds_the_relaxations_fall_short_by_a_third(seed):
    """(1 - 2c) / 6 at temperature 1, where exact and ST have (1 - 2c) / 4."""
    c = 0.45
    for hard in (False, True):
        slope = expected_slope(0.0, 1.0, c, hard)
        assert slope == pytest.approx((1 - 2 * c) / 6, rel=1e-5)
    even = np.zeros((1, 2))
    exact = exact_gradient(binary(2, c), even)[0, 0]
    mean, _ = mean_and_variance(binary(2, c), even, "st", seed)
    assert exact == pytest.approx((1 - 2 * c) / 4)
    assert mean[0, 0] == pytest.approx(exact)


def test_a_gap_far_above_the_temperature_loses_the_gradient(seed):
    """Gap 1: the size at temperature 0.1 is a few per cent of that at 1."""
    logits, linear, _, _ = problem(seed)
    warm, _ = mean_and_variance(linear, logits, "gapped_st", seed)
    cold, _ = mean_and_variance(linear, logits, "gapped_st", seed, 0.1)
    assert np.linalg.norm(cold) < 0.05 * np.linalg.norm(warm)
    # Nor is it exact for linear losses.
    assert bias(linear, logits, "gapped_st", seed) > 0.05
