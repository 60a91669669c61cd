"""The divergence of categorical distributions, against NumPy and TFP."""

import keras
import numpy as np
import pytest
from scipy import special

from keras_gumbel.losses import categorical_kl
from tests.frameworks import tf
from tests.harness import (
    dtype_of,
    in_mode,
    modes,
    tensor,
    to_numpy,
    value_and_grad,
)

INF = np.inf
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 3, 5))
PRIOR = RNG.normal(size=(4, 3, 5))


def formula(logits, prior=None, axis=-1):
    """sum_k q_k log(q_k / p_k) in float64, of finite logits."""
    logits = np.asarray(logits, "float64")
    prior = np.zeros_like(logits) if prior is None else prior
    log_q = special.log_softmax(logits, axis)
    log_p = special.log_softmax(np.asarray(prior, "float64"), axis)
    return np.sum(np.exp(log_q) * (log_q - log_p), axis)


def gradients(logits, prior, **options):
    """Of the sum of the divergences, to both."""
    kl, found = value_and_grad(
        lambda logits, prior: categorical_kl(logits, prior, **options),
        logits,
        prior,
    )
    return kl, *found


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_and_tfp(dtype):
    import tensorflow_probability as tfp

    logits, prior = LOGITS.astype(dtype), PRIOR.astype(dtype)
    kl = categorical_kl(logits, prior)
    assert dtype_of(kl) == dtype
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(kl, formula(LOGITS, PRIOR), atol=tolerance)
    peer = tfp.distributions.kl_divergence(
        tfp.distributions.Categorical(LOGITS),
        tfp.distributions.Categorical(PRIOR),
    )
    np.testing.assert_allclose(kl, peer, atol=tolerance)


@pytest.mark.tensorflow
def test_without_a_prior_it_is_log_k_less_the_entropy():
    import tensorflow_probability as tfp

    kl = categorical_kl(LOGITS)
    entropy = tfp.distributions.Categorical(LOGITS).entropy()
    np.testing.assert_allclose(kl, np.log(5) - entropy, atol=1e-14)
    np.testing.assert_allclose(
        kl, categorical_kl(LOGITS, np.full(5, 3.0)), atol=1e-14
    )


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_axis(axis):
    np.testing.assert_allclose(
        categorical_kl(LOGITS, PRIOR, axis=axis),
        formula(LOGITS, PRIOR, axis),
        atol=1e-14,
    )


def test_a_prior_for_all_is_broadcast():
    for shape in ((5,), (3, 5), (1, 1, 5), (4, 1, 5)):
        prior = RNG.normal(size=shape)
        whole = np.broadcast_to(prior, LOGITS.shape)
        np.testing.assert_allclose(
            categorical_kl(LOGITS, prior), formula(LOGITS, whole), atol=1e-14
        )
        _, _, gradient = gradients(LOGITS, prior)
        assert gradient.shape == shape
    prior = RNG.normal(size=(3, 1))
    np.testing.assert_allclose(
        categorical_kl(LOGITS, prior, axis=1),
        formula(LOGITS, np.broadcast_to(prior, LOGITS.shape), 1),
        atol=1e-14,
    )


def test_gradients_by_the_closed_form_and_by_finite_differences():
    _, d_logits, d_prior = gradients(LOGITS, PRIOR)
    q, p = special.softmax(LOGITS, -1), special.softmax(PRIOR, -1)
    kl = formula(LOGITS, PRIOR)[..., None]
    ratio = np.log(q / p)
    np.testing.assert_allclose(d_logits, q * (ratio - kl), atol=1e-14)
    np.testing.assert_allclose(d_prior, p - q, atol=1e-14)
    step = 1e-5
    for place in np.ndindex(2, 2, 5):
        e = np.zeros_like(LOGITS)
        e[place] = step
        for gradient, up, down in (
            (d_logits, (LOGITS + e, PRIOR), (LOGITS - e, PRIOR)),
            (d_prior, (LOGITS, PRIOR + e), (LOGITS, PRIOR - e)),
        ):
            slope = (formula(*up) - formula(*down)).sum() / (2 * step)
            assert float(gradient[place]) == pytest.approx(slope, abs=1e-8)


@pytest.mark.tensorflow
def test_second_derivatives():
    """d2 KL / d prior2 is the covariance of p."""
    logits, prior = tf.constant(LOGITS[0, 0]), tf.constant(PRIOR[0, 0])
    with tf.GradientTape() as outer:
        outer.watch(prior)
        with tf.GradientTape() as inner:
            inner.watch(prior)
            kl = categorical_kl(logits, prior)
        gradient = inner.gradient(kl, prior)
    p = special.softmax(PRIOR[0, 0])
    np.testing.assert_allclose(
        outer.jacobian(gradient, prior), np.diag(p) - np.outer(p, p), atol=1e-12
    )


@pytest.mark.parametrize(
    ("distance", "digits"), [(1e-2, 1e-4), (1e-3, 1e-3), (1e-4, 1e-2)]
)
def test_small_divergences_keep_their_digits(distance, digits):
    """At 1e-4 it is 5e-9, below the rounding of q * log(q / p)."""
    logits = np.random.default_rng(1).normal(size=(50, 64)).astype("float32")
    move = np.random.default_rng(2).normal(size=(50, 64))
    prior = (logits + distance * move).astype("float32")
    kl = to_numpy(categorical_kl(logits, prior))
    np.testing.assert_allclose(kl, formula(logits, prior), rtol=digits)
    assert kl.min() > 0
    # Two near each other in the last digits at most.
    near = np.nextafter(logits, np.float32(INF))
    assert to_numpy(categorical_kl(logits, near)).min() > -1e-10
    assert np.all(to_numpy(categorical_kl(logits, logits)) == 0)
    _, d_logits, d_prior = gradients(logits, logits)
    np.testing.assert_allclose(d_logits, 0, atol=1e-7)
    np.testing.assert_allclose(d_prior, 0, atol=1e-7)


def test_large_logits():
    """Probabilities underflow, and their logarithms do not."""
    for size in (1e2, 1e4, 1e30):
        rows = np.array([[size, 0.0, 0.0], [0.0, size, -size]], "float32")
        kl, *both = gradients(rows, rows[::-1].copy())
        np.testing.assert_allclose(kl, [size, size], rtol=1e-6)
        assert all(np.all(np.isfinite(gradient)) for gradient in both)
        uniform = to_numpy(categorical_kl(rows))
        np.testing.assert_allclose(uniform, np.log(3), rtol=1e-6)
    kl, *both = gradients(np.zeros((1, 3), "float32"), rows[:1])
    np.testing.assert_allclose(kl, [2e30 / 3], rtol=1e-6)
    assert all(np.all(np.isfinite(gradient)) for gradient in both)


def test_forbidden_classes():
    logits = np.array(
        [
            [0.5, -INF, 0.1],  # q = 0 adds nothing
            [0.5, 0.3, 0.1],  # p = 0 where q is not
            [-INF, 0.2, -200.0],  # p = 0 where q underflows
            [-INF, 0.2, 0.4],  # both 0
            [-INF, -INF, -INF],  # padding
            [0.1, 0.2, 0.3],  # no prior at all
        ],
        "float32",
    )
    prior = np.array([[0.1, 0.2, 0.3], *[[-INF, 0.4, -0.3]] * 4, [-INF] * 3])
    prior[2, 2] = -INF
    kl, d_logits, d_prior = gradients(logits, prior.astype("float32"))
    q, p = special.softmax([0.5, 0.1]), special.softmax([0.1, 0.2, 0.3])[[0, 2]]
    first = np.sum(q * np.log(q / p))
    fourth = formula([0.2, 0.4], [0.4, -0.3])
    np.testing.assert_allclose(kl, [first, INF, INF, fourth, 0, INF], rtol=1e-6)
    assert np.all(np.isfinite(d_logits))
    assert np.all(np.isfinite(d_prior))
    assert np.all(to_numpy(d_logits)[np.isinf(logits)] == 0)
    assert np.all(to_numpy(d_prior)[np.isinf(prior)] == 0)
    np.testing.assert_array_equal(d_logits[4], 0)
    np.testing.assert_array_equal(d_prior[4], 0)
    expected = np.insert(q * (np.log(q / p) - first), 1, 0)
    np.testing.assert_allclose(d_logits[0], expected, atol=1e-6)
    p, q = special.softmax([0.1, 0.2, 0.3]), np.insert(q, 1, 0)
    np.testing.assert_allclose(d_prior[0], p - q, atol=1e-6)
    # Without a prior of its own too: a class of three is never chosen.
    np.testing.assert_allclose(
        categorical_kl(logits[:1])[0],
        np.log(3) + np.sum(q[q > 0] * np.log(q[q > 0])),
        atol=1e-6,
    )


@modes("eager", "compiled")
def test_what_is_no_number_is_seen_in_its_row_alone(mode):
    bad = np.array([[np.nan, 1, 2], [INF, 1, 2], [0, 1, 2]], "float32")
    good = np.array([[0, 1, 2], [0, 1, 2], [2, -INF, 0]], "float32")
    function = in_mode(mode, categorical_kl)
    for arguments in ((bad, good), (good, bad)):
        kl = to_numpy(function(*map(tensor, arguments)))
        assert np.isnan(kl[:2]).all()
        assert not np.isnan(kl[2])
    # +inf hides nothing.
    bad = np.array([[np.nan, 1, 2]], "float32")
    prior = np.array([[0, -INF, 1]], "float32")
    assert np.isnan(function(tensor(bad), tensor(prior)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    logits = keras.ops.cast(LOGITS * 50, dtype)
    prior = keras.ops.cast(PRIOR * 50, dtype)
    kl = categorical_kl(logits, prior)
    assert dtype_of(kl) == "float32"
    exact = [to_numpy(keras.ops.cast(x, "float64")) for x in (logits, prior)]
    np.testing.assert_allclose(kl, formula(*exact), rtol=1e-5, atol=1e-9)


def test_in_a_layer_with_a_batch_of_unknown_size():
    class Divergence(keras.layers.Layer):
        def call(self, logits):
            self.add_loss(keras.ops.mean(categorical_kl(logits)))
            return logits

    model = keras.Sequential([keras.Input((None, 5)), Divergence()])
    model.compile(loss="mse")
    x = LOGITS.astype("float32")
    assert model.evaluate(x, x, verbose=0) == pytest.approx(
        formula(LOGITS).mean(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.zeros((2, 3)), np.zeros(1)), {}, ValueError, "of shape (1,), log"),
        ((np.zeros((2, 3)), np.zeros(2)), {}, ValueError, "of shape (2,), log"),
        (
            (np.zeros((2, 3)), np.zeros((5, 2, 3))),
            {},
            ValueError,
            "prior_logits of shape (5, 2, 3), logits of shape (2, 3), axis=1",
        ),
        ((np.zeros((2, 3)), np.zeros(3)), {"axis": 0}, ValueError, "axis=0"),
        ((np.zeros((2, 3)),), {"axis": 2}, ValueError, "Received: axis=2"),
        ((np.zeros((2, 3), int),), {}, TypeError, "logits of dtype int64"),
        (
            (np.zeros((2, 3)), np.zeros(3, int)),
            {},
            TypeError,
            "prior_logits of dtype int64",
        ),
    ],
)
def test_errors(arguments, options, error, message):
    with pytest.raises(error) as caught:
        categorical_kl(*arguments, **options)
    assert message in str(caught.value)


def test_a_prior_of_one_class_for_one_class():
    kl = categorical_kl(np.zeros((2, 1)), np.ones(1))
    assert to_numpy(kl).tolist() == [0.0, 0.0]
