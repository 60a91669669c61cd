"""`gumbel_sigmoid`: law, gradient, edges.

It draws `sample_logistic` of the shape of the logits, so that with an integer
seed the noise is known, and every value and gradient has a closed form.
"""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.ops import _program
from tests import gate_laws, reference, statistics
from tests.frameworks import tf
from tests.harness import gradients, tensor, to_numpy
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

SHAPE = (4, 3, 5)
# Of a dtype, so that all tests share the programs with a gradient to it.
TAU = np.float32(0.75)
ESTIMATORS = ["st_gumbel", "st", "reinmax", "gumbel_rao", "gapped_st"]
TOLERANCE = {"float32": 5e-6, "float64": 1e-13}
# Soft, and hard by each estimator that has a formula of its own.
KIND = pytest.mark.parametrize(
    "kind", ["soft", "reinmax", *slow("gumbel_rao", "st", "gapped_st")]
)


def soft(logits, temperature, seed):
    return kg.ops.gumbel_sigmoid(logits, temperature, seed=seed)


def hard_(logits, temperature, seed):
    return kg.ops.gumbel_sigmoid(logits, temperature, hard=True, seed=seed)


def of_kind(kind, x, temperature=TAU, **options):
    if kind != "soft":
        options |= {"hard": True, "estimator": kind}
    return kg.ops.gumbel_sigmoid(x, temperature, **options)


def normal(shape, seed, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def perturbed(logits, seed, noise_scale=1.0):
    """logits + noise in float64, the noise that an op of this seed draws."""
    noise = reference.logistic(seed, 0, logits.size).reshape(logits.shape)
    return logits.astype("float64") + noise_scale * noise


def close(actual, expected, tolerance):
    """To a part of the largest entry, or of 1, the size of what comes in."""
    actual = np.asarray(actual, "float64")
    scale = max(np.abs(expected).max(), 1.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


# ---------------------------------------------------------------------------
# Laws.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_hard_is_bernoulli_whatever_the_temperature(temperature, seed):
    gate_laws.check_bernoulli(hard_, seed, temperature)


def test_soft_is_bernoulli_in_its_rounding(seed):
    gate_laws.check_bernoulli(soft, seed, 1.0)


@pytest.mark.parametrize("noise_scale", [0.5, 2.0])
def test_noise_scale_is_a_temperature_of_the_law(noise_scale, seed):
    def sampler(logits, temperature, seed):
        return kg.ops.gumbel_sigmoid(
            logits, temperature, hard=True, noise_scale=noise_scale, seed=seed
        )

    probs = reference.sigmoid(gate_laws.LOGITS / noise_scale)
    gate_laws.check_bernoulli(sampler, seed, 1.0, probs=probs)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_soft_is_binary_concrete(temperature, seed):
    gate_laws.check_relaxed(soft, seed, temperature)


@pytest.mark.parametrize("temperature", [0.5])
def test_law_is_that_of_tensorflow_probability(temperature, seed):
    """By two samples (a CDF 0.017 off is seen), and by its density."""
    tfp = pytest.importorskip("tensorflow_probability")
    law = tfp.distributions.RelaxedBernoulli(temperature, logits=0.7)
    n = 200_000
    ours = to_numpy(soft(np.full(n, 0.7, "float32"), temperature, seed))
    theirs = np.asarray(law.sample(n, seed=seed))
    assert statistics.ks_two_sample_p(ours, theirs) > FALSE_FAIL_RATE
    # Its distribution function, by the integral of its density.
    edges = 1 / (1 + np.exp(-np.linspace(-60, 60, 40_001)))
    middle = np.diff(edges) / 2 + edges[:-1]
    inside = (middle > 1e-7) & (middle < 1 - 1e-7)
    density = np.asarray(law.prob(middle[inside].astype("float32")))
    below = np.cumsum(density * np.diff(edges)[inside])
    below += reference.sigmoid(temperature * np.log(1e-7) - 0.7)
    p = statistics.ks_p(ours, lambda y: np.interp(y, edges[1:][inside], below))
    assert p > FALSE_FAIL_RATE


def shared(logits, temperature, seed):
    """One number a row."""
    u = np.random.default_rng(seed).random((len(logits), 1))
    return logits + np.log(u) - np.log1p(-u) > 0


def normal_noise(logits, temperature, seed):
    noise = normal(logits.shape, seed) * np.pi / np.sqrt(3)
    return reference.sigmoid((logits + noise) / temperature)


def clipped(logits, temperature, seed):
    """Noise that ends at 6.9, as of a uniform kept 1e-3 from its ends."""
    u = np.random.default_rng(seed).uniform(1e-3, 1 - 1e-3, logits.shape)
    return logits + np.log(u) - np.log1p(-u) > 0


def inverted(logits, temperature, seed):
    """Hard where soft is meant, and the other way round."""
    y = soft(logits, temperature, seed)
    hard = keras.ops.cast(y > 0.5, y.dtype)
    return kg.ops.straight_through(y, hard)


def test_wrong_samplers_are_caught(seed):
    for sampler in (shared, normal_noise, clipped):
        with pytest.raises(AssertionError):
            gate_laws.check_bernoulli(sampler, seed, 0.5)
    with pytest.raises(AssertionError):
        gate_laws.check_relaxed(normal_noise, seed, 0.5)
    with pytest.raises(AssertionError, match="neither 0 nor 1"):
        gate_laws.check_hard(inverted, seed)
    with pytest.raises(AssertionError, match="no gradient"):
        gate_laws.check_gradient(inverted, seed)


@pytest.mark.tensorflow
@pytest.mark.parametrize("logit", [-20.0, 20.0])
def test_a_rare_gate_has_its_rate(logit, monkeypatch):
    """The words that turn it, of 2**64, to 2e-5 of their number."""
    count = reference.sigmoid(-20.0) * 2.0**64
    words = [int(count * part) for part in (0, 0.5, 1 - 2e-5, 1 + 2e-5, 2)]
    flag = 0 if logit < 0 else 2**63

    def bits(**_):
        return tf.constant(np.array([flag + w for w in words], np.uint64))

    monkeypatch.setattr(tf.raw_ops, "StatelessRandomUniformFullIntV2", bits)
    # Traced here, and it meets no other test.
    _program._rule.cache_clear()
    y = to_numpy(of_kind("st_gumbel", np.full(5, logit, "float32")))
    _program._rule.cache_clear()
    rare = float(logit < 0)
    np.testing.assert_array_equal(y == rare, [1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    "dtype", ["float16", *slow("bfloat16", "float32", "float64")]
)
def test_hard_is_exactly_0_and_1(dtype, seed):
    gate_laws.check_hard(hard_, seed, dtype)


# ---------------------------------------------------------------------------
# Values and gradients, with the noise known.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", *slow("float64")])
def test_value(dtype, seed):
    """Hard by every estimator, and soft rounded: one and the same gates."""
    logits = normal(SHAPE, seed, dtype)
    for noise_scale in (0.0, 0.25, 1.0):
        x = perturbed(logits, seed, noise_scale)
        options = {"noise_scale": noise_scale, "seed": seed}
        y = to_numpy(kg.ops.gumbel_sigmoid(logits, TAU, **options))
        close(y, reference.sigmoid(x / TAU), TOLERANCE[dtype])
        np.testing.assert_array_equal(y > 0.5, x > 0)
        for name in ESTIMATORS:
            z = to_numpy(of_kind(name, logits, **options))
            np.testing.assert_array_equal(z, x > 0)


def test_soft_keeps_its_lower_tail(seed):
    """To 1e-35, where 1 - (1 - y) would be 0; relatively exact."""
    logits = np.linspace(-80, -10, 60, dtype="float32").reshape(SHAPE)
    y = kg.ops.gumbel_sigmoid(logits, noise_scale=0.0)
    np.testing.assert_allclose(y, reference.sigmoid(logits), rtol=1e-6)


@pytest.mark.parametrize("temperature", [np.float32(0.125), np.float32(7.0)])
@pytest.mark.parametrize(
    ("hard", "dtype"),
    [
        (False, "float64"),
        (True, "float32"),
        *slow_rows((False, "float32"), (True, "float64")),
    ],
)
def test_gradient(hard, temperature, dtype, seed):
    logits, upstream = normal((2, *SHAPE), seed, dtype)
    x = perturbed(logits, seed)
    expected, _ = reference.sigmoid_vjp(x, temperature, upstream)
    _, gradient = gradients(
        lambda x: kg.ops.gumbel_sigmoid(x, temperature, hard=hard, seed=seed),
        logits,
        upstream=upstream,
    )
    close(gradient, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("sampler", [soft, hard_])
def test_gradient_passes_the_check_that_planted_bugs_fail(sampler, seed):
    gate_laws.check_gradient(sampler, seed)


@pytest.mark.parametrize(
    ("hard", "shape"),
    [
        (True, (4, 1, 1)),
        (False, SHAPE),
        *slow_rows((False, ()), (True, (5,))),
    ],
    ids=str,
)
def test_a_temperature_of_any_shape(hard, shape, seed):
    """One for each gate too; its gradient is summed to that shape."""
    logits, upstream = normal((2, *SHAPE), seed, "float64")
    # An array, of any shape.
    temperature = np.asarray(np.exp(0.3 * normal(shape, seed + 2, "float64")))
    x = perturbed(logits, seed)
    dx, parts = reference.sigmoid_vjp(x, temperature, upstream)
    lead = 3 - len(shape)
    axes = [lead + a for a, size in enumerate(shape) if size == 1]
    expected = parts.sum((*range(lead), *axes)).reshape(shape)
    y, d_logits, d_temperature = gradients(
        lambda x, tau: kg.ops.gumbel_sigmoid(x, tau, hard=hard, seed=seed),
        logits,
        temperature,
        upstream=upstream,
    )
    value = x > 0 if hard else reference.sigmoid(x / temperature)
    close(y, value, 1e-13)
    close(d_logits, dx, 1e-13)
    assert d_temperature.shape == shape
    close(d_temperature, expected, 1e-12)


@pytest.mark.tensorflow
def test_second_derivatives_are_finite_differences(seed):
    """Of the first, to logits and temperature alike; some gates shut."""
    mask = np.random.default_rng(3).random(SHAPE) < 0.6
    logits, direction, upstream = normal((3, *SHAPE), seed, "float64")
    logits[0, 0] = [np.inf, -np.inf, 0.0, 1.0, 2.0]

    def first(x, tau):
        with tf.GradientTape() as tape:
            tape.watch([x, tau])
            y = kg.ops.gumbel_sigmoid(x, tau, class_mask=mask, seed=seed)
            loss = tf.reduce_sum(y * upstream)
        dx, dtau = tape.gradient(loss, [x, tau])
        return tf.reduce_sum(dx * direction) + dtau

    x, tau = tf.constant(logits), tf.constant(0.75, "float64")
    with tf.GradientTape() as tape:
        tape.watch([x, tau])
        slope = first(x, tau)
    to_logits, to_temperature = (
        g.numpy() for g in tape.gradient(slope, [x, tau])
    )
    step = 1e-5

    def difference(nudge, change):
        rise = first(x + nudge, tau + change)
        fall = first(x - nudge, tau - change)
        return float(rise - fall) / (2 * step)

    for place in [(0, 0, 2), (1, 2, 3), (3, 1, 4), (2, 0, 0)]:
        nudge = np.zeros(SHAPE)
        nudge[place] = step
        assert to_logits[place] == pytest.approx(difference(nudge, 0), abs=1e-8)
    assert to_temperature == pytest.approx(difference(0, step), abs=1e-7)
    assert np.all(to_logits[~mask] == 0)
    assert np.all(to_logits[0, 0, :2] == 0)
    assert np.abs(to_logits).max() > 0.01


@pytest.mark.tensorflow
def test_second_derivatives_where_the_gradient_is_zero(seed):
    """Of a square at its root: 2 dy/dx dy/dtau, of the first ones alone."""
    logits = normal(SHAPE, seed, "float64")
    x, tau = tf.constant(logits), tf.constant(0.75, "float64")
    root = soft(x, tau, seed)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch([x, tau])
            loss = tf.reduce_sum((soft(x, tau, seed) - root) ** 2)
        slopes = inner.gradient(loss, [x, tau])
        both = tf.reduce_sum(slopes[0]) + slopes[1]
    dx, dtau = reference.sigmoid_vjp(perturbed(logits, seed), 0.75, 1.0)
    np.testing.assert_array_equal(slopes[0], 0)
    found = outer.gradient(both, x)
    np.testing.assert_allclose(found, 2 * dx * (dx + dtau), atol=1e-12)


# ---------------------------------------------------------------------------
# Edges.
# ---------------------------------------------------------------------------


@KIND
def test_gates_that_are_certain_or_shut_or_nan(kind, seed):
    """0, 1 and 0, without a gradient, even of an infinite one; NaN shows."""
    logits, upstream = normal((2, *SHAPE), seed)
    plain = gradients(
        lambda x: of_kind(kind, x, seed=seed), logits, upstream=upstream
    )
    mask = np.ones(SHAPE, bool)
    logits[0, 0], mask[1, 1] = [-np.inf, np.inf, np.nan, 1, 2], False
    logits[1, 1, :3] = [np.nan, np.inf, -np.inf]
    upstream[0, 0, :2] = upstream[1, 1] = np.inf
    y, gradient = gradients(
        lambda x: of_kind(kind, x, class_mask=mask, seed=seed),
        logits,
        upstream=upstream,
    )
    assert y[0, 0, :2].tolist() == [0, 1]
    assert np.isnan(y[0, 0, 2])
    assert np.isnan(gradient[0, 0, 2])
    assert np.all(gradient[0, 0, :2] == 0)
    assert np.all(y[1, 1] == 0)
    assert np.all(gradient[1, 1] == 0)
    # Each is a variable of its own.
    for before, after in zip(plain, (y, gradient), strict=True):
        np.testing.assert_array_equal(after[2:], before[2:])
    assert np.isfinite(gradient[0, 0, 3:]).all()


@pytest.mark.parametrize(
    ("hard", "shape"),
    [(False, (5,)), *slow_rows((True, (3, 1)), (True, ()))],
    ids=str,
)
def test_a_mask_that_broadcasts(hard, shape, seed):
    mask = np.random.default_rng(1).random(shape) < 0.5
    logits = normal(SHAPE, seed)
    y, gradient = gradients(
        lambda x: kg.ops.gumbel_sigmoid(
            x, TAU, hard=hard, class_mask=mask, seed=seed
        ),
        logits,
    )
    shut = np.where(mask, logits, -np.inf).astype("float32")
    again = gradients(
        lambda x: kg.ops.gumbel_sigmoid(x, TAU, hard=hard, seed=seed), shut
    )
    np.testing.assert_array_equal(y, again[0])
    np.testing.assert_array_equal(gradient, again[1])
    assert np.all(y[~np.broadcast_to(mask, SHAPE)] == 0)


@pytest.mark.parametrize("kind", ["soft", *slow("reinmax")])
def test_a_gradient_of_infinity_where_a_gate_is_saturated(kind):
    """As of log(y) where y has come to 0: no NaN."""
    x = np.full(SHAPE, -300.0, "float32")
    _, gradient = gradients(
        lambda x: of_kind(kind, x, np.float32(0.1), noise_scale=0.0),
        x,
        upstream=np.full(SHAPE, np.inf, "float32"),
    )
    assert not np.isnan(gradient).any()


@KIND
def test_extremes_are_finite(kind, seed):
    """Of logits, and of temperature, to which the gradient is finite too."""
    logits = np.resize([3e38, -3e38, 2, 1, -1], SHAPE).astype("float32")
    upstream = normal(SHAPE, seed)
    for temperature in (1e-6, 1e6):
        y, gradient, d_temperature = gradients(
            lambda x, tau: of_kind(kind, x, tau, seed=seed),
            logits,
            np.array(temperature, "float32"),
            upstream=upstream,
        )
        assert np.isfinite(gradient.astype("float64")).all()
        assert np.isfinite(d_temperature)
        np.testing.assert_array_equal(y[..., :2], np.resize([1, 0], (4, 3, 2)))


@pytest.mark.tensorflow
def test_a_temperature_known_too_late_shows(seed):
    logits = normal(SHAPE, seed)

    @tf.function(autograph=False)
    def run(tau, hard):
        with tf.GradientTape() as tape:
            x = tf.constant(logits)
            tape.watch(x)
            y = kg.ops.gumbel_sigmoid(x, tau, hard=hard, seed=seed)
        return y, tape.gradient(y, x)

    for hard in (False, True):
        y, gradient = run(tf.constant(-1.0), hard)
        assert np.isnan(gradient).all()
        assert np.isnan(y).all() != hard


@pytest.mark.tensorflow
def test_a_single_gate(seed):
    """A logit without any axis, such as a variable's."""
    x = tf.Variable(0.3)
    with tf.GradientTape() as tape:
        y = of_kind("gumbel_rao", x, seed=seed)
    assert y.shape == ()
    noise = kg.ops.sample_logistic((), seed=seed)
    assert float(y) == float(noise > -0.3)
    assert 0 < tape.gradient(y, x) < 1


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["soft", *slow("gumbel_rao")])
def test_modes_agree(kind, seed):
    """Eager, XLA, of unknown sizes, and within a program of others."""
    logits, weights = map(tensor, normal((2, *SHAPE), seed))

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = of_kind(kind, 2 * x, seed=seed)
            loss = tf.reduce_sum(tf.sin(y) * weights)
        return y, tape.gradient(loss, x)

    expected = run(logits)
    unknown = tf.TensorSpec([None] * 3, "float32")
    for options in ({"jit_compile": True}, {"input_signature": [unknown]}):
        y, gradient = tf.function(run, autograph=False, **options)(logits)
        tolerance = 1e-6 if kind == "soft" else 0
        np.testing.assert_allclose(y, expected[0], atol=tolerance)
        np.testing.assert_allclose(gradient, expected[1], atol=5e-6)


@pytest.mark.tensorflow
def test_the_noise_is_drawn_once():
    """And Gumbel-Rao's once a sample; 22 xors make a number."""

    def xors(kind):
        @tf.function(jit_compile=True, autograph=False)
        def run(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = of_kind(kind, x, seed=3)
            return y, tape.gradient(y, x, output_gradients=x)

        ir = run.experimental_get_compiler_ir(tf.ones((256, 512)))
        return ir(stage="optimized_hlo").count(" xor(")

    assert xors("soft") == 22
    assert xors("gumbel_rao") == 44
