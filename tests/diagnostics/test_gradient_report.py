"""The report, where bias and variance are known by quadrature or exactly."""

import dataclasses
import itertools
import json
import math
import sys
from typing import ClassVar

import keras
import numpy as np
import pytest
from matplotlib import image
from scipy import integrate, special, stats

import keras_gumbel as kg
from keras_gumbel.diagnostics import (
    GradientReport,
    gradient_report,
    monte_carlo,
)
from keras_gumbel.diagnostics.problem import Problem
from keras_gumbel.estimators.estimator import names
from tests.harness import tensor
from tests.statistics import FALSE_FAIL_RATE, z_p
from tests.variants import slow

# The module, and not the function that has its name in the package.
REPORT = sys.modules["keras_gumbel.diagnostics.gradient_report"]
# Standard errors from 32 groups: Student's law with 31 degrees of freedom.
ERRORS = stats.t.isf(FALSE_FAIL_RATE / 2, 31)


@dataclasses.dataclass(frozen=True, repr=False)
class Scaled(kg.estimators.StraightThrough):
    """Straight-through, exact for a linear objective, times a factor."""

    name: ClassVar[str] = "scaled"
    factor: float = 1.0

    def backward(self, draw, kept, choice, temperature, dy):
        found = super().backward(draw, kept, choice, temperature, dy)
        return tuple(self.factor * gradient for gradient in found)


def linear(cost):
    """c . z over the axes that the cost has."""
    cost = np.asarray(cost, "float32")
    axes = tuple(range(-cost.ndim, 0))
    cost = tensor(cost)
    return lambda z: keras.ops.sum(z * keras.ops.cast(cost, z.dtype), axes)


def close(row, bias):
    """The reported bias is the true one, by its own error."""
    return abs(row.relative_bias - bias) < ERRORS * row.bias_error


def only(report):
    """The one row of a report."""
    (row,) = report.rows
    return row


# ---------------------------------------------------------------------------
# What the numbers are.
# ---------------------------------------------------------------------------

# The gradient to the first of two logits of a sample y, its hard one h, of
# the objective 3 z + z**2 of the first entry z; both entries' are opposite.
# At the vertices it is linear, 4 z, so the true gradient is 4 p (1 - p).
SAMPLES = {
    "soft": lambda y, h: 3 + 2 * y,
    "st_gumbel": lambda y, h: 3 + 2 * h,
}


def objective_of_two(z):
    return 3 * z[..., 0] + z[..., 0] ** 2


@pytest.mark.parametrize("temperature", [0.3, *slow(1.0, 2.0)])
@pytest.mark.parametrize("estimator", SAMPLES)
def test_bias_and_variance_are_those_of_quadrature(
    estimator, temperature, seed
):
    """n = 20,000; detected: a bias 0.1 off at 0.3, 0.02 off at 2."""
    theta = 0.7
    slope = SAMPLES[estimator]

    def moment(power):
        def density(u):
            y = special.expit((theta + u) / temperature)
            g = slope(y, theta + u > 0) * y * (1 - y) / temperature
            return g**power * stats.logistic.pdf(u)

        ends = (-40, -theta, 40)
        return sum(
            integrate.quad(density, a, b, limit=200)[0]
            for a, b in itertools.pairwise(ends)
        )

    p = special.expit(theta)
    exact, mean = 4 * p * (1 - p), moment(1)
    row = only(
        gradient_report(
            objective_of_two,
            [theta, 0.0],
            [estimator],
            [temperature],
            20_000,
            seed=seed,
        )
    )
    assert (row.estimator, row.temperature) == (estimator, temperature)
    assert close(row, abs(mean / exact - 1))
    assert row.bias_error < 0.02
    # One number in two entries: the cosine is 1, or -1.
    assert row.cosine == pytest.approx(np.sign(mean), abs=1e-6)
    variance = moment(2) - mean**2
    # The squared deviation's own spread, from the fourth moment.
    fourth = moment(4) - 4 * mean * moment(3) + 6 * mean**2 * moment(2)
    fourth -= 3 * mean**4
    spread = math.sqrt((fourth - variance**2) / 20_000)
    far = stats.norm.isf(FALSE_FAIL_RATE / 2) * spread
    assert abs(row.relative_variance * exact**2 - variance) < far


def test_the_score_function_has_the_variance_of_a_pair(seed):
    """Of (f1 - f2) (D1 - D2) / 2: 1 / (2 p (1 - p)) - 1; and no bias."""
    theta, n = 0.7, 20_000
    p = special.expit(theta)
    row = only(
        gradient_report(
            objective_of_two,
            [theta, 0.0],
            ["score_function"],
            num_samples=n,
            seed=seed,
        )
    )
    assert row.temperature is None
    assert close(row, 0.0)
    assert row.bias_error < 0.1
    # The part of the pairs that differ, by its binomial spread.
    differ = 2 * p * (1 - p)
    far = stats.norm.isf(FALSE_FAIL_RATE / 2)
    far *= math.sqrt(differ * (1 - differ) / n) / differ**2
    assert abs(row.relative_variance - (1 / differ - 1)) < far


COST = np.array([[[3, 1, -2, 0.5], [0, 1, 1, 4]], [[1, 2, 3, 4], [2, 0, 0, 1]]])


@pytest.mark.parametrize("factor", [1.2, -1.0, *slow(1.0, 0.5)])
def test_a_planted_bias_is_reported(factor, seed):
    """Two examples of two variables; without variance, so to 5 digits."""
    logits = np.random.default_rng(seed).normal(size=(2, 2, 4))
    cost = tensor(COST.astype("float32"))
    row = only(
        gradient_report(
            lambda z: keras.ops.sum(z * cost, (-2, -1)),
            logits.astype("float32"),
            [Scaled(factor=factor)],
            [1.0],
            100,
            seed=seed,
        )
    )
    assert row.estimator == repr(Scaled(factor=factor))
    assert row.relative_bias == pytest.approx(abs(factor - 1), abs=1e-5)
    assert row.bias_error < 1e-5
    assert row.relative_variance < 1e-9
    assert row.cosine == pytest.approx(np.sign(factor), abs=1e-9)


# ---------------------------------------------------------------------------
# The reference.
# ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reference_that_is_sampled_states_its_error(seed, monkeypatch):
    """As sure as the variance of the pair says; what is biased shows."""
    theta, n = 0.7, 20_000
    differ = 2 * special.expit(theta) * (1 - special.expit(theta))
    arguments = (linear([3.0, -1.0]), [theta, 0.0])
    rules = [Scaled(), Scaled(factor=1.2), "score_function"]
    exact = gradient_report(*arguments, rules, [1.0], 100, seed=seed)
    monkeypatch.setattr(REPORT, "MAX_STATES", 1)
    report = gradient_report(
        *arguments, rules, [1.0], 20_000, reference_samples=n, seed=seed
    )
    assert (exact.reference, exact.reference_error) == ("exact", 0)
    assert report.reference == "sampled"
    expected = math.sqrt((1 / differ - 1) / n)
    # From 32 groups: chi-squared with 31 degrees of freedom.
    law = stats.chi2(31)
    low, high = law.ppf(FALSE_FAIL_RATE / 2), law.isf(FALSE_FAIL_RATE / 2)
    ratio = report.reference_error / expected
    assert math.sqrt(low / 31) < ratio < math.sqrt(high / 31)
    right, wrong, unbiased = report.rows
    assert close(right, 0.0)
    assert close(wrong, 0.2)
    assert close(unbiased, 0.0)
    # Without variance of its own, the reference's is all the error.
    assert 0 < wrong.bias_error < 3 * report.reference_error
    # Another stream: with the same one, they would agree to the last digit.
    assert unbiased.relative_bias + unbiased.bias_error > 1e-4


@pytest.mark.slow
def test_more_than_a_million_states_are_sampled(seed):
    """20 bits: 1,048,576 states, and the gradient p (1 - p) c of each."""
    cost = np.stack([np.zeros(20), np.linspace(1, 3, 20)], -1)
    report = gradient_report(
        linear(cost),
        np.zeros((20, 2), "float32"),
        [Scaled(factor=1.2)],
        [1.0],
        100,
        reference_samples=40_000,
        seed=seed,
    )
    assert report.reference == "sampled"
    assert 0 < report.reference_error < 0.05
    row = only(report)
    assert close(row, 0.2)
    # The mean points as the truth does, and the reference is off by the
    # angle of its error: chi-squared, with 19 degrees of freedom.
    ratio = (1 - row.cosine) / (report.reference_error**2 / 2)
    assert 0.08 < ratio < 4


# ---------------------------------------------------------------------------
# Objectives, and what is asked for.
# ---------------------------------------------------------------------------


def test_a_keras_model_is_an_objective(seed):
    model = keras.Sequential(
        [
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="tanh"),
            keras.layers.Dense(1),
        ]
    )
    model.build((None, 3, 4))

    def objective(z):
        """A loss of each of two examples, from (m, 2, 3, 4)."""
        flat = keras.ops.reshape(z, (-1, 3, 4))
        return keras.ops.reshape(model(flat), (-1, 2)) ** 2

    report = gradient_report(
        objective,
        np.random.default_rng(seed).normal(size=(2, 3, 4)).astype("float32"),
        ["reinmax", "score_function"],
        [0.5],
        num_samples=4000,
        seed=seed,
    )
    assert report.reference == "exact"
    assert report.rows[-1].estimator == "score_function"
    assert close(report.rows[-1], 0.0)
    assert all(row.cosine > 0.5 for row in report.rows)
    assert all(0 < row.seconds < 0.01 for row in report.rows)


def test_an_objective_without_a_gradient_has_the_score_function(seed):
    """Pathwise there is nothing: all of the gradient is missing."""

    def steps(z):
        chosen = keras.ops.argmax(z, -1)
        return keras.ops.cast(chosen**2, "float32")

    pathwise, score = gradient_report(
        steps,
        [0.3, -0.2, 0.1],
        ["st_gumbel", "score_function"],
        [0.5],
        4000,
        seed=seed,
    ).rows
    assert pathwise.relative_bias == pytest.approx(1)
    assert pathwise.relative_variance < 1e-15
    assert math.isnan(pathwise.cosine)
    assert close(score, 0.0)
    assert score.cosine > 0.9


def test_a_gradient_of_nan_is_no_good_one():
    """NaN is not a bias and a variance of 0."""
    row = only(
        gradient_report(
            linear([1.0, 2.0]),
            [0.0, 0.1],
            [Scaled(factor=float("nan"))],
            [1.0],
            32,
        )
    )
    assert math.isnan(row.relative_bias)
    assert math.isnan(row.bias_error)
    assert math.isnan(row.relative_variance)
    assert math.isnan(row.cosine)


@pytest.mark.slow
def test_forbidden_classes(seed):
    logits = np.array([[0.5, -np.inf, -0.3], [0.0, 1.0, -np.inf]], "float32")
    report = gradient_report(
        linear([[3.0, 2.0, 1.0], [0.0, 1.0, 5.0]]),
        logits,
        [Scaled(factor=1.2), "soft", "score_function"],
        [1.0],
        4000,
        seed=seed,
    )
    assert report.rows[0].relative_bias == pytest.approx(0.2, abs=1e-5)
    assert close(report.rows[2], 0.0)
    assert all(row.relative_bias < 1 for row in report.rows)


@pytest.mark.slow
def test_the_default_is_every_estimator_and_both_others(monkeypatch):
    from keras_gumbel.estimators import estimator

    monkeypatch.setitem(estimator._BY_NAME, "scaled", Scaled)
    report = gradient_report(linear([1.0, 2.0]), [0.0, 0.1], num_samples=32)
    assert "st_gumbel" in names()
    assert names()[-1] == "scaled"
    assert [(row.estimator, row.temperature) for row in report.rows] == [
        *((name, tau) for name in (*names(), "soft") for tau in (0.5, 1.0)),
        ("score_function", None),
    ]


def without_time(row):
    return dataclasses.replace(row, seconds=0.0)


@pytest.mark.slow
def test_a_row_depends_on_the_seed_alone(seed):
    def rows(estimators, temperatures=(0.5,), seed=seed):
        report = gradient_report(
            linear([3.0, 1.0, 2.0]),
            [0.5, 0.1, -0.4],
            estimators,
            temperatures,
            64,
            seed=seed,
        )
        return [*map(without_time, report.rows)]

    everything = rows(["st_gumbel", "score_function"], (0.5, 1.0))
    assert rows(["score_function", "st_gumbel"]) == everything[::-2]
    assert rows(["st_gumbel"], seed=seed + 1) != everything[:1]


# ---------------------------------------------------------------------------
# The table.
# ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    return gradient_report(
        linear([3.0, 1.0, 2.0]),
        [0.5, 0.1, -0.4],
        ["st_gumbel", "soft", "score_function"],
        num_samples=64,
    )


def test_it_prints_every_row(report):
    title, empty, head, *lines = str(report).splitlines()
    assert "64 gradients a row" in title
    assert "exact" in title
    assert "off" not in title
    assert empty == ""
    assert len({len(line) for line in (head, *lines)}) == 1
    assert len(head) <= 80
    for line, row in zip(lines, report.rows, strict=True):
        name, temperature, bias, error, variance, cosine, time = line.split()
        assert name == row.estimator
        assert temperature == (
            f"{row.temperature:g}" if row.temperature else "-"
        )
        assert float(bias) == pytest.approx(row.relative_bias, abs=5.1e-5)
        assert float(error) == pytest.approx(row.bias_error, abs=5.1e-5)
        assert float(variance) == pytest.approx(row.relative_variance, rel=1e-3)
        assert float(cosine) == pytest.approx(row.cosine, abs=5.1e-5)
        assert float(time) == pytest.approx(row.seconds * 1e6, rel=1e-2)


def test_it_prints_the_error_of_a_sampled_reference(report):
    sampled = dataclasses.replace(
        report, reference="sampled", reference_error=0.0123
    )
    assert "the sampled one, itself 0.012 off" in str(sampled)


def test_its_dict_holds_all_of_it(report):
    kept = json.loads(json.dumps(report.to_dict()))
    rows = tuple(kg.diagnostics.GradientRow(**row) for row in kept.pop("rows"))
    assert GradientReport(rows=rows, **kept) == report


def test_it_draws_a_picture(report, tmp_path):
    path = tmp_path / "report.png"
    report.plot(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    picture = image.imread(path)
    assert picture.shape[:2] == (675, 1200)
    # Each of three estimators has a colour of its own.
    colours, counts = np.unique(
        (picture[..., :3] * 255).round().reshape(-1, 3),
        axis=0,
        return_counts=True,
    )
    found = {tuple(c) for c, n in zip(colours, counts, strict=True) if n > 50}
    assert {(31, 119, 180), (255, 127, 14), (44, 160, 44)} <= found


def test_without_matplotlib_it_says_what_to_install(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install keras-gumbel\[plot\]"):
        report.plot("report.png")


# ---------------------------------------------------------------------------
# The Monte Carlo behind it.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0.0, 0.1, 1.0, 10.0])
def test_squared_length_and_its_error(length, seed):
    """5,000 sets of 32 samples in 6 dimensions, of unequal variance."""
    scale = np.array([1.0, 2.0, 0.5, 1.0, 1.0, 3.0])
    samples = np.random.default_rng(seed).normal(size=(5000, 32, 6)) * scale
    samples[..., 0] += length
    pairs = [*map(monte_carlo.squared_length, samples)]
    found = np.array([square for square, _ in pairs])
    assert z_p(found, length**2, found.std()) > FALSE_FAIL_RATE
    without = monte_carlo.squared_length(samples[0, 1:])[0]
    assert pairs[0][1][0] == pytest.approx(without)
    # A jackknife's square is never too small on average: nearly right where
    # the mean is far from 0, and twice as large where it is 0.
    errors = np.array([monte_carlo.jackknife_error(x) for _, x in pairs])
    variance = 4 * length**2 / 32 + 2 * np.sum(scale**4) / (32 * 31)
    ratio = np.mean(errors**2) / variance
    assert 0.95 < ratio < (1.1 if length > 3 else 2.2)
    # What a mean without correction would say: off by the trace over n.
    naive = np.sum(samples.mean(1) ** 2, -1)
    assert z_p(naive, length**2, naive.std()) < FALSE_FAIL_RATE


def test_error_of_the_mean_is_that_of_numpy(seed):
    samples = np.random.default_rng(seed).normal(size=(2000, 32, 6)) * 3
    lengths = np.sum(samples.mean(1) ** 2, -1)
    found = np.array([*map(monte_carlo.error_of_mean, samples)])
    square = found**2
    spread = math.hypot(square.std(), lengths.std())
    assert z_p(square - lengths, 0.0, spread) > FALSE_FAIL_RATE


@pytest.mark.parametrize("chunk", [1, 64 * 6, 100 * 6, 10**6])
@pytest.mark.parametrize("num_samples", [32, 33, 1000])
def test_calls_are_of_limited_memory(chunk, num_samples, monkeypatch):
    monkeypatch.setattr(monte_carlo, "CHUNK", chunk)
    problem = Problem.of(linear(np.ones((2, 3))), np.zeros((2, 3)))
    calls, size = monte_carlo.calls_and_size(problem, num_samples)
    assert size % 32 == 0
    assert size * 6 <= max(chunk, 32 * 6)
    assert num_samples <= calls * size < num_samples + 32 * calls


def test_calls_make_up_the_moments(seed, monkeypatch):
    """Several calls, and the same numbers as of all their gradients."""
    monkeypatch.setattr(monte_carlo, "CHUNK", 64 * 3)
    problem = Problem.of(linear([3.0, 1.0, 2.0]), [0.5, 0.1, -0.4])
    rng = np.random.default_rng(seed)
    gradients = rng.normal([100.0, 0.0, -3.0], size=(20, 64, 3))
    calls = iter([gradients[0], *gradients])  # the first one compiles
    monkeypatch.setattr(
        monte_carlo.backend,
        "traced_gradient",
        lambda function: lambda logits: next(calls),
    )
    near = np.array([99.0, 1.0, 0.0])
    draws = monte_carlo.draw(problem, lambda logits: logits, 20 * 64, near)
    flat = gradients.reshape(-1, 3)
    assert draws.variance == pytest.approx(flat.var(0, ddof=1).sum())
    np.testing.assert_allclose(draws.means.mean(0), flat.mean(0))
    assert draws.means.shape == (32, 3)
    np.testing.assert_allclose(draws.means[5], flat[5::32].mean(0))
