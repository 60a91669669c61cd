"""The divergence of gates, against NumPy in float64 and TFP."""

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import special

import keras_gumbel as kg
from keras_gumbel.losses import bernoulli_kl, categorical_kl
from tests.frameworks import tf
from tests.harness import in_mode, modes, tensor, to_numpy, value_and_grad

INF = np.inf
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 3)) * 2
PRIOR = RNG.normal(size=(4, 3)) * 2


def formula(logits, prior=0.0):
    """q log(q / p) + (1 - q) log((1 - q) / (1 - p)), of finite logits."""
    x, y = np.longdouble(logits), np.longdouble(prior)

    def log_sigmoid(x):
        return -np.logaddexp(np.longdouble(0), -x)

    one = np.exp(log_sigmoid(x)) * (log_sigmoid(x) - log_sigmoid(y))
    zero = np.exp(log_sigmoid(-x)) * (log_sigmoid(-x) - log_sigmoid(-y))
    return (one + zero).astype("float64")


def gradients(logits, prior):
    """The divergences, and the gradients of their sum to both."""
    kl, found = value_and_grad(bernoulli_kl, logits, prior)
    return kl, *found


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_and_tfp(dtype):
    import tensorflow_probability as tfp

    logits, prior = LOGITS.astype(dtype), PRIOR.astype(dtype)
    kl = bernoulli_kl(logits, prior)
    assert kl.dtype == dtype
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(kl, formula(logits, prior), rtol=tolerance)
    law, logits, prior = (
        tfp.distributions.Bernoulli,
        *map(tensor, (logits, prior)),
    )
    peer = tfp.distributions.kl_divergence(law(logits), law(prior))
    np.testing.assert_allclose(kl, peer, atol=10 * tolerance)


def test_it_is_that_of_two_classes():
    def two(x):
        return np.stack([x, np.zeros_like(x)], -1)

    expected = categorical_kl(two(LOGITS), two(PRIOR))
    np.testing.assert_allclose(
        bernoulli_kl(LOGITS, PRIOR), expected, atol=1e-14
    )


@pytest.mark.tensorflow
def test_without_a_prior_it_is_log_2_less_the_entropy():
    import tensorflow_probability as tfp

    entropy = tfp.distributions.Bernoulli(tensor(LOGITS)).entropy()
    kl = bernoulli_kl(LOGITS)
    np.testing.assert_allclose(kl, np.log(2) - entropy, atol=1e-14)
    np.testing.assert_array_equal(kl, bernoulli_kl(LOGITS, 0.0))


def test_a_prior_for_all_is_broadcast():
    for shape in ((), (3,), (4, 1), (1, 1)):
        prior = RNG.normal(size=shape)
        kl, _, gradient = gradients(LOGITS, prior)
        np.testing.assert_allclose(kl, formula(LOGITS, prior), rtol=1e-12)
        assert gradient.shape == shape
        each = special.expit(prior) - special.expit(LOGITS)
        np.testing.assert_allclose(
            np.sum(to_numpy(gradient)), each.sum(), atol=1e-12
        )


def test_gradients_by_the_closed_form_and_by_finite_differences():
    _, d_logits, d_prior = gradients(LOGITS, PRIOR)
    q, p = special.expit(LOGITS), special.expit(PRIOR)
    slope = q * (1 - q) * (LOGITS - PRIOR)
    np.testing.assert_allclose(d_logits, slope, rtol=1e-12)
    np.testing.assert_allclose(d_prior, p - q, rtol=1e-12)
    h = 1e-5
    for gradient, up, down in (
        (d_logits, (LOGITS + h, PRIOR), (LOGITS - h, PRIOR)),
        (d_prior, (LOGITS, PRIOR + h), (LOGITS, PRIOR - h)),
    ):
        slope = (formula(*up) - formula(*down)) / (2 * h)
        np.testing.assert_allclose(gradient, slope, atol=1e-8)


@pytest.mark.tensorflow
def test_second_derivatives():
    x, y = tf.constant(LOGITS), tf.constant(PRIOR)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([x, y])
        with tf.GradientTape() as inner:
            inner.watch([x, y])
            kl = bernoulli_kl(x, y)
        d_x, d_y = inner.gradient(kl, [x, y])
    q, p = special.expit(LOGITS), special.expit(PRIOR)
    slope = q * (1 - q)
    expected = slope + slope * (1 - 2 * q) * (LOGITS - PRIOR)
    np.testing.assert_allclose(outer.gradient(d_x, x), expected, rtol=1e-10)
    np.testing.assert_allclose(outer.gradient(d_x, y), -slope, rtol=1e-10)
    np.testing.assert_allclose(outer.gradient(d_y, y), p * (1 - p), rtol=1e-10)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6])
def test_small_divergences_keep_all_their_digits(distance):
    """At 1e-6 they are 1e-13, far below the rounding of q * log(q / p)."""
    logits = np.random.default_rng(1).normal(size=5000).astype("float32")
    move = np.random.default_rng(2).normal(size=5000)
    prior = (logits + distance * move).astype("float32")
    kl, d_logits, d_prior = gradients(logits, prior)
    x, y = np.float64(logits), np.float64(prior)
    q = special.expit(x)
    # The series of the divergence, whose next term is d**4.
    d, slope = y - x, q * (1 - q)
    series = slope * d**2 * (1 / 2 + (1 - 2 * q) * d / 6)
    exact = formula(x, y) if distance > 1e-3 else series
    np.testing.assert_allclose(kl, exact, rtol=3e-6)
    assert np.all(to_numpy(kl)[logits != prior] > 0)
    np.testing.assert_allclose(d_logits, slope * (x - y), rtol=3e-6)
    exact = special.expit(x) * special.expit(-y) * np.expm1(y - x)
    np.testing.assert_allclose(d_prior, exact, rtol=3e-6)
    assert np.all(to_numpy(bernoulli_kl(logits, logits)) == 0)


def test_large_logits():
    """Probabilities underflow, and their logarithms do not."""
    for size in (1e2, 1e4, 1e30, float(np.finfo("float32").max)):
        x = np.array([size, -size, size, 0.5], "float32")
        y = np.array([-size, size, 0.0, -size], "float32")
        kl, *both = gradients(x, y)
        expected = formula(np.float64(x), np.float64(y))
        np.testing.assert_allclose(kl, expected, rtol=1e-6)
        assert all(np.all(np.isfinite(gradient)) for gradient in both)


CERTAIN = [
    # logit, prior, divergence, gradient to the prior
    (-INF, 0.3, np.logaddexp(0, 0.3), special.expit(0.3)),
    (INF, 0.3, np.logaddexp(0, -0.3), -special.expit(-0.3)),
    (-INF, -INF, 0, 0),
    (INF, INF, 0, 0),
    (INF, -INF, INF, 0),
    (-INF, INF, INF, 0),
    (0.3, -INF, INF, 0),
    (0.3, INF, INF, 0),
    (-INF, 1e30, 1e30, 1),
]


@pytest.mark.tensorflow
@modes("eager", "compiled")
def test_infinite_logits(mode):
    """Certain gates, by the limit, without a gradient of their own."""
    import tensorflow_probability as tfp

    function = in_mode(mode, gradients)
    x, y, expected, d_prior = np.array(CERTAIN, "float32").T
    kl, d_x, d_y = function(tensor(x), tensor(y))
    np.testing.assert_allclose(kl, expected, rtol=1e-6)
    np.testing.assert_array_equal(d_x, 0)
    np.testing.assert_allclose(d_y, d_prior, rtol=1e-6)
    law = tfp.distributions.Bernoulli
    peer = tfp.distributions.kl_divergence(law(x), law(y))
    np.testing.assert_allclose(kl, peer, rtol=1e-6)
    # What is no number is seen, in its place alone.
    bad = np.array([np.nan, 0.0, np.nan, INF, np.nan, 1.0], "float32")
    other = np.array([0.0, np.nan, INF, np.nan, -INF, 1.0], "float32")
    kl, _, _ = function(tensor(bad), tensor(other))
    np.testing.assert_array_equal(np.isnan(kl), [True] * 5 + [False])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    logits = keras.ops.cast(LOGITS * 20, dtype)
    prior = keras.ops.cast(PRIOR * 20, dtype)
    kl, d_logits, _ = gradients(logits, prior)
    assert kl.dtype == "float32"
    assert d_logits.dtype == dtype
    exact = [np.asarray(keras.ops.cast(x, "float64")) for x in (logits, prior)]
    np.testing.assert_allclose(kl, formula(*exact), rtol=1e-5, atol=1e-9)


PAIRS = arrays.arrays(
    np.float32,
    (2, 50),
    elements=st.floats(-200, 200, width=32),
    fill=st.nothing(),
)


def test_laws_of_every_pair():
    """Not negative, 0 for equals, the mirror's own; and by float64."""

    @hypothesis.seed(0)
    @hypothesis.settings(max_examples=8, deadline=None, database=None)
    @hypothesis.given(PAIRS)
    def law(pairs):
        x, y = pairs
        kl = to_numpy(bernoulli_kl(x, y))
        assert np.all(kl >= 0)
        np.testing.assert_allclose(bernoulli_kl(-x, -y), kl, rtol=1e-6)
        assert np.all(to_numpy(bernoulli_kl(x, x)) == 0)
        # Nearer together, the formula itself has no digits left.
        apart = np.abs(x - y) > 1e-3
        expected = formula(np.float64(x), np.float64(y))
        np.testing.assert_allclose(
            kl[apart], expected[apart], rtol=1e-5, atol=1e-34
        )

    law()


def test_its_mean_is_finite_in_a_layer_with_a_batch_of_unknown_size():
    class Divergence(keras.layers.Layer):
        def call(self, logits):
            self.add_loss(keras.ops.mean(bernoulli_kl(logits)))
            return logits

    model = keras.Sequential([keras.Input((None, 3)), Divergence()])
    model.compile(loss="mse")
    x = LOGITS[None].astype("float32")
    assert model.evaluate(x, x, verbose=0) == pytest.approx(
        formula(LOGITS).mean(), rel=1e-5
    )


def test_it_is_the_mean_of_the_log_ratio_of_samples():
    """By 200 000 samples; six standard errors, a false fail of 2e-9."""
    layer = kg.GumbelSigmoid(hard=True, seed=1)
    prior = np.array([-0.5, 2.0], "float32")
    logits = np.array([1.0, 0.3], "float32")
    z = to_numpy(layer(np.tile(logits, (200_000, 1)), training=True))

    def log_prob(x):
        return z * -np.logaddexp(0, -x) + (1 - z) * -np.logaddexp(0, x)

    ratio = log_prob(logits) - log_prob(prior)
    error = ratio.std(0) / np.sqrt(len(z))
    kl = to_numpy(bernoulli_kl(logits, prior))
    assert np.all(np.abs(ratio.mean(0) - kl) < 6 * error)
    # And a divergence of other gates is seen.
    other = to_numpy(bernoulli_kl(logits * 1.1, prior))
    assert np.all(np.abs(ratio.mean(0) - other) > 6 * error)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((2, 3)), np.zeros(2)), ValueError, "of shape (2,), logits"),
        (
            (np.zeros((2, 3)), np.zeros((5, 2, 3))),
            ValueError,
            "prior_logits of shape (5, 2, 3), logits of shape (2, 3)",
        ),
        ((np.zeros((2, 3), int),), TypeError, "logits of dtype int64"),
        (
            (np.zeros((2, 3)), np.zeros(3, int)),
            TypeError,
            "prior_logits of dtype int64",
        ),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error) as caught:
        bernoulli_kl(*arguments)
    assert message in str(caught.value)
