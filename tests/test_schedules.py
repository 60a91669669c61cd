"""Schedules against their formulas, at every step that there is."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_gumbel.schedules import ExponentialAnnealing
from tests.harness import in_mode, tensor
from tests.variants import slow, slow_rows

ARGUMENTS = [
    # Of the paper, with a floor that is reached.
    (1.0, 3e-5, 0.5, 1000),
    (1.0, 1e-3, 1e-3, 1),
    (5.0, 1e-9, 0.1, 7),
    (2.0, 0.0, 1.0, 3),
    (0.7, 0.1, 0.7, 2),
    (1.0, 50.0, 0.5, 1),
]
STEPS = [
    *range(12),
    999,
    1000,
    1001,
    123_456,
    2**24 - 1,
    2**24,
    2**24 + 1,
    2**31 - 1,
    2**31,
    10**12 + 3,
]


def formula(initial, rate, minimum, every, step):
    """In float64, and with the integers of Python."""
    return max(minimum, initial * np.exp(-rate * (step // every * every)))


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_formula(arguments):
    schedule = ExponentialAnnealing(*arguments)
    values = [float(schedule(step)) for step in STEPS]
    expected = [formula(*arguments, step) for step in STEPS]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_stages_begin_at_multiples_where_float32_has_no_steps():
    """Beyond 2**24, where float32 counts by 16 and more."""
    every, rate = 1001, 1e-8
    schedule = ExponentialAnnealing(1.0, rate, 1e-6, every)
    for stage in (10, 200_001, 250_000):
        edge = stage * every
        before, at, after = (float(schedule(edge + d)) for d in (-1, 0, 1))
        last, end = float(schedule(edge - every)), edge + every - 1
        assert last == before
        assert at == after == float(schedule(end))
        assert at < before
        assert at / before == pytest.approx(np.exp(-rate * every), abs=3e-7)


def test_floor_is_the_minimum_itself():
    schedule = ExponentialAnnealing(1.0, 0.1, 0.3)
    assert float(schedule(10**9)) == np.float32(0.3)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        ("eager", "int32"),
        ("graph", "uint8"),
        ("compiled", "int64"),
        ("compiled", "float32"),
        *slow_rows(
            *itertools.product(("eager", "graph"), ("int64", "float32")),
            *(("eager", "uint8"), ("graph", "int32")),
            *(("compiled", "int32"), ("compiled", "uint8")),
        ),
    ],
)
def test_steps_of_every_kind(mode, dtype):
    schedule = ExponentialAnnealing(1.0, 0.01, 0.1, 10)
    call = in_mode(mode, schedule)
    for step in (0, 9, 10, 200):
        temperature = call(tensor(step, dtype))
        assert keras.backend.standardize_dtype(temperature.dtype) == "float32"
        assert temperature.shape == ()
        expected = formula(1.0, 0.01, 0.1, 10, step)
        assert float(temperature) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        int,
        np.int64,
        lambda n: keras.Variable(n, dtype=int),
        pytest.param(tf.Variable, marks=pytest.mark.tensorflow),
    ],
)
def test_steps_that_are_no_tensors(kind):
    schedule = ExponentialAnnealing(1.0, 0.01, 0.1)
    temperature = float(schedule(kind(50)))
    assert temperature == pytest.approx(np.exp(-0.5), rel=1e-6)


@pytest.mark.parametrize("mode", ["compiled", *slow("graph")])
def test_one_trace_for_all_steps(mode):
    schedule, traces = ExponentialAnnealing(1.0, 0.01, 0.1), []

    def call(step):
        traces.append(step)
        return schedule(step)

    call = in_mode(mode, call)
    for step in range(5):
        temperature = float(call(tensor(step)))
        assert temperature == pytest.approx(np.exp(-0.01 * step), rel=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize("mode", ["compiled", *slow("graph")])
def test_as_a_learning_rate(mode):
    """What `LearningRateSchedule` promises: an optimizer takes it."""
    schedule = ExponentialAnnealing(0.1, 0.5, 0.02, 2)
    optimizer = keras.optimizers.SGD(schedule)
    weight = keras.Variable(1.0)
    optimizer.build([weight])
    step = in_mode(
        mode, lambda: optimizer.apply([keras.ops.ones(())], [weight])
    )
    for _ in range(7):
        step()
    rates = [formula(0.1, 0.5, 0.02, 2, step) for step in range(8)]
    assert float(weight) == pytest.approx(1 - sum(rates[:7]), abs=1e-6)
    assert float(optimizer.learning_rate) == pytest.approx(rates[7], rel=1e-6)


@pytest.mark.parametrize(
    ("serialize", "deserialize"),
    [
        (
            keras.saving.serialize_keras_object,
            keras.saving.deserialize_keras_object,
        ),
        (
            keras.optimizers.schedules.serialize,
            keras.optimizers.schedules.deserialize,
        ),
    ],
)
@pytest.mark.parametrize("arguments", ARGUMENTS[::3], ids=str)
def test_serialization(serialize, deserialize, arguments):
    schedule = ExponentialAnnealing(*arguments)
    again = deserialize(json.loads(json.dumps(serialize(schedule))))
    assert isinstance(again, ExponentialAnnealing)
    assert again.get_config() == schedule.get_config()
    assert tuple(again.get_config().values()) == arguments
    for step in (0, 10, 12345):
        assert float(again(step)) == float(schedule(step))


def test_serialization_inside_an_optimizer():
    optimizer = keras.optimizers.Adam(ExponentialAnnealing(0.1, 0.5, 0.02, 2))
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    again.build([keras.Variable(1.0)])
    again.iterations.assign(3)
    expected = formula(0.1, 0.5, 0.02, 2, 3)
    assert float(again.learning_rate) == pytest.approx(expected, rel=1e-6)


def test_every_defaults_to_one():
    assert ExponentialAnnealing(1.0, 0.1, 0.5).every == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"initial_temperature": 0.0},
            ValueError,
            "`initial_temperature` must be positive and finite. "
            "Received: initial_temperature=0.0",
        ),
        (
            {"initial_temperature": "1"},
            TypeError,
            "`initial_temperature` must be a number. "
            "Received: initial_temperature='1' (of type str)",
        ),
        (
            {"initial_temperature": float("inf")},
            ValueError,
            "`initial_temperature` must be positive and finite. "
            "Received: initial_temperature=inf",
        ),
        (
            {"decay_rate": -0.1},
            ValueError,
            "`decay_rate` must be finite and not negative. "
            "Received: decay_rate=-0.1",
        ),
        (
            {"decay_rate": float("nan")},
            ValueError,
            "`decay_rate` must be finite and not negative. "
            "Received: decay_rate=nan",
        ),
        (
            {"minimum": 0},
            ValueError,
            "`minimum` must be positive and finite. Received: minimum=0",
        ),
        (
            {"minimum": float("nan")},
            ValueError,
            "`minimum` must be positive and finite. Received: minimum=nan",
        ),
        (
            {"minimum": True},
            TypeError,
            "`minimum` must be a number. Received: minimum=True (of type bool)",
        ),
        (
            {"minimum": 1.5},
            ValueError,
            "`minimum` must be at most `initial_temperature`. "
            "Received: minimum=1.5, initial_temperature=1.0",
        ),
        (
            {"every": 0},
            ValueError,
            "`every` must be at least 1. Received: every=0",
        ),
        (
            {"every": 2.0},
            TypeError,
            "`every` must be an integer. Received: every=2.0 (of type float)",
        ),
        (
            {"every": True},
            TypeError,
            "`every` must be an integer. Received: every=True (of type bool)",
        ),
    ],
)
def test_errors(change, error, message):
    right = {"initial_temperature": 1.0, "decay_rate": 0.1, "minimum": 0.5}
    with pytest.raises(error) as caught:
        ExponentialAnnealing(**{**right, **change})
    assert str(caught.value) == message
