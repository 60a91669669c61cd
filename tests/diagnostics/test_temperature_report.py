"""The report: against theory, against trainings by hand, and left no trace."""

import dataclasses
import json
import math
import sys
from typing import ClassVar

import keras
import numpy as np
import pytest
from matplotlib import image
from scipy import stats

import keras_gumbel as kg
from keras_gumbel.diagnostics import (
    TemperatureReport,
    gradient_report,
    temperature_report,
)
from tests.harness import tensor, to_numpy
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow


@dataclasses.dataclass(frozen=True, repr=False)
class Scaled(kg.estimators.ReinMax):
    """ReinMax, whose gradient is exact for a quadratic loss, times a factor."""

    name: ClassVar[str] = "scaled reinmax"
    factor: float = 1.0

    def backward(self, draw, kept, choice, temperature, dy):
        found = super().backward(draw, kept, choice, temperature, dy)
        return tuple(self.factor * gradient for gradient in found)


TORCH = keras.config.backend() == "torch"

X = np.eye(6, dtype="float32")[np.arange(24) % 6]
Y = np.random.default_rng(7).normal(size=(24, 3)).astype("float32")


def trained_model(layer=None, optimizer="adam", seed=5, **options):
    """Choices among four, between two layers that train; one step behind."""
    if layer is None:
        layer = kg.GumbelSoftmax(1.0, hard=True, seed=3)
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(4),
            layer,
            keras.layers.Dense(3),
        ]
    )
    model.compile(optimizer, "mse", **options)
    model.train_on_batch(X, Y)
    return model


# So many examples of each kind that few draws tell much.
MANY = np.tile(X, (40, 1)), np.tile(Y, (40, 1))


def quick(model, temperatures=(0.5, 2.0), estimators=None, **options):
    settings = {"steps": 2, "num_samples": 4, "verbose": 0, **options}
    return temperature_report(model, X, Y, temperatures, estimators, **settings)


# ---------------------------------------------------------------------------
# What the numbers are.
# ---------------------------------------------------------------------------


@pytest.mark.slow_ids("1.0")
@pytest.mark.parametrize("factor", [1.0, 2.0, *slow(0.5, -1.0)])
def test_the_slope_ratio_shows_a_planted_bias(factor):
    """The loss is quadratic in the sample: ReinMax at 1 has no bias there.

    Student's law with 29 degrees of freedom; detected: 0.4 of it.
    """
    (row,) = temperature_report(
        trained_model(),
        *MANY,
        [1.0],
        [Scaled(factor=factor)],
        steps=1,
        batch_size=960,
        num_samples=60,
        verbose=0,
    ).rows
    far = stats.t.isf(FALSE_FAIL_RATE / 2, 29)
    assert abs(row.slope_ratio - 1 / factor) < far * row.slope_error
    assert far * row.slope_error < 0.4 * abs(1 / factor)


@pytest.mark.slow
def test_a_high_temperature_promises_too_little():
    """The gradient of `st_gumbel` vanishes as 1 / temperature."""
    row, far = quick(trained_model(), [30.0, 3000.0], num_samples=20).rows
    assert row.slope_ratio > 5
    assert far.slope_ratio == pytest.approx(100 * row.slope_ratio, rel=0.2)


@pytest.mark.slow
def test_the_variance_is_that_of_the_gradient_to_the_logits():
    """One linear map of constant input: its kernel's gradient is the logits'.

    ReinMax has no bias here, so that both are relative to the same.

    The noise of 64 examples is independent. From 150 gradients, beside 64,000;
    detected: a factor 1.6.
    """
    keras.utils.set_random_seed(2)
    layers = [
        keras.Input((1,)),
        keras.layers.Dense(4, use_bias=False),
        kg.GumbelSoftmax(1.0, hard=True, estimator="reinmax", seed=1),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    ones, target = np.ones((64, 1), "float32"), np.tile(Y[:1], (64, 1))
    (row,) = temperature_report(
        model,
        ones,
        target,
        [1.0],
        steps=1,
        batch_size=64,
        num_samples=150,
        verbose=0,
    ).rows
    (expected,) = gradient_report(
        lambda z: keras.ops.mean((layers[-1](z) - tensor(target[0])) ** 2, -1),
        to_numpy(model.layers[0](ones[:1])[0]),
        ["reinmax"],
        [1.0],
        64_000,
    ).rows
    assert 64 * row.relative_variance == pytest.approx(
        expected.relative_variance, rel=0.4
    )


@pytest.mark.slow_ids("held out")
@pytest.mark.parametrize("given", [True, False], ids=["held out", "the same"])
def test_the_loss_is_that_of_a_training_by_hand(given):
    """Without noise a sample is the largest logit, in training and after."""
    held_out = (X[:4], -Y[:4]) if given else None
    report = quick(
        trained_model(kg.GumbelSoftmax(1.0, noise_scale=0.0)),
        batch_size=24,
        steps=3,
        validation_data=held_out,
    )
    for row in report.rows:
        model = trained_model(kg.GumbelSoftmax(1.0, noise_scale=0.0))
        model.layers[1].temperature = row.temperature
        for _ in range(3):
            model.train_on_batch(X, Y)
        x, y = held_out or (X, Y)
        logits = to_numpy(model.layers[0](x))
        z = np.eye(4, dtype="float32")[logits.argmax(-1)]
        expected = np.mean((to_numpy(model.layers[2](z)) - y) ** 2)
        assert row.loss == pytest.approx(expected, rel=1e-5)
        assert row.behind_error < 1e-6
    best = min(report.rows, key=lambda row: row.loss)
    assert report.suggestion is best
    assert best.behind == 0
    for row in report.rows:
        assert row.behind == pytest.approx(row.loss - best.loss, abs=1e-6)


@pytest.mark.slow
def test_soft_samples_and_estimators_are_rows():
    """A row does not depend on the others."""
    rules = ["soft", "st_gumbel", kg.estimators.GumbelRao(num_samples=3)]
    rows = quick(trained_model(), [0.5], rules).rows
    assert [row.estimator for row in rows] == [
        "soft",
        "st_gumbel",
        repr(rules[2]),
    ]
    assert len({row.relative_variance for row in rows}) == 3
    for rule, row in zip(rules, rows, strict=True):
        (alone,) = quick(trained_model(), [0.5], [rule]).rows
        assert alone.loss == row.loss
        assert alone.relative_variance == row.relative_variance
    (own,) = quick(trained_model(), [0.5]).rows
    assert own.estimator == "as built"
    assert own.loss == rows[1].loss


@pytest.mark.slow
def test_functions_that_read_the_temperature_of_a_layer_take_part():
    """As in a variational autoencoder that samples by `kg.ops`."""

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.choice = kg.GumbelSoftmax()
            self.noise = keras.random.SeedGenerator(1)
            self.before = keras.layers.Dense(4)
            self.behind = keras.layers.Dense(3)

        def build(self, shape):
            self.before.build(shape)
            self.choice.build((None, 4))
            self.behind.build((None, 4))

        def call(self, x):
            code = kg.ops.gumbel_softmax(
                self.before(x), self.choice.temperature, seed=self.noise
            )
            self.add_loss(keras.ops.mean(code[:, 0] * (1 - code[:, 0])))
            return self.behind(code)

    keras.utils.set_random_seed(1)
    model = Model()
    model.compile("adam", "mse")
    low, high = quick(model, [0.1, 50.0], steps=40).rows
    assert low.relative_variance > 5 * high.relative_variance
    # The blend's own loss, which is positive, is not of a hard sample.
    model.choice.temperature = 50.0
    assert quick(model, [50.0]).rows[0].loss != high.loss


# ---------------------------------------------------------------------------
# The model is as it was.
# ---------------------------------------------------------------------------


@pytest.mark.slow_ids("{'steps_per_execution': 3}")
@pytest.mark.parametrize(
    "options",
    [
        {},
        # Keras on torch makes one step an execution, and refuses others.
        *([] if TORCH else [{"steps_per_execution": 3}]),
        *slow({"jit_compile": True}),
    ],
    ids=str,
)
def test_the_model_is_left_as_it_was(options):
    """It trains on like one that was never asked, bit for bit."""
    asked, other = trained_model(**options), trained_model(**options)
    quick(asked, [0.3], ["soft", "reinmax"])
    for model in (asked, other):
        model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    assert asked.layers[1].hard
    assert asked.layers[1].estimator == other.layers[1].estimator
    assert asked.steps_per_execution == other.steps_per_execution
    for mine, its in zip(asked.variables, other.variables, strict=True):
        np.testing.assert_array_equal(to_numpy(mine.value), its.numpy())


def test_the_model_is_left_as_it_was_after_an_error():
    model = trained_model()
    before = [to_numpy(x.value) for x in model.variables]
    optimizer = model.optimizer
    with pytest.raises(ValueError, match=r"`monitor`.*monitor='elbo'"):
        quick(model, estimators=["soft"], monitor="elbo")
    assert model.optimizer is optimizer
    assert model.layers[1].hard
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(to_numpy(variable.value), value)


# ---------------------------------------------------------------------------
# Models and data of other kinds.
# ---------------------------------------------------------------------------


@pytest.mark.slow
def test_half_precision():
    """The loss is scaled, and the slope is not: as in float32."""
    with_policy = {"dtype": "mixed_float16"}
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(4, **with_policy),
            kg.GumbelSoftmax(1.0, hard=True, estimator="reinmax", seed=3),
            keras.layers.Dense(3, dtype="float32"),
        ]
    )
    model.compile(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "mse"
    )
    (row,) = temperature_report(
        model,
        *MANY,
        [1.0],
        steps=1,
        batch_size=960,
        num_samples=60,
        verbose=0,
    ).rows
    far = stats.t.isf(FALSE_FAIL_RATE / 2, 29)
    assert abs(row.slope_ratio - 1) < far * row.slope_error + 0.02
    assert far * row.slope_error < 0.4


@pytest.mark.slow
def test_several_inputs_no_targets_and_a_layer_of_gates():
    a, b = keras.Input((6,), name="a"), keras.Input((3,), name="b")
    gates = kg.GumbelSigmoid(hard=True)(keras.layers.Dense(3)(a))
    model = keras.Model({"a": a, "b": b}, keras.ops.sum(gates * b, -1))
    model.compile("sgd", keras.losses.MeanSquaredError())
    report = temperature_report(
        model,
        {"a": X, "b": Y},
        np.zeros(24, "float32"),
        [0.5, 1.0],
        ["reinmax"],
        steps=1,
        num_samples=4,
        verbose=0,
    )
    assert all(math.isfinite(row.loss) for row in report.rows)


@pytest.mark.slow
def test_where_nothing_learns_through_the_samples():
    """Logits that are data: no gradient, so no slope and no variance."""
    model = keras.Sequential(
        [keras.Input((6,)), kg.GumbelSoftmax(), keras.layers.Dense(3)]
    )
    model.compile("sgd", "mse")
    (row,) = quick(model, [1.0]).rows
    assert math.isnan(row.slope_ratio)
    assert math.isnan(row.slope_error)
    assert row.relative_variance == math.inf
    assert math.isfinite(row.loss)


def test_no_finite_loss_is_no_suggestion():
    model = trained_model(optimizer=keras.optimizers.SGD(1e30))
    report = quick(model, [1.0], steps=4)
    assert not math.isfinite(report.rows[0].loss)
    assert report.suggestion is None
    assert "No suggestion" in str(report)


# ---------------------------------------------------------------------------
# The table.
# ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    return quick(trained_model(), [0.5, 2.0], ["soft", "st_gumbel"])


def test_it_prints_every_row(report):
    title, empty, head, *lines, last, advice = str(report).splitlines()
    assert title == "loss with hard samples, 2 steps a row"
    assert empty == last == ""
    assert len({len(line) for line in (head, *lines)}) == 1
    assert len(head) <= 80
    for line, row in zip(lines, report.rows, strict=True):
        name, *cells = line.split()
        numbers = dataclasses.astuple(row)[1:]
        assert name == row.estimator
        for cell, number in zip(cells[:-1], numbers[:-1], strict=True):
            assert float(cell) == pytest.approx(number, rel=0.06, abs=1e-3)
    best = report.suggestion
    assert advice.startswith(
        f"Suggestion: {best.estimator} at {best.temperature:g}."
    )


def test_rows_as_good_within_their_error_are_named(report):
    row = report.rows[0]
    rows = tuple(
        dataclasses.replace(
            row, temperature=n, loss=n, behind=n - 1, behind_error=0.6
        )
        for n in (1.0, 2.0, 3.0)
    )
    text = str(dataclasses.replace(report, rows=rows))
    assert text.endswith(
        "Suggestion: soft at 1. Within two standard errors: soft at 2."
    )


def test_its_dict_holds_all_of_it(report):
    kept = json.loads(json.dumps(report.to_dict()))
    rows = tuple(
        kg.diagnostics.TemperatureRow(**row) for row in kept.pop("rows")
    )
    assert TemperatureReport(rows=rows, **kept) == report


@pytest.mark.slow
def test_it_draws_a_picture(report, tmp_path):
    path = tmp_path / "report.png"
    report.plot(path)
    picture = image.imread(path)
    assert picture.shape[:2] == (1200, 1200)
    pixels = (picture[..., :3] * 255).round().reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    found = {tuple(c) for c, n in zip(colours, counts, strict=True) if n > 50}
    assert {(31, 119, 180), (255, 127, 14)} <= found


def test_without_matplotlib_it_says_what_to_install(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"TemperatureReport.*gumbel\[plot\]"):
        report.plot("report.png")


@pytest.mark.slow
def test_progress_ends_where_it_said(capfd):
    quick(trained_model(), verbose=2)
    assert "42/42" in capfd.readouterr().out


# ---------------------------------------------------------------------------
# Bad arguments.
# ---------------------------------------------------------------------------


def not_compiled():
    return keras.Sequential([keras.Input((6,)), kg.GumbelSoftmax()])


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"temperatures": 0.5}, TypeError, "`temperatures` .* a sequence"),
        ({"temperatures": [0.0]}, ValueError, "`temperatures` .* positive"),
        ({"estimators": "soft"}, TypeError, "`estimators` .* a sequence"),
        ({"estimators": ["gumble"]}, ValueError, "one of .*'soft'"),
        ({"steps": 0}, ValueError, "`steps` must be at least 1"),
        ({"num_samples": 3}, ValueError, "`num_samples` must be at least 4"),
        ({"batch_size": 1.5}, TypeError, "`batch_size` must be an integer"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0"),
        ({"seed": None}, TypeError, "`seed` must be an integer"),
        (
            {"validation_data": (X, Y[:3])},
            ValueError,
            r"`validation_data` .* as many .* with \[3, 24\]",
        ),
    ],
    ids=str,
)
def test_arguments(options, exception, message):
    with pytest.raises(exception, match=message):
        quick(trained_model(), **options)


@pytest.mark.slow_ids("no estimator")
@pytest.mark.parametrize(
    ("model", "rules", "exception", "message"),
    [
        (lambda: 3, None, TypeError, "`model` must be a keras.Model"),
        (not_compiled, None, ValueError, "`model` must be compiled"),
        (
            lambda: trained_model(keras.layers.ReLU()),
            None,
            ValueError,
            "a layer with a live temperature",
        ),
        (
            lambda: trained_model(
                kg.GumbelSoftmax(
                    kg.schedules.ExponentialAnnealing(1.0, 1e-3, 0.1)
                )
            ),
            None,
            ValueError,
            "a number in place of the schedule",
        ),
        (
            lambda: trained_model(kg.HardConcreteGate()),
            ["reinmax"],
            ValueError,
            "`estimators` has ReinMax.* an argument `estimator`",
        ),
        (
            lambda: trained_model(kg.HardConcreteGate()),
            ["soft"],
            ValueError,
            "`estimators` has 'soft'.* an argument `hard`",
        ),
        (
            lambda: trained_model(
                kg.GumbelSoftmax(
                    hard=True,
                    estimator=kg.estimators.ReinMax(
                        backward_temperature=kg.schedules.ExponentialAnnealing(
                            2.0, 1e-3, 0.1
                        )
                    ),
                )
            ),
            ["st"],
            ValueError,
            "follows a schedule",
        ),
    ],
    ids=[
        "no model",
        "not compiled",
        "no temperature",
        "a schedule",
        "no estimator",
        "no soft sample",
        "the estimator's schedule",
    ],
)
def test_models(model, rules, exception, message):
    with pytest.raises(exception, match=message):
        quick(model(), estimators=rules)
