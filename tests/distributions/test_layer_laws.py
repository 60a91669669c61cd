"""The law of what a layer samples: densities, and the samples themselves."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from keras import ops
from scipy import integrate, special, stats

import keras_gumbel as kg
from keras_gumbel.distributions import from_layer, log_from_layer
from tests import statistics
from tests.distributions import concrete
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow

pytestmark = pytest.mark.tensorflow
tfd = tfp.distributions
TWO, THREE = np.array([0.4, -0.3]), np.array([0.5, -0.4, 0.1])
N = 200_000


def samples(layer, logits, n=N):
    """Of the layer in training, for n rows of these logits."""
    rows = np.tile(np.asarray(logits, "float32"), (n, 1))
    return ops.convert_to_numpy(layer(rows, training=True))


def points(seed=0, size=(6,)):
    """Within the simplex."""
    return np.random.default_rng(seed).dirichlet(np.ones(3), size)


# The density itself.


def test_the_density_integrates_to_one():
    def on_a_line(x):
        return concrete.density([x, 1 - x], TWO, 0.7)

    total, _ = integrate.quad(on_a_line, 0, 1)
    assert total == pytest.approx(1, abs=1e-7)

    def on_a_triangle(y, x):
        return concrete.density([x, y, 1 - x - y], THREE, 1.5)

    total, _ = integrate.dblquad(
        on_a_triangle, 0, 1, 0, lambda x: 1 - x, epsabs=1e-5
    )
    assert total == pytest.approx(1, abs=1e-4)
    cells = concrete.cells_of_three(THREE, 1.5, np.linspace(0, 1, 5))
    assert cells.sum() == pytest.approx(1, abs=1e-5)
    assert concrete.cdf_of_two(TWO, 0.7)(1 - 1e-12) == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.3, 2.5, *slow(1.0)])
@pytest.mark.parametrize("scale", [0.6, *slow(1.0)])
def test_log_prob_is_the_paper(temperature, scale):
    """Of noise of scale s: the density of logits / s at temperature / s."""
    layer = kg.GumbelSoftmax(temperature, noise_scale=scale)
    x = points()
    given = np.tile(THREE, (6, 1))
    here = THREE / scale, temperature / scale
    d = from_layer(layer, given)
    np.testing.assert_allclose(
        d.log_prob(x), np.log(concrete.density(x, *here)), rtol=1e-6
    )
    log_d = log_from_layer(layer, given)
    np.testing.assert_allclose(
        log_d.log_prob(np.log(x)),
        concrete.log_density(np.log(x), *here),
        rtol=1e-6,
    )
    assert isinstance(d, tfd.RelaxedOneHotCategorical)
    assert isinstance(log_d, tfd.ExpRelaxedOneHotCategorical)
    assert d.dtype == log_d.dtype == "float64"


def test_probabilities():
    probs = special.softmax(THREE).astype("float32")[None]
    layer = kg.GumbelSoftmax(0.7, from_logits=False)
    x = points(size=(4,)).astype("float32")
    np.testing.assert_allclose(
        from_layer(layer, probs).log_prob(x),
        np.log(concrete.density(x, THREE, 0.7)),
        rtol=1e-5,
    )
    hard = kg.GumbelSoftmax(hard=True, from_logits=False)
    d = from_layer(hard, np.array([[0.25, 0.75, 0.0]], "float32"))
    np.testing.assert_allclose(d.probs_parameter(), [[0.25, 0.75, 0]])
    log_probs = [np.log(0.25), np.log(0.75), -np.inf]
    np.testing.assert_allclose(d.log_prob(np.eye(3)), log_probs, rtol=1e-6)


# The layers' samples.


def p_of_two(layer, logits=TWO, given=None):
    """The samples' p-value under the law that `from_layer` tells of."""
    law = from_layer(layer, np.asarray(logits, "float32"))
    cdf = concrete.cdf_of_two(
        law.logits.numpy().astype("float64"), law.temperature.numpy()
    )
    y = samples(layer, logits if given is None else given)
    return statistics.ks_p(np.clip(y[:, 0], 1e-30, 1 - 1e-7), cdf)


def test_relaxed_samples_of_two_classes():
    """The whole law of a sample, by the CDF that its density gives.

    Detected: a CDF 0.012 off somewhere.
    """
    right = kg.GumbelSoftmax(0.8, noise_scale=0.6, seed=1)
    assert p_of_two(right) > FALSE_FAIL_RATE
    # A temperature, a noise scale and logits other than those of the law.
    wrong = kg.GumbelSoftmax(0.8, noise_scale=0.6, seed=1)
    law = from_layer(wrong, TWO.astype("float32"))
    cdf = concrete.cdf_of_two(law.logits.numpy().astype("float64"), 0.8 / 0.6)
    for other, logits in (
        (kg.GumbelSoftmax(0.88, noise_scale=0.6, seed=1), TWO),
        (kg.GumbelSoftmax(0.8, seed=1), TWO),
        (right, np.exp(TWO)),
    ):
        y = np.clip(samples(other, logits)[:, 0], 1e-30, 1 - 1e-7)
        assert statistics.ks_p(y, cdf) < FALSE_FAIL_RATE


def test_relaxed_samples_of_three_classes():
    """Cells of the simplex, and the mass that the density has there."""
    edges = np.linspace(0, 1, 5)
    layer = kg.GumbelSoftmax(1.2, noise_scale=0.8, seed=2)
    law = from_layer(layer, THREE.astype("float32"))
    masses = concrete.cells_of_three(
        law.logits.numpy().astype("float64"),
        law.temperature.numpy(),
        edges,
    )

    def p(layer, logits):
        counts = concrete.counts_of_three(samples(layer, logits), edges)
        return statistics.chi_squared_p(counts, masses)

    assert p(layer, THREE) > FALSE_FAIL_RATE
    for other, logits in (
        (kg.GumbelSoftmax(1.3, noise_scale=0.8, seed=2), THREE),
        (kg.GumbelSoftmax(1.2, seed=2), THREE),
        (layer, np.exp(THREE)),
    ):
        assert p(other, logits) < FALSE_FAIL_RATE


@pytest.mark.parametrize("scale", [0.5, *slow(1.0)])
def test_hard_samples(scale):
    layer = kg.GumbelSoftmax(hard=True, noise_scale=scale, seed=3)
    d = from_layer(layer, THREE.astype("float32"))
    counts = samples(layer, THREE).sum(0)
    probs = np.asarray(d.probs_parameter())
    assert statistics.chi_squared_p(counts, probs) > FALSE_FAIL_RATE
    other = special.softmax(THREE / (2 * scale))
    assert statistics.chi_squared_p(counts, other) < FALSE_FAIL_RATE
    np.testing.assert_allclose(probs, special.softmax(THREE / scale), 1e-6)
    np.testing.assert_allclose(d.entropy(), stats.entropy(probs), 1e-5)
    index = kg.SampleArgmaxIndex(hard=True, noise_scale=scale, seed=4)
    of_index = from_layer(index, THREE.astype("float32"))
    k = samples(index, THREE)
    counts = np.bincount(k.astype(int), minlength=3)
    assert statistics.chi_squared_p(counts, probs) > FALSE_FAIL_RATE
    np.testing.assert_allclose(of_index.probs_parameter(), probs, 1e-6)
    # Of the layer's own numbers, which are floats.
    np.testing.assert_allclose(
        of_index.log_prob(k[:50]), np.log(probs[k[:50].astype(int)]), 1e-5
    )
    assert of_index.dtype == "float32"


def test_gates():
    logits = np.array([[0.4, -0.8]], "float32")
    layer = kg.GumbelSigmoid(0.8, noise_scale=0.6, seed=5)
    d = from_layer(layer, logits)
    assert isinstance(d, tfd.RelaxedBernoulli)
    x = np.array([[0.2, 0.9], [0.5, 0.01]], "float32")
    pairs = np.stack([x, 1 - x], -1)
    of_two = np.stack([logits / 0.6, 0 * logits], -1)
    np.testing.assert_allclose(
        d.log_prob(x),
        np.log(concrete.density(pairs, of_two, 0.8 / 0.6)),
        rtol=1e-4,
    )
    y = samples(layer, logits[0])
    for place in (0, 1):
        cdf = concrete.cdf_of_two(of_two[0, place], 0.8 / 0.6)
        marginal = np.clip(y[:, place], 1e-30, 1 - 1e-7)
        assert statistics.ks_p(marginal, cdf) > FALSE_FAIL_RATE
    hard = kg.GumbelSigmoid(hard=True, noise_scale=0.6, seed=6)
    d = from_layer(hard, logits)
    probs = special.expit(logits / 0.6)
    np.testing.assert_allclose(d.mean(), probs, 1e-5)
    np.testing.assert_allclose(d.log_prob(np.ones((1, 2))), np.log(probs), 1e-5)
    ones = samples(hard, logits[0]).sum(0)
    for count, prob in zip(ones, probs[0], strict=True):
        assert statistics.binomial_p(count, N, prob) > FALSE_FAIL_RATE
        assert statistics.binomial_p(count, N, 1 - prob) < FALSE_FAIL_RATE
    of_probs = from_layer(
        kg.GumbelSigmoid(0.8, from_logits=False), special.expit(logits)
    )
    np.testing.assert_allclose(of_probs.logits, logits, rtol=1e-5)
    one_each = from_layer(layer, logits, temperature=tf.fill((1, 2), 0.3))
    np.testing.assert_allclose(one_each.temperature, np.full((1, 2), 0.5))


# What a distribution remembers, and what it is given.


@pytest.mark.parametrize("hard", [False, True])
def test_the_temperature_is_the_live_one(hard):
    logits = np.tile(THREE.astype("float32"), (2, 1))
    layer = kg.GumbelSoftmax(2.0, hard=hard, noise_scale=0.5)
    d = from_layer(layer, logits)
    x = points(size=()).astype("float32")
    log_prob = tf.function(d.log_prob)
    for temperature in (2.0, 0.4):
        layer.temperature = temperature
        for one in (d, d.copy()):
            now = one.temperature.numpy()
            np.testing.assert_allclose(now, temperature / 0.5)
        if not hard:
            np.testing.assert_allclose(
                log_prob(x),
                np.log(concrete.density(x, logits / 0.5, temperature / 0.5)),
                rtol=1e-5,
            )


def test_an_annealed_temperature_is_followed():
    schedule = kg.schedules.ExponentialAnnealing(2.0, 0.5, 0.1)
    layer = kg.GumbelSoftmax(schedule)
    logits = THREE[None].astype("float32")
    d = log_from_layer(layer, logits)
    for step in range(3):
        layer(logits, training=True)
        now = d.temperature.numpy()
        assert now == pytest.approx(2 * np.exp(-0.5 * step))


def test_a_temperature_of_ones_own_has_a_gradient():
    layer = kg.GumbelSoftmax(9.0)
    logits = np.tile(THREE, (2, 1))
    temperature = tf.constant([[0.5], [1.5]], tf.float64)
    x = points(size=(2,))
    with tf.GradientTape() as tape:
        tape.watch(temperature)
        d = from_layer(layer, logits, temperature=temperature)
        log_prob = d.log_prob(x)
    assert d.batch_shape == (2,)
    gradient = tape.gradient(log_prob, temperature)
    for row, t in enumerate((0.5, 1.5)):
        here, up, down = (
            np.log(concrete.density(x[row], THREE, t + move))
            for move in (0, 1e-6, -1e-6)
        )
        assert float(log_prob[row]) == pytest.approx(here)
        assert float(gradient[row, 0]) == pytest.approx((up - down) / 2e-6)
    hard = kg.GumbelSoftmax(hard=True)
    d = from_layer(hard, logits, temperature=temperature)
    np.testing.assert_array_equal(d.temperature, [0.5, 1.5])


def test_half_precision_becomes_float32():
    layer = kg.GumbelSoftmax(hard=True, dtype="mixed_float16", estimator="st")
    logits = ops.cast(THREE[None], "float16")
    d = from_layer(layer, logits)
    assert d.dtype == d.logits.dtype == "float32"
    assert d.estimator == "st"
    z = layer(logits, training=True)
    assert z.dtype == "float16"
    assert d.log_prob(z).dtype == "float32"


def test_gradient_is_that_of_the_layer():
    """Of the law's own samples, with every setting on the way."""
    logits = THREE[None].astype("float32")
    cost = np.array([1.0, -2.0, 0.5], "float32")
    options = {"noise_scale": 0.7, "estimator": "st"}
    layer = kg.GumbelSoftmax(0.6, hard=True, **options)
    x = tf.constant(logits)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours = tf.reduce_sum(from_layer(layer, x).sample(seed=(1, 2)) * cost)
        its = tf.reduce_sum(layer(x, training=True) * cost)
    # By `st` that of a linear function does not depend on the sample.
    np.testing.assert_allclose(
        tape.gradient(ours, x), tape.gradient(its, x), rtol=1e-5
    )


class Custom(kg.GumbelSoftmax):
    """A user's layer."""


def test_a_subclass_has_the_law_of_its_class():
    d = from_layer(Custom(hard=True), THREE[None])
    assert isinstance(d, kg.distributions.StraightThroughOneHotCategorical)


@pytest.mark.parametrize(
    ("layer", "arguments", "error", "message"),
    [
        (
            kg.SampleArgmaxIndex(),
            {},
            TypeError,
            "SampleArgmaxIndex(hard=True)",
        ),
        (kg.SampleArgmaxIndex(), {}, TypeError, ", hard=False"),
        (kg.GumbelEmbedding(3, 2), {}, TypeError, "layer=<GumbelEmbedding"),
        (keras.layers.Dense(2), {}, TypeError, "`layer` must be one of Gumbel"),
        ("layer", {}, TypeError, "layer='layer'"),
        (kg.GumbelSoftmax(noise_scale=0), {}, ValueError, "noise_scale=0.0"),
        (kg.GumbelSoftmax(axis=0), {}, ValueError, "ops.moveaxis(logits, ax"),
        (
            kg.SampleArgmaxIndex(hard=True, axis=0),
            {},
            ValueError,
            "Received: axis=0, logits of shape (2, 3)",
        ),
        (kg.GumbelSoftmax(axis=7), {}, ValueError, "Received: axis=7"),
        (
            kg.GumbelSoftmax(),
            {"temperature": -1.0},
            ValueError,
            "temperature=-1.0",
        ),
        (
            kg.GumbelSoftmax(),
            {"temperature": np.ones((2, 3))},
            ValueError,
            "temperature of shape (2, 3)",
        ),
        (kg.GumbelSoftmax(), {"logits": [[1, 2]]}, TypeError, "dtype int32"),
    ],
)
def test_errors(layer, arguments, error, message):
    arguments = {"logits": np.zeros((2, 3), "float32"), **arguments}
    with pytest.raises(error) as caught:
        from_layer(layer, **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "layer",
    [kg.GumbelSoftmax(hard=True), kg.SampleArgmaxIndex(hard=True)],
    ids=str,
)
def test_only_relaxed_samples_have_a_logarithm(layer):
    with pytest.raises(TypeError, match=r"one of GumbelSoftmax\(hard=False\)"):
        log_from_layer(layer, np.zeros((2, 3)))


@pytest.mark.parametrize("axis", [1, -1])
def test_the_last_axis_by_either_name(axis):
    d = from_layer(kg.GumbelSoftmax(axis=axis), np.zeros((2, 3)))
    assert d.event_shape == (3,)
