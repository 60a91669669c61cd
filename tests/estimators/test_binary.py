"""The estimators' rules of gates: against K = 2, NumPy, and what is proved."""

import dataclasses
import functools

import numpy as np
import pytest
from keras import ops

import keras_gumbel as kg
from keras_gumbel import backend, numerics
from keras_gumbel.estimators import (
    Estimator,
    GappedStraightThrough,
    GumbelRao,
    ReinMax,
    StraightThrough,
    StraightThroughGumbel,
)
from keras_gumbel.numerics import Draw
from tests import reference, statistics
from tests.frameworks import tf
from tests.harness import tensor, to_numpy, value_and_grad
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

SHAPE = (40, 6)
# Each estimator that draws nothing in its backward pass, and NumPy's rule of
# K = 2 one-hot classes.
RULES = {
    "st": (StraightThrough(), reference.straight_through),
    "reinmax": (ReinMax(), reference.reinmax),
    "gapped": (GappedStraightThrough(), reference.gapped),
    "gap 3": (
        GappedStraightThrough(gap=3.0),
        functools.partial(reference.gapped, gap=3.0),
    ),
    "mean gap": (
        GappedStraightThrough(gap=None),
        lambda x, d, tau, dy: reference.gapped(
            x, d, tau, dy, reference.mean_gap(x, d)
        ),
    ),
}


def inputs(seed, dtype="float64", shape=SHAPE):
    rng = np.random.default_rng(seed)
    return tuple(2 * rng.normal(size=(2, *shape)).astype(dtype))


def value_and_gradients(logits, dy, temperature=0.7, **options):
    """The gates, and the gradient to logits and temperature."""
    y, found = value_and_grad(
        lambda x, tau: kg.ops.gumbel_sigmoid(x, tau, hard=True, **options),
        logits,
        np.asarray(temperature, "float64"),
        upstream=dy,
    )
    return to_numpy(y), *to_numpy(found)


def by_two_classes(estimator):
    """The same, with the rule of gates that follows from that of classes."""

    @dataclasses.dataclass(frozen=True, repr=False)
    class Derived(type(estimator)):
        backward_binary = Estimator.backward_binary

    return Derived(**estimator.get_config())


# ---------------------------------------------------------------------------
# Sample by sample.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.0])
@pytest.mark.parametrize("kind", RULES)
def test_rule_is_that_of_two_classes(kind, temperature, seed):
    """In NumPy; the gate is the second class, the first has logit 0."""
    estimator, rule = RULES[kind]
    logits, dy = inputs(seed)
    y, gradient, _ = value_and_gradients(
        logits, dy, temperature, estimator=estimator, seed=seed
    )
    expected = reference.of_gates(rule)(logits, y, temperature, dy)
    np.testing.assert_allclose(gradient, expected, atol=1e-13)
    assert 0.2 < y.mean() < 0.8


@pytest.mark.parametrize(
    "estimator",
    [
        GappedStraightThrough(gap=None),
        *slow(StraightThroughGumbel(), StraightThrough(), ReinMax()),
    ],
    ids=repr,
)
def test_formula_is_what_follows_from_two_classes(estimator, seed):
    """To logits and temperature, and for edges, saturated ones too."""
    logits, dy = inputs(seed)
    logits[0] = [np.inf, -np.inf, np.nan, 40.0, -40.0, 0.0]
    tau = np.geomspace(0.2, 3, 6)
    a = value_and_gradients(logits, dy, tau, estimator=estimator, seed=seed)
    b = value_and_gradients(
        logits, dy, tau, estimator=by_two_classes(estimator), seed=seed
    )
    np.testing.assert_array_equal(a[0], b[0])
    # Of two classes, 1 - p has but the digits that p leaves it.
    np.testing.assert_allclose(a[1], b[1], atol=1e-9)
    # NaN in one gate is NaN in the sum for its temperature, and no other.
    np.testing.assert_allclose(a[2], b[2], atol=1e-9)
    expected = [k == 2 and estimator.name != "reinmax" for k in range(6)]
    assert np.isnan(a[2]).tolist() == expected


@pytest.mark.parametrize("kind", [None, "reinmax", *slow("st", "mean gap")])
def test_float32_is_as_good_as_float64(kind, seed):
    """Relatively, where a gate is all but certain."""
    estimator = RULES[kind][0] if kind else StraightThroughGumbel()
    logits, dy = inputs(seed, "float32")
    logits = (np.linspace(-30, 30, logits.size).reshape(SHAPE)).astype(
        "float32"
    )
    # A difference of 1e-6 in the noise is one of 1e-6 in what it makes.
    options = {"estimator": estimator, "seed": seed, "temperature": 1.0}
    y, wide, _ = value_and_gradients(logits.astype("float64"), dy, **options)
    again, narrow, _ = value_and_gradients(logits, dy, **options)
    np.testing.assert_array_equal(again, y)
    if kind == "reinmax":
        np.testing.assert_allclose(narrow, wide, atol=5e-7)
    else:
        np.testing.assert_allclose(narrow, wide, rtol=2e-5, atol=0)


@pytest.mark.parametrize("cls", [StraightThroughGumbel, *slow(StraightThrough)])
def test_a_subclass_with_another_rule_has_it_for_gates_too(cls, seed):
    """And not the formula of gates that it inherits."""

    @dataclasses.dataclass(frozen=True, repr=False)
    class Tripled(cls):
        name = "tripled"

        def backward(self, *args):
            d_logits, parts = super().backward(*args)
            return 3 * d_logits, 3 * parts

    logits, dy = inputs(seed)
    _, once, tau = value_and_gradients(logits, dy, estimator=cls(), seed=seed)
    _, found, slope = value_and_gradients(
        logits, dy, estimator=Tripled(), seed=seed
    )
    np.testing.assert_allclose(found, 3 * once, atol=1e-12)
    np.testing.assert_allclose(slope, 3 * tau, atol=1e-11)

    class Kept(Tripled):
        def backward_binary(self, *args):
            return tuple(-x for x in super().backward_binary(*args))

    _, kept, _ = value_and_gradients(logits, dy, estimator=Kept(), seed=seed)
    np.testing.assert_allclose(kept, -3 * once, atol=1e-12)


def test_a_rule_of_two_classes_is_given_what_it_expects(seed):
    """Two logits, the choice with its mark for NaN, a temperature that fits."""

    class Shown(StraightThrough):
        def backward(self, draw, kept, choice, temperature, dy):
            assert draw.axis == len(kept.shape) - 1
            assert kept.shape[-1] == dy.shape[-1] == 2
            first = kept[..., :1] + dy[..., :1]
            shown = ops.cast(choice, kept.dtype) + first
            return ops.repeat(shown, 2, axis=-1), temperature * kept

    logits, dy = inputs(seed)
    logits[0, 0] = np.nan
    tau = np.linspace(0.5, 2, SHAPE[0])[:, None]
    y, choice, slope = value_and_gradients(
        logits, dy, tau, estimator=Shown(), seed=seed
    )
    np.testing.assert_array_equal(choice, np.where(np.isnan(y), -1, y))
    expected = tau * logits.sum(-1, keepdims=True)
    np.testing.assert_allclose(slope, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["gumbel_rao", *slow("st")])
def test_a_backward_temperature_takes_the_place_of_the_calls(name, seed):
    logits, dy = inputs(seed)
    fixed = type(kg.estimators.get(name))(backward_temperature=0.4)
    a = value_and_gradients(logits, dy, 2.0, estimator=fixed, seed=seed)
    b = value_and_gradients(logits, dy, 0.4, estimator=name, seed=seed)
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_allclose(a[1], b[1], atol=1e-12)
    assert not np.any(a[2])


def test_reinmax_has_no_gradient_to_the_temperature(seed):
    logits, dy = inputs(seed)
    *_, slope = value_and_gradients(logits, dy, estimator="reinmax", seed=seed)
    assert slope == 0


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "kind", ["reinmax", "mean gap", *slow("st", "st of two", "gumbel_rao")]
)
def test_second_derivatives_are_those_of_the_rule(kind, seed):
    """Of the gradient, given the sample, by central differences.

    Gates that are certain have none, and bring no NaN.
    """
    logits, dy = inputs(seed, shape=(7,))
    logits[:2] = np.inf, -np.inf
    rao = kind == "gumbel_rao"
    more = {
        "gumbel_rao": GumbelRao(3),
        "st of two": by_two_classes(StraightThrough()),
    }
    estimator = more[kind] if kind in more else RULES[kind][0]
    x, tau = tf.constant(logits), tf.constant(0.7, "float64")
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch([x, tau])
            y = kg.ops.gumbel_sigmoid(
                x, tau, hard=True, estimator=estimator, seed=seed
            )
        slopes = inner.gradient(y, [x, tau], output_gradients=tf.constant(dy))
    second = outer.gradient(slopes[0], x).numpy()
    assert np.abs(second).max() > 1e-3
    np.testing.assert_array_equal(second[:2], 0)
    if kind != "reinmax":
        mixed = outer.gradient(slopes[1], x)
        np.testing.assert_array_equal(mixed[:2], 0)
        assert np.isfinite(mixed).all()
    logits[:2] = 0.0
    sign = 2 * y.numpy() - 1
    if rao:
        moved = [conditional(logits, y.numpy(), seed, n) for n in range(3)]
    elif kind != "mean gap":
        moved = [logits]
    else:
        # The gap is a constant, and what the logits are moved by.
        lead = sign * logits
        p = reference.sigmoid(lead)
        gap = -np.log1p(-p) / p
        moved = [sign * np.maximum(lead, gap)]

    def rule(nudge):
        if kind == "reinmax":
            of_gates = reference.of_gates(reference.reinmax)
            return of_gates(logits + nudge, y.numpy(), 0.7, dy)
        return np.mean(
            [reference.sigmoid_vjp(m + nudge, 0.7, dy)[0] for m in moved],
            axis=0,
        )

    # Each gate has its own second derivative.
    expected = (rule(1e-6) - rule(-1e-6)) / 2e-6
    np.testing.assert_allclose(second[2:], expected[2:], atol=1e-6)


def test_the_mean_gap_of_a_state_that_is_all_but_impossible():
    """Its limit is 1, where -log(1 - p) / p is 0 / 0 in float32."""
    logits = tensor([-150.0, 150.0])
    draw = Draw(lambda: logits, tensor(1.0), None, axis=-1)
    other_state = tensor([1.0, -1.0])
    gradient, _ = GappedStraightThrough(gap=None).backward_binary(
        draw, other_state, tensor(0.7), ops.ones(2)
    )
    expected, _ = reference.sigmoid_vjp(1.0, 0.7, 1.0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_the_mean_gap_is_in_units_of_the_noise(seed):
    logits = np.resize([-150.0, 150.0], SHAPE).astype("float32")
    y, gradient, _ = value_and_gradients(
        logits,
        np.ones(SHAPE),
        temperature=70.0,
        estimator=GappedStraightThrough(gap=None),
        noise_scale=100.0,
        seed=seed,
    )
    rare = (y == 1) != (logits > 0)
    assert 10 < rare.sum() < 100
    p = reference.sigmoid(-1.5)
    expected, _ = reference.sigmoid_vjp(-np.log1p(-p) / p, 0.7, 1.0)
    expected = expected / 100
    np.testing.assert_allclose(gradient[rare], expected, rtol=1e-5)


# ---------------------------------------------------------------------------
# Gumbel-Rao.
# ---------------------------------------------------------------------------


def conditional(logits, gate, seed, number, noise_scale=1.0):
    """Perturbed logits given their sign, by inverting their distribution.

    P(x > a) = sigmoid(l - a) / sigmoid(l) of a positive x is V; by the bits
    of the key.
    """
    start = (number + 1) * 2**44
    rest = reference.uniform(seed, 0, logits.size, start).reshape(logits.shape)
    lead = np.where(gate == 1, logits, -logits) / noise_scale
    v = 1 - rest
    # sigmoid(l - a) = v sigmoid(l), solved for a.
    a = np.log1p(np.exp(lead) * rest) - np.log(v)
    np.testing.assert_allclose(
        reference.sigmoid(lead - a), v * reference.sigmoid(lead), rtol=1e-9
    )
    return noise_scale * np.where(gate == 1, a, -a)


@pytest.mark.parametrize(
    ("dtype", "tolerance", "noise_scale"),
    [
        ("float32", 2e-6, 0.5),
        ("float64", 1e-12, 1.0),
        *slow_rows(("float32", 2e-6, 1.0), ("float64", 1e-12, 0.5)),
    ],
)
def test_gumbel_rao_by_its_bits(noise_scale, dtype, tolerance, seed):
    logits, dy = inputs(seed, dtype)
    tau = 0.3
    y, gradient, slope = value_and_gradients(
        logits,
        dy,
        tau,
        estimator=GumbelRao(3),
        noise_scale=noise_scale,
        seed=seed,
    )
    drawn = [
        reference.sigmoid_vjp(
            conditional(logits.astype("float64"), y, seed, n, noise_scale),
            tau,
            dy,
        )
        for n in range(3)
    ]
    expected, parts = np.mean(drawn, axis=0)
    scale = np.abs(dy).max() / tau
    np.testing.assert_allclose(gradient, expected, atol=tolerance * scale)
    assert slope == pytest.approx(parts.sum(), rel=1e-5, abs=1e-4)


def test_gumbel_rao_without_noise_is_straight_through(seed):
    logits, dy = inputs(seed)
    logits[0] = 0.0
    options = {"noise_scale": 0.0, "seed": seed}
    a = value_and_gradients(logits, dy, estimator="gumbel_rao", **options)
    b = value_and_gradients(logits, dy, estimator="st", **options)
    for mine, other in zip(a, b, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


@backend.compiled
def draw_conditional(logits, positive, noise_scale):
    draw = numerics.Draw(
        lambda: logits, noise_scale, backend.next_key(5), axis=0
    )
    return numerics.conditional_logistic(draw, logits, positive, tensor(0))


@pytest.mark.parametrize("dtype", ["float32", *slow("float64")])
@pytest.mark.parametrize("logit", [-1.5, 6.0, *slow(0.0)])
def test_over_the_signs_the_noise_is_logistic(logit, dtype, seed):
    """Kolmogorov-Smirnov over 1e6, rate 1e-6; a CDF 0.0054 off is seen.

    Planted: signs of another law.
    """
    n, scale = 10**6, 0.5
    rng = np.random.default_rng(seed)
    logits = ops.full((n,), logit, dtype)
    for prob, right in [(reference.sigmoid(logit / scale), True), (0.5, False)]:
        positive = rng.random(n) < prob
        x = to_numpy(
            draw_conditional(logits, tensor(positive), tensor(scale, dtype))
        )
        np.testing.assert_array_equal(x > 0, positive)
        p = statistics.ks_p((x - logit) / scale, reference.logistic_cdf)
        if right:
            assert p > FALSE_FAIL_RATE
        elif logit:
            assert p < FALSE_FAIL_RATE


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conditional_noise_is_finite_and_of_its_sign(dtype):
    """At the ends of the logits; far out it lies about them, or about 0."""
    size = np.array([1e30, 1e4, 100.0, 80.5, 79.5, 30.0, 1.0, 0.0])
    logits = np.repeat(np.concatenate([size, -size]), 1000).astype(dtype)
    for positive in (True, False):
        x = to_numpy(
            draw_conditional(
                tensor(logits),
                ops.full((logits.size,), positive, "bool"),
                tensor(1.0, dtype),
            )
        )
        assert np.isfinite(x).all()
        assert np.all(x > 0 if positive else x < 0)
        lead = logits if positive else -logits
        far = lead >= 79
        assert np.all(np.abs(np.abs(x) - lead)[far] <= 20 + 1e-6 * lead[far])
        # Against its sign what is left is exponential noise.
        assert 0.9 < np.abs(x)[lead < -70].mean() < 1.1


@pytest.mark.parametrize(
    ("dtype", "rtol"), [("float32", 1e-6), ("float64", 1e-13)]
)
def test_conditional_noise_against_numpy(dtype, rtol, monkeypatch):
    """Over all t, dense at 0, at which small x come from; relatively exact."""
    t = np.geomspace(2.0**-65, 0.999, 500).astype(dtype)
    lead = np.array([-200.0, -20, -1, 0, 1, 20, 40, 79, 81, 200], dtype)
    lead, t = (np.ravel(x) for x in np.meshgrid(lead, t))

    def unit(shape, key, dtype, start=0):
        return ops.reshape(t, shape)

    place = "keras_gumbel.numerics.conditional.random_unit"
    monkeypatch.setattr(place, unit)

    @backend.compiled
    def run():
        scale = tensor(0.5, dtype)
        draw = numerics.Draw(
            lambda: tensor(lead / 2), scale, backend.next_key(5), axis=0
        )
        args = tensor(lead / 2), ops.ones((lead.size,), "bool"), 0
        return numerics.conditional_logistic(draw, *args)

    x = to_numpy(run())
    t, lead = t.astype("float64"), lead.astype("float64")
    large = lead > 100
    odds = np.log1p(np.exp(np.where(large, 0, lead)) * t)
    odds = np.where(large, lead + np.log(t), odds)
    np.testing.assert_allclose(x, 0.5 * (odds - np.log1p(-t)), rtol=rtol)


@pytest.mark.slow
def test_gumbel_rao_has_the_mean_of_straight_through_gumbel(seed):
    """And that of two classes; z of each of 4 logits, 6e4 gradients each.

    Planted: noise that is not conditional on the sample.
    """
    n, logits = 60_000, np.array([-2.0, 0.0, 0.5, 3.0])
    x = np.tile(logits, (n, 1))

    def gradients(estimator, seed):
        """Of a loss whose slope differs from 0 to 1."""
        y, *_ = value_and_gradients(x, 0 * x, estimator=estimator, seed=seed)
        dy = np.where(y == 1, 3.0, -1.0)
        return value_and_gradients(x, dy, 0.3, estimator=estimator, seed=seed)[
            1
        ]

    plain = gradients("st_gumbel", seed)
    rao = gradients(GumbelRao(2), seed + 1)
    derived = gradients(by_two_classes(GumbelRao(2)), seed + 2)
    noise = np.random.default_rng(seed).logistic(size=x.shape)
    z = np.random.default_rng(seed + 1).logistic(size=x.shape) + x > 0
    wrong, _ = reference.sigmoid_vjp(x + noise, 0.3, np.where(z, 3.0, -1.0))
    for k in range(4):
        assert same_mean_p(plain[:, k], rao[:, k]) > FALSE_FAIL_RATE / 4
        assert same_mean_p(plain[:, k], derived[:, k]) > FALSE_FAIL_RATE / 4
    assert same_mean_p(plain[:, 3], wrong[:, 3]) < FALSE_FAIL_RATE
    assert rao.var(0).sum() < 0.9 * plain.var(0).sum()


def same_mean_p(a, b):
    error = np.sqrt(a.var() / a.size + b.var() / b.size)
    return 2 * statistics.stats.norm.sf(abs(a.mean() - b.mean()) / error)


# ---------------------------------------------------------------------------
# What is proved; of two classes, more of it in `test_statements.py`.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
def test_straight_through_weighs_the_ends(p, seed):
    """E of the gradient of f(b) = sin(3b), exactly, by the gates' two states.

    p (1 - p) (p f'(1) + (1 - p) f'(0)).
    """
    x = np.full(2000, np.log(p) - np.log1p(-p))
    options = {"temperature": 1.0, "estimator": "st", "seed": seed}
    y, *_ = value_and_gradients(x, 0 * x, **options)
    _, g, _ = value_and_gradients(x, 3 * np.cos(3 * y), **options)
    found = p * g[y == 1][0] + (1 - p) * g[y == 0][0]
    expected = p * (1 - p) * (p * 3 * np.cos(3) + (1 - p) * 3)
    assert found == pytest.approx(expected, rel=1e-12)
