"""Temperatures are absolute: noise of scale s is a change of units.

The rule at (logits, temperature T, scale s) is that at (logits / s, T / s, 1)
divided by s, for the same sample. So what is exact at temperature 1 is exact
at T = s, by enumeration of the choices.
"""

import dataclasses
from typing import ClassVar

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel import backend, numerics
from keras_gumbel.numerics import Draw
from keras_gumbel.ops.sample_embedding import sample_codebooks
from tests import reference, statistics
from tests.harness import grad, tensor, to_numpy, value_and_grad
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 2, 5)).astype("float32")
TABLE = RNG.normal(size=(5, 4)).astype("float32")
TABLES = RNG.normal(size=(2, 5, 4)).astype("float32")


@dataclasses.dataclass(frozen=True, repr=False)
class Expecting(kg.estimators.StraightThrough):
    """A rule of a user's own, of expectations under a law of scale 1."""

    name: ClassVar[str] = "expecting"

    def backward(self, draw, kept, choice, temperature, dy):
        p = numerics.softmax(kept, 1.0, draw.axis)
        q = numerics.softmax(draw.logits(), temperature, draw.axis)
        sampled = numerics.classes(kept, draw.axis) == choice
        d = p * keras.ops.where(sampled, 2.0, q) * dy
        return d, d * kept / temperature


RULES = {
    "st_gumbel": kg.estimators.StraightThroughGumbel,
    "st": kg.estimators.StraightThrough,
    "reinmax": kg.estimators.ReinMax,
    "gumbel_rao": lambda **options: kg.estimators.GumbelRao(3, **options),
    "gapped_st": kg.estimators.GappedStraightThrough,
    "mean gap": lambda **options: kg.estimators.GappedStraightThrough(
        None, **options
    ),
    "of a user": Expecting,
}

FUNCTIONS = {
    "one-hot": lambda x, tau, **options: kg.ops.gumbel_softmax(
        x, tau, hard=True, seed=4, **options
    ),
    "gates": lambda x, tau, **options: kg.ops.gumbel_sigmoid(
        x, tau, hard=True, seed=4, **options
    ),
    "index": lambda x, tau, **options: kg.ops.sample_argmax_index(
        x, tau, hard=True, seed=4, **options
    ),
    "row": lambda x, tau, **options: kg.ops.sample_embedding(
        x, TABLE, tau, seed=4, **options
    ),
    "codebooks": lambda x, tau, **options: sample_codebooks(
        x, TABLES, tau, seed=4, **options
    )[0],
}
# What differs most: one draws more noise, one has a gap in its units, one is
# written elsewhere, one is exact.
GATE = {
    *((name, "one-hot") for name in ("reinmax", "gumbel_rao", "mean gap")),
    ("of a user", "one-hot"),
    *((name, "gates") for name in ("st_gumbel", "of a user")),
    ("reinmax", "row"),
}
each_pair = pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(
            name,
            function,
            marks=() if (name, function) in GATE else pytest.mark.slow,
        )
        for name in RULES
        for function in FUNCTIONS
    ],
)


def _sample(name, function, s, tau, logits, backward_temperature=None, **more):
    """The sample, and its gradients to logits and temperature."""
    rule = RULES[name](backward_temperature=backward_temperature)

    def draw(x, tau):
        return FUNCTIONS[function](
            x, tau, estimator=rule, noise_scale=s, **more
        )

    y = draw(tensor(logits), tensor(tau, logits.dtype.name))
    cost = np.cos(np.arange(np.prod(y.shape))).reshape(y.shape)
    y, found = value_and_grad(
        draw, logits, logits.dtype.type(tau), upstream=cost
    )
    zeros = (np.zeros_like(logits), np.zeros_like(tau))
    return to_numpy(y), *(
        zero if one is None else to_numpy(one)
        for one, zero in zip(found, zeros, strict=True)
    )


@pytest.mark.slow_ids("0.5-gumbel_rao-one-hot", "0.5-reinmax-row")
@each_pair
@pytest.mark.parametrize("s", [0.5, 2.0])
def test_a_noise_scale_is_a_change_of_units(name, function, s):
    y, *found = _sample(name, function, s, 0.75, LOGITS)
    # By a power of two, exactly: so the sample is the same.
    same, *other = _sample(name, function, 1.0, 0.75 / s, LOGITS / s)
    np.testing.assert_array_equal(y, same)
    for one, right in zip(found, other, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, right / s, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("reinmax", "one-hot"),
        ("gapped_st", "gates"),
        *slow_rows(
            ("gapped_st", "one-hot"),
            ("st_gumbel", "one-hot"),
            ("reinmax", "gates"),
            ("st_gumbel", "gates"),
        ),
    ],
)
def test_a_backward_temperature_is_absolute_too(name, function):
    options = {"backward_temperature": 1.5}
    y, found, _ = _sample(name, function, 2.0, 0.75, LOGITS, **options)
    same, other, _ = _sample(name, function, 2.0, 1.5, LOGITS)
    np.testing.assert_array_equal(y, same)
    np.testing.assert_allclose(found, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("function", ["one-hot", *slow("gates")])
@pytest.mark.parametrize(
    "name",
    [
        "reinmax",
        "gumbel_rao",
        "mean gap",
        *slow("st_gumbel", "st", "gapped_st", "of a user"),
    ],
)
def test_without_noise(name, function):
    """Finite, at the likeliest class; of reinmax, as with scale 1."""
    y, found, _ = _sample(name, function, 0.0, 0.75, LOGITS)
    near, close, _ = _sample(name, function, 1e-6, 0.75, LOGITS)
    np.testing.assert_array_equal(y, near)
    assert np.isfinite(found).all()
    if name not in ("reinmax", "of a user"):
        np.testing.assert_allclose(found, close, rtol=1e-4, atol=1e-5)
        soft = _sample("st", function, 0.0, 0.75, LOGITS)[1]
        np.testing.assert_allclose(found, soft, rtol=1e-4, atol=1e-6)


def _rule_of_each_choice(rule, logits, tau, s, dy):
    """The rule's gradient for choice i, given as row i."""

    def backward(logits, choice, tau, s, dy):
        draw = Draw(lambda: logits, s, keras.ops.zeros(2, "int64"), 1)
        return rule.scaled_backward(draw, logits, choice, tau, dy)[0]

    size = len(logits)
    rows = tensor(np.tile(logits, (size, 1)))
    choice = keras.ops.arange(size, dtype="int32")[:, None]
    wide = (tensor(x, "float64") for x in (tau, s, dy))
    return to_numpy(backend.compiled(backward)(rows, choice, *wide))


@pytest.mark.parametrize("s", [2.0, *slow(0.5, 1.0)])
@pytest.mark.parametrize("name", ["st", "reinmax"])
def test_what_is_exact_at_1_is_exact_at_the_scale(name, s):
    """The mean over choices, in float64: `st` linear, `reinmax` quadratic."""
    rng = np.random.default_rng(1)
    size = 5
    logits, b = rng.normal(size=(2, size))
    a = rng.normal(size=(size, size)) if name == "reinmax" else np.zeros((5, 5))
    values, slopes = np.diag(a) + b, a + a.T + b
    p = reference.softmax(logits, s)
    expected = p * (values - p @ values) / s
    rule = RULES[name]()
    found = p @ _rule_of_each_choice(rule, logits, s, s, slopes)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("s", [2.0, *slow(0.5, 1.0)])
@pytest.mark.parametrize("name", ["st", "reinmax"])
def test_of_gates_too(name, s):
    rng = np.random.default_rng(2)
    logits, b = rng.normal(size=(2, 7))
    a = rng.normal(size=7) if name == "reinmax" else np.zeros(7)
    p = reference.sigmoid(logits / s)
    expected = p * (1 - p) * (a + b) / s
    rule = RULES[name]()

    def backward(logits, perturbed, s, dy):
        draw = Draw(lambda: logits, s, keras.ops.zeros(2, "int64"), -1)
        found, _ = rule.scaled_backward_binary(draw, perturbed, s, dy)
        return found

    run = backend.compiled(backward)
    found = 0.0
    for gate, prob in ((0.0, 1 - p), (1.0, p)):
        sign = np.where(gate, np.ones(7), -np.ones(7))
        dy = 2 * a * gate + b
        args = (tensor(x, "float64") for x in (logits, sign, s, dy))
        found = found + prob * to_numpy(run(*args))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("s", [0.5, *slow(2.0)])
def test_reinmax_of_many_samples(s, seed):
    """Through the layer: the mean gradient of a quadratic is the true one."""
    logits = np.array([0.5, 0.0, -0.5])
    a = np.array([[2.0, 1.0, 0.0], [0.0, -1.0, 1.0], [0.0, 0.0, 3.0]])
    layer = kg.GumbelSoftmax(
        s, hard=True, estimator="reinmax", noise_scale=s, seed=seed
    )

    def loss(x):
        z = layer(x, training=True)
        return keras.ops.sum(keras.ops.matmul(z, tensor(a, "float32")) * z)

    gradients = grad(loss, np.tile(logits.astype("float32"), (100_000, 1)))
    p = reference.softmax(logits, s)
    expected = p * (np.diag(a) - p @ np.diag(a)) / s
    # The last is what is left: they sum to 0.
    p = statistics.mean_vector_p(gradients[:, :2], expected[:2])
    assert p > FALSE_FAIL_RATE


@pytest.mark.tensorflow
def test_the_law_of_a_layer_has_the_rule_of_the_layer():
    """Its estimator's own temperature is absolute too."""
    logits = np.array([0.5, 0.0, -0.5], "float32")
    rule = kg.estimators.StraightThrough(backward_temperature=3.0)
    layer = kg.GumbelSoftmax(0.7, True, estimator=rule, noise_scale=2.0)
    cost = np.array([1.0, 2.0, 4.0], "float32")

    def of_law(x):
        law = kg.distributions.from_layer(layer, x)
        return keras.ops.sum(law.sample(seed=(1, 2)) * cost)

    found = grad(of_law, logits)
    # By `st` every sample has the same.
    expected = grad(
        lambda x: keras.ops.sum(layer(x, training=True) * cost), logits
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    right, _ = reference.softmax_vjp(logits, 3.0, cost)
    np.testing.assert_allclose(found, right, rtol=1e-5)
