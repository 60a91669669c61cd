"""The density of a relaxed gate's log-odds, where none is rounded."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

import keras_gumbel as kg
from keras_gumbel.distributions import from_layer, log_from_layer
from tests import statistics
from tests.distributions import concrete
from tests.statistics import FALSE_FAIL_RATE

pytestmark = pytest.mark.tensorflow
tfd = tfp.distributions
LOGITS = np.array([0.4, -0.8, 3.0])


def log_density(y, logits, temperature, scale=1.0):
    """Of (logits + scale * logistic) / temperature, by NumPy in float64."""
    y, logits = np.float64(y), np.float64(logits)
    return stats.logistic.logpdf(y, logits / temperature, scale / temperature)


@pytest.mark.parametrize(
    ("logit", "temperature"),
    [(0.0, 0.5), (20.0, 0.5), (-1e4, 0.01), (3.0, 2.0)],
)
def test_the_layers_own_samples_have_finite_densities(logit, temperature):
    """With the noise of the layer, by its seed; at logit 20 each z is 1."""
    logits = np.full(5000, logit, "float32")
    layer = kg.GumbelSigmoid(temperature, seed=7)
    z = layer(logits, training=True).numpy()
    noise = kg.ops.sample_logistic(logits.shape, seed=7).numpy()
    y = ((logits + noise) / np.float32(temperature)).astype("float32")
    np.testing.assert_allclose(special.expit(y), z, rtol=1e-5, atol=1e-37)
    log_prob = log_from_layer(layer, logits).log_prob(y).numpy()
    assert np.all(np.isfinite(log_prob))
    np.testing.assert_allclose(
        log_prob, log_density(y, logits, temperature), rtol=1e-4, atol=2e-3
    )
    if logit == 20:
        assert np.all(z == 1)
        assert np.all(np.isinf(from_layer(layer, logits).log_prob(z)))


def test_its_own_samples_are_those_of_the_layer():
    """By their whole law. Detected: a CDF 0.012 off somewhere."""
    layer = kg.GumbelSigmoid(0.8, noise_scale=0.625, seed=1)
    law = log_from_layer(layer, np.float32(0.4))
    y = law.sample(100_000, seed=(1, 2)).numpy().astype("float64")
    z = layer(np.full(100_000, 0.4, "float32"), training=True).numpy()
    for scale, passes in ((0.625, True), (0.66, False)):
        cdf = stats.logistic(0.4 / 0.8, scale / 0.8).cdf
        for found in (y, special.logit(z.astype("float64"))):
            assert (statistics.ks_p(found, cdf) > FALSE_FAIL_RATE) is passes


def test_it_is_the_density_of_the_gate_by_its_slope():
    """log f(z) = log f(y) - log(z (1 - z)), and that of two classes."""
    layer = kg.GumbelSigmoid(9.0, noise_scale=0.625)
    y = np.array([-1.3, 0.2, 2.0])
    z = special.expit(y)
    of_log_odds = (
        log_from_layer(layer, LOGITS, temperature=0.7).log_prob(y).numpy()
    )
    np.testing.assert_allclose(
        of_log_odds - np.log(z * (1 - z)),
        from_layer(layer, LOGITS, temperature=0.7).log_prob(z),
        rtol=1e-12,
    )
    for each in range(3):
        pair = np.array([z[each], 1 - z[each]])
        of_two = np.array([LOGITS[each], 0.0]) / 0.625
        np.testing.assert_allclose(
            of_log_odds[each] - np.log(z[each] * (1 - z[each])),
            np.log(concrete.density(pair, of_two, 0.7 / 0.625)),
            rtol=1e-12,
        )
    np.testing.assert_allclose(
        of_log_odds, log_density(y, LOGITS, 0.7, 0.625), rtol=1e-12
    )


def test_probabilities_and_a_mask():
    layer = kg.GumbelSigmoid(9.0, from_logits=False)
    probs = np.array([0.2, 0.0, 1.0, 0.5])
    mask = np.array([True, True, True, False])
    d = log_from_layer(layer, probs, temperature=0.7, class_mask=mask)
    assert isinstance(d, tfd.Logistic)
    y = np.array([0.3, -np.inf, np.inf, -np.inf])
    expected = [log_density(0.3, special.logit(0.2), 0.7), 0, 0, 0]
    np.testing.assert_allclose(d.log_prob(y), expected, rtol=1e-12)
    np.testing.assert_array_equal(d.sample(seed=(1, 2))[1:], y[1:])


def test_gradients_by_finite_differences():
    layer = kg.GumbelSigmoid(9.0, noise_scale=0.625)
    y = np.array([-1.3, 0.2, 2.0])
    x, temperature = tf.constant(LOGITS), tf.constant(0.7, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([x, temperature])
        d = log_from_layer(layer, x, temperature=temperature)
        log_prob = d.log_prob(y)
    d_x, d_temperature = tape.gradient(log_prob, [x, temperature])
    h = 1e-6
    up, down = (log_density(y, LOGITS + e, 0.7, 0.625) for e in (h, -h))
    np.testing.assert_allclose(d_x, (up - down) / (2 * h), atol=1e-8)
    up, down = (log_density(y, LOGITS, 0.7 + e, 0.625).sum() for e in (h, -h))
    assert float(d_temperature) == pytest.approx((up - down) / (2 * h))


def test_a_term_of_a_relaxed_elbo_is_the_same_on_both_scales():
    """The divergence from a prior, of each sample, with its gradient."""
    layer = kg.GumbelSigmoid(0.7)
    y = np.array([-1.3, 0.2, 2.0])
    found = []
    for make, at in ((from_layer, special.expit(y)), (log_from_layer, y)):
        x = tf.constant(LOGITS)
        with tf.GradientTape() as tape:
            tape.watch(x)
            q = make(layer, x)
            p = make(layer, np.zeros(3), temperature=0.5)
            term = q.log_prob(at) - p.log_prob(at)
        found.append((term, tape.gradient(term, x)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


# What is live.

LAWS = [
    (kg.GumbelSigmoid(0.8), log_from_layer, 0.3),
    (kg.GumbelSigmoid(0.8), from_layer, 0.3),
    (kg.GumbelSigmoid(0.8, hard=True), from_layer, 1.0),
    (kg.GumbelSoftmax(0.8), log_from_layer, np.log([0.2, 0.3, 0.5])),
    (kg.GumbelSoftmax(0.8), from_layer, [0.2, 0.3, 0.5]),
    (kg.GumbelSoftmax(0.8, hard=True), from_layer, [0.0, 1.0, 0.0]),
    (kg.SampleArgmaxIndex(0.8, hard=True), from_layer, 2.0),
]


@pytest.mark.parametrize(
    ("layer", "make", "x"), LAWS, ids=lambda value: getattr(value, "name", "")
)
def test_temperature_and_noise_scale_are_read_at_each_use(layer, make, x):
    """Also where the scale is a variable that is assigned, and by a graph."""
    logits, x = LOGITS.astype("float32"), np.asarray(x, "float32")

    class Live(type(layer)):
        """Its noise scale is a variable."""

        noise_scale = None

    config = layer.get_config()
    made = Live(**{**config, "name": None})
    object.__setattr__(made, "noise_scale", keras.Variable(0.5))
    d = make(made, logits)
    log_prob = tf.function(d.log_prob)
    for temperature, scale in ((0.8, 0.5), (0.4, 1.5)):
        made.temperature = temperature
        made.noise_scale.assign(scale)
        fixed = type(layer)(
            **{**config, "temperature": temperature, "noise_scale": scale}
        )
        expected = make(fixed, logits).log_prob(x)
        np.testing.assert_allclose(d.log_prob(x), expected, rtol=1e-6)
        np.testing.assert_allclose(log_prob(x), expected, rtol=1e-6)
        np.testing.assert_allclose(d.copy().log_prob(x), expected, rtol=1e-6)
    made.noise_scale.assign(0.0)
    with pytest.raises(ValueError, match=r"noise_scale=0\.0"):
        make(made, logits)
