"""StraightThroughOneHotCategorical: TFP's conventions, and our gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

import keras_gumbel as kg
from keras_gumbel.distributions import StraightThroughOneHotCategorical
from keras_gumbel.ops.gumbel_softmax import one_hot_by_key
from tests import laws, reference, statistics
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

pytestmark = pytest.mark.tensorflow
tfd = tfp.distributions
INF = np.inf
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 5)).astype("float32")
PRIOR = RNG.normal(size=(4, 5)).astype("float32")
COST = RNG.normal(size=(4, 5)).astype("float32")


def make(logits=LOGITS, **options):
    return StraightThroughOneHotCategorical(logits, **options)


def gradient(function, *arguments):
    """Of the function's sum, to each of its arguments."""
    arguments = [tf.convert_to_tensor(x) for x in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments)
    return tape.gradient(y, arguments)


# The law.


def sampler(logits, temperature, seed):
    return make(logits, temperature=temperature).sample(seed=(seed, 1))


@pytest.mark.parametrize("estimator", ["st_gumbel", *slow("reinmax")])
def test_a_class_of_the_law_in_every_row(estimator, seed):
    def draw(logits, temperature, seed):
        d = make(logits, temperature=temperature, estimator=estimator)
        return d.sample(seed=(seed, 1))

    laws.check_categorical(draw, seed, 0.5, n=200_000)
    laws.check_one_hot(draw, seed, dtype="float32")


def test_a_wrong_law_is_seen(seed):
    def tempered(logits, temperature, seed):
        return sampler(logits / np.float32(1.1), temperature, seed)

    def shared(logits, temperature, seed):
        return np.repeat(sampler(logits[::2], temperature, seed), 2, 0)

    for wrong in (tempered, shared):
        with pytest.raises(AssertionError):
            laws.check_categorical(wrong, seed, 0.5, n=200_000)


def test_draws_of_one_call_are_independent(seed):
    """Each with the next, over `sample_shape`."""
    d = make(LOGITS[0])
    z = d.sample((50_000, 4), seed=(seed, 2)).numpy()
    probs = special.softmax(LOGITS[0])
    chosen = z.argmax(-1)
    for one, two in ((chosen[:, 0], chosen[:, 1]), (chosen[:-1], chosen[1:])):
        pairs = np.bincount(np.ravel(one * 5 + two), minlength=25)
        p = statistics.chi_squared_p(pairs, np.outer(probs, probs))
        assert p > FALSE_FAIL_RATE


def test_densities_by_closed_forms():
    d, prior = make(), tfd.OneHotCategorical(PRIOR)
    q, p = special.softmax(LOGITS, -1), special.softmax(PRIOR, -1)
    np.testing.assert_allclose(d.probs_parameter(), q, 1e-5)
    np.testing.assert_allclose(d.mean(), q, 1e-5)
    np.testing.assert_allclose(d.variance(), q * (1 - q), 1e-5)
    np.testing.assert_allclose(d.entropy(), stats.entropy(q, axis=-1), 1e-5)
    np.testing.assert_array_equal(d.mode(), np.eye(5)[LOGITS.argmax(-1)])
    kl = np.sum(q * np.log(q / p), -1)
    back = np.sum(p * np.log(p / q), -1)
    np.testing.assert_allclose(tfd.kl_divergence(d, prior), kl, 1e-5)
    np.testing.assert_allclose(tfd.kl_divergence(prior, d), back, 1e-5)
    np.testing.assert_allclose(d.kl_divergence(make(PRIOR)), kl, 1e-5)
    one = tfd.kl_divergence(make(LOGITS[0]), prior)
    np.testing.assert_allclose(one[0], kl[0], 1e-5)
    assert one.shape == (4,)
    np.testing.assert_allclose(
        d.cross_entropy(prior), kl + stats.entropy(q, axis=-1), 1e-5
    )
    x = np.eye(5, dtype="float32")
    np.testing.assert_allclose(
        d.log_prob(x[:, None]), np.log(q).T, rtol=1e-4, atol=1e-6
    )
    peer = tfd.OneHotCategorical(LOGITS, dtype=tf.float32)
    np.testing.assert_allclose(
        d.log_prob(x[:4]), peer.log_prob(x[:4]), rtol=1e-5
    )


def test_forbidden_classes():
    logits = np.array([[0.5, -INF, 0.1], [-INF] * 3, [0.0, 1.0, np.nan]])
    d = make(logits.astype("float32"))
    z = d.sample(100, seed=(1, 2)).numpy()
    assert np.all(z[:, 0].sum(-1) == 1)
    assert np.all(z[:, 0, 1] == 0)
    assert np.all(z[:, 1] == 0)
    assert np.all(np.isnan(z[:, 2]))
    q = special.softmax([0.5, 0.1])
    log_prob = d.log_prob(np.eye(3)[:, None])
    np.testing.assert_allclose(
        log_prob[:, 0], [np.log(q[0]), -INF, np.log(q[1])], rtol=1e-5
    )
    assert np.all(np.isnan(log_prob[:, 2]))
    (found,) = gradient(d[0].log_prob, np.array([1.0, 0.0, 0.0], "float32"))
    np.testing.assert_allclose(found, np.insert(np.log(q), 1, 0), rtol=1e-5)
    # By probabilities: the same, and no NaN comes back from their logarithm.
    probs = np.array([[0.6, 0.0, 0.4]], "float32")
    of_probs = make(None, probs=probs)
    np.testing.assert_allclose(
        of_probs.log_prob(np.eye(3)),
        np.log(probs[0], where=probs[0] > 0, out=np.full(3, -INF, "float32")),
        rtol=1e-5,
    )

    def both(probs):
        d = make(None, probs=probs, estimator="st")
        z = d.sample(10, seed=(3, 4))
        return tf.reduce_sum(z * COST[0, :3]) + tf.reduce_sum(d.log_prob(z))

    (found,) = gradient(both, probs)
    assert np.all(np.isfinite(found))
    assert found[0, 1] == 0
    kl = tfd.kl_divergence(d, tfd.OneHotCategorical(np.zeros(3, "float32")))
    np.testing.assert_allclose(kl[:2], [np.log(3) + np.sum(q * np.log(q)), 0])


# Gradients.


@pytest.mark.parametrize(
    ("estimator", "temperature", "formula"),
    [
        ("reinmax", 1.3, reference.reinmax),
        *slow_rows(
            ("st", 1.0, reference.straight_through),
            ("st", 0.6, reference.straight_through),
            ("gapped_st", 0.8, reference.gapped),
        ),
    ],
)
def test_gradients_by_the_papers(estimator, temperature, formula):
    seed = (5, 6)
    options = {"temperature": temperature, "estimator": estimator}
    z = make(**options).sample(3, seed=seed).numpy()
    dy = np.random.default_rng(1).normal(size=z.shape)

    def weighted(logits):
        return make(logits, **options).sample(3, seed=seed) * dy

    (found,) = gradient(weighted, LOGITS)
    expected = sum(
        formula(LOGITS, one, temperature, d)
        for one, d in zip(z, dy, strict=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "estimator", ["gumbel_rao", *slow("st_gumbel", "reinmax")]
)
def test_a_key_draws_what_a_seed_draws(estimator):
    """The samples and the gradients are those of `gumbel_softmax`."""
    rule = kg.estimators.get(estimator)

    def ours(logits, temperature):
        key = tf.constant([7, 0], tf.int64)
        return one_hot_by_key(logits, temperature, rule, key) * COST

    def its(logits, temperature):
        return COST * kg.ops.gumbel_softmax(
            logits, temperature, hard=True, estimator=estimator, seed=7
        )

    temperature = np.full((4, 1), 0.7, "float32")
    np.testing.assert_array_equal(
        ours(LOGITS, temperature), its(LOGITS, temperature)
    )
    found = gradient(ours, LOGITS, temperature)
    expected = gradient(its, LOGITS, temperature)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.all(found[0] != 0)


def gradients_per_draw(sample, n=20_000):
    """Of a quadratic function, one gradient for each of n rows."""
    rows = np.tile(LOGITS[0], (n, 1))

    def quadratic(logits):
        z = sample(logits)
        return tf.reduce_sum(z * COST[0], -1) ** 2

    return gradient(quadratic, rows)[0].numpy()


def test_mean_gradient_is_that_of_the_op(seed):
    """By `st_gumbel`, whose gradient is of its own noise."""
    ours = gradients_per_draw(
        lambda x: make(x, temperature=0.7).sample(seed=(seed, 3))
    )
    its = gradients_per_draw(
        lambda x: kg.ops.gumbel_softmax(x, 0.7, hard=True, seed=seed)
    )
    p = statistics.mean_vector_p(ours - its, np.zeros(5))
    assert p > FALSE_FAIL_RATE
    warm = gradients_per_draw(
        lambda x: make(x, temperature=0.9).sample(seed=(seed, 3))
    )
    p = statistics.mean_vector_p(warm - its, np.zeros(5))
    assert p < FALSE_FAIL_RATE


def test_gradient_to_a_temperature_and_to_a_variable():
    temperature = tf.Variable(np.full(4, 0.7, "float32"))
    logits = keras.Variable(LOGITS)
    d = make(logits, temperature=temperature)
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(d.sample(6, seed=(1, 2)) * COST)
    to_logits, to_temperature = tape.gradient(y, [logits.value, temperature])
    assert to_temperature.shape == (4,)
    assert np.all(to_temperature != 0)
    assert np.all(np.abs(tf.reduce_sum(to_logits, -1)) < 1e-5)
    assert {v.ref() for v in d.trainable_variables} == {
        logits.value.ref(),
        temperature.ref(),
    }
    # Read when it is needed, and not when the distribution was made.
    logits.assign(LOGITS[::-1])
    np.testing.assert_allclose(
        d.probs_parameter(), special.softmax(LOGITS[::-1], -1), 1e-5
    )


def test_log_prob_is_linear_in_the_sample():
    d = make()
    x = special.softmax(COST, -1)
    log_q = special.log_softmax(LOGITS, -1)
    np.testing.assert_allclose(d.log_prob(x), np.sum(x * log_q, -1), 1e-5)
    (found,) = gradient(d.log_prob, x)
    np.testing.assert_allclose(found, log_q, rtol=1e-5, atol=1e-6)

    def of_logits(logits):
        return make(logits).log_prob(np.eye(5, dtype="float32")[:4])

    (found,) = gradient(of_logits, LOGITS)
    expected = np.eye(5)[:4] - special.softmax(LOGITS, -1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def elbo_gradients(prior, n=20_000):
    """Of log p(z) - log q(z), a sample each, q of `st` at temperature 1."""
    rows = np.tile(LOGITS[:2], (n, 1, 1))

    def elbo(logits):
        q = tfd.Independent(make(logits, estimator="st"), 1)
        z = q.sample(seed=(8, 9))
        return prior.log_prob(z) - q.log_prob(z)

    return gradient(elbo, rows)[0].numpy()


def test_elbo_by_samples_has_the_gradient_of_the_divergence():
    """Without bias by `st`, since both densities are linear in z."""
    gradients = elbo_gradients(tfd.Independent(make(PRIOR[:2]), 1))
    (exact,) = gradient(
        lambda x: -kg.losses.categorical_kl(x, PRIOR[:2]), LOGITS[:2]
    )
    p = statistics.mean_vector_p(gradients, exact)
    assert p > FALSE_FAIL_RATE
    # TFP's own has no gradient to z, and the prior's part is lost.
    theirs = tfd.OneHotCategorical(PRIOR[:2], dtype=tf.float32)
    gradients = elbo_gradients(tfd.Independent(theirs, 1))
    p = statistics.mean_vector_p(gradients, exact)
    assert p < FALSE_FAIL_RATE


@pytest.mark.slow
def test_elbo_of_a_joint_distribution():
    """A model whose log-density is quadratic in z: exact by `reinmax`."""
    weights, seen = COST[0], np.float32(0.4)
    model = tfd.JointDistributionSequential(
        [
            make(PRIOR[0], estimator="reinmax"),
            lambda z: tfd.Normal(tf.reduce_sum(z * weights, -1), 1.0),
        ]
    )

    def log_joint(logits):
        q = make(logits, estimator="reinmax")
        return model.log_prob([q.sample(seed=(1, 3)), seen])

    rows = np.tile(LOGITS[0], (20_000, 1))
    (gradients,) = gradient(log_joint, rows)
    log_p = special.log_softmax(PRIOR[0]) + stats.norm.logpdf(seen, weights)
    q = special.softmax(LOGITS[0])
    exact = q * (log_p - q @ log_p)
    assert statistics.mean_vector_p(gradients, exact) > FALSE_FAIL_RATE
    p = statistics.mean_vector_p(gradients, exact * 1.2)
    assert p < FALSE_FAIL_RATE
    z, x = model.sample(3, seed=(1, 2))
    assert model.log_prob([z, x]).shape == (3,)
    assert z.numpy().sum() == 3


# TFP's conventions.


def test_shapes_and_broadcasting():
    d = make(LOGITS[:, None], temperature=[0.5, 1.0, 2.0])
    assert (d.batch_shape, d.event_shape) == ((4, 3), (5,))
    for shape in ((2, 6), 7):
        z = d.sample(shape, seed=(1, 2))
        lead = (shape,) if isinstance(shape, int) else shape
        assert z.shape == (*lead, 4, 3, 5)
        assert np.all(z.numpy().sum(-1) == 1)
        assert d.log_prob(z).shape == (*lead, 4, 3)
    assert d.sample(0, seed=(1, 2)).shape == (0, 4, 3, 5)
    assert d.reparameterization_type == tfd.FULLY_REPARAMETERIZED
    # One temperature each.
    seed, options = (1, 2), {"estimator": "st"}

    def weighted(logits, temperature):
        d = make(logits, temperature=temperature, **options)
        return d.sample(seed=seed) * COST

    each = np.array([0.5, 1.0, 2.0, 4.0], "float32")
    found = gradient(weighted, LOGITS, each)[0]
    for row, temperature in enumerate(each):
        expected = reference.straight_through(
            LOGITS[row], None, temperature, COST[row]
        )
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_seeds():
    d = make(np.zeros((50, 5), "float32"))

    def draw(seed):
        return d.sample(seed=seed).numpy()

    np.testing.assert_array_equal(draw((1, 2)), draw((1, 2)))
    np.testing.assert_array_equal(draw((1, 2)), draw(tf.constant([1, 2])))
    for other in ((1, 3), (2, 2), (2, 1), (-1, 2)):
        assert np.any(draw((1, 2)) != draw(other))
    # An integer is a stream, with the global seed.
    for seed in (None, 4):
        tf.random.set_seed(1)
        first, second = draw(seed), draw(seed)
        assert np.any(first != second)
        tf.random.set_seed(1)
        np.testing.assert_array_equal(draw(seed), first)
        tf.random.set_seed(2)
        assert np.any(draw(seed) != first)
    # The pair is not the key of our own draws.
    ours = kg.ops.gumbel_softmax(np.zeros((50, 5), "float32"), seed=1)
    assert np.any(draw((1, 0)).argmax(-1) != ours.numpy().argmax(-1))


def test_copies_and_slices():
    d = make(temperature=[0.1, 0.2, 0.3, 0.4], estimator="reinmax", name="z")
    assert d.parameters["estimator"] == "reinmax"
    assert set(d.parameters) == {
        "logits",
        "probs",
        "temperature",
        "estimator",
        "dtype",
        "validate_args",
        "allow_nan_stats",
        "name",
    }
    for part, kept in ((d[1], 1), (d[1:3], slice(1, 3)), (d[..., -1], -1)):
        assert isinstance(part, StraightThroughOneHotCategorical)
        assert part.estimator == "reinmax"
        np.testing.assert_array_equal(part.logits, LOGITS[kept])
        np.testing.assert_array_equal(part.temperature, d.temperature[kept])
    other = d.copy(temperature=3.0, logits=PRIOR)
    assert (float(other.temperature), other.estimator) == (3.0, "reinmax")
    np.testing.assert_array_equal(other.logits, PRIOR)


@pytest.mark.parametrize("jit_compile", [True, *slow(False)])
def test_the_same_bits_when_compiled(jit_compile):
    eager = make().sample(2, seed=(1, 2))
    spec = tf.TensorSpec((None, 5), tf.float32)

    @tf.function(jit_compile=jit_compile, input_signature=[spec])
    def compiled(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            z = make(logits, temperature=0.5).sample(2, seed=(1, 2))
            loss = tf.reduce_sum(z * COST)
        return z, tape.gradient(loss, logits)

    z, found = compiled(LOGITS)
    np.testing.assert_array_equal(z, eager)
    (expected,) = gradient(
        lambda x: make(x, temperature=0.5).sample(2, seed=(1, 2)) * COST,
        LOGITS,
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_it_passes_in_and_out_of_a_function():
    rule = kg.estimators.GumbelRao(3)
    d = make(temperature=0.5, estimator=rule)

    @tf.function(autograph=False)
    def half(d, n):
        return d[:2], d.sample(n, seed=(1, 2))

    part, z = half(d, tf.constant(3))
    assert isinstance(part, StraightThroughOneHotCategorical)
    assert kg.estimators.get(part.estimator) == rule
    np.testing.assert_array_equal(part.logits, LOGITS[:2])
    np.testing.assert_array_equal(z, d.sample(3, seed=(1, 2)))


def test_dtypes():
    d = make(tf.constant(LOGITS, tf.float64), dtype=tf.float64)
    z = d.sample(2, seed=(1, 2))
    assert z.dtype == d.log_prob(z).dtype == "float64"
    np.testing.assert_allclose(d.entropy(), make().entropy(), rtol=1e-5)
    half = make(keras.ops.cast(LOGITS, "float16"), dtype="float16")
    z = half.sample(2, seed=(1, 2))
    assert z.dtype == half.log_prob(z).dtype == "float16"
    assert np.all(keras.ops.sum(z, -1) == 1)
    assert make().dtype == tf.float32
    assert make(LOGITS.tolist()).sample(seed=(1, 2)).shape == (4, 5)


def test_validate_args():
    with pytest.raises(tf.errors.InvalidArgumentError, match="sum to 1"):
        make(None, probs=[0.4, 0.4], validate_args=True)
    d = make(validate_args=True)
    assert np.all(np.isfinite(d.log_prob(d.sample(seed=(1, 2)))))
    with pytest.raises(tf.errors.InvalidArgumentError):
        d.log_prob(np.full((4, 5), 0.2, "float32"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"temperature": -1.0}, ValueError, "Received: temperature=-1.0"),
        ({"temperature": [1.0, 0.0]}, ValueError, "temperature=[1. 0.]"),
        ({"temperature": 1}, None, ""),
        ({"estimator": "best"}, ValueError, "estimator='best'"),
        ({"dtype": "int32"}, ValueError, "Received: dtype='int32'"),
        ({"probs": [0.5, 0.5]}, ValueError, "but not both"),
        ({"logits": None}, ValueError, "but not both"),
        ({"logits": tf.constant([1, 2])}, TypeError, "floating"),
    ],
)
def test_errors(arguments, error, message):
    arguments = {"logits": [0.0, 0.0], **arguments}
    if error is None:
        StraightThroughOneHotCategorical(**arguments)
        return
    with pytest.raises(error) as caught:
        StraightThroughOneHotCategorical(**arguments)
    assert message in str(caught.value)


def test_a_temperature_known_later_shows_in_the_gradient():
    temperature = tf.Variable(0.5)
    d = make(temperature=temperature)
    temperature.assign(-1.0)

    @tf.function(autograph=False)
    def step(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            z = make(logits, temperature=temperature).sample(seed=(1, 2))
            loss = tf.reduce_sum(z * COST)
        return z, tape.gradient(loss, logits)

    z, found = step(tf.constant(LOGITS))
    assert np.all(z.numpy().sum(-1) == 1)
    assert np.all(np.isnan(found))
    with pytest.raises(ValueError, match="temperature"):
        d.sample()


@pytest.mark.parametrize("dtype", ["bfloat16", *slow("float16")])
def test_many_samples_of_logits_in_half_precision(dtype):
    """The gradient is the sum over 5000 samples, each the same by `st`."""
    logits = tf.zeros((2,), dtype)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        d = kg.distributions.StraightThroughOneHotCategorical(
            logits, estimator="st", dtype=dtype
        )
        z = tf.cast(d.sample(5000, seed=(1, 2)), "float32")
        loss = tf.reduce_sum(z * [1.0, 0.0])
    found = tf.cast(tape.gradient(loss, logits), "float32")
    expected = tf.cast(tf.constant([1250.0, -1250.0], dtype), "float32")
    np.testing.assert_array_equal(found, expected)


def test_a_temperature_that_is_a_trainable_variable_is_learned():
    def gradient(tau, source):
        with tf.GradientTape() as tape:
            tape.watch(source)
            d = kg.distributions.StraightThroughOneHotCategorical(
                tf.constant([0.5, 0.0, -0.5]), temperature=tau
            )
            loss = tf.reduce_sum(d.sample(seed=(1, 2)) * [1.0, 2.0, 4.0])
        return tape.gradient(loss, source)

    constant, variable = tf.constant(0.7), keras.Variable(0.7)
    expected = gradient(constant, constant)
    assert expected != 0
    np.testing.assert_allclose(gradient(variable, variable.value), expected)
