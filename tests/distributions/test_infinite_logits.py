"""Laws at infinite logits: what is left of them, and finite gradients.

A forbidden class takes nothing from the law of the others, which TensorFlow
Probability has by itself: in float64 it is the oracle here, of value and
gradient. A certain gate is the limit of a large logit.
"""

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
from tests.variants import slow

pytestmark = pytest.mark.tensorflow
tfd = tfp.distributions
INF = np.inf
ROW = np.array([0.5, -INF, 0.1, -1.2])
LEFT = np.isfinite(ROW)
PRIOR = np.array([0.2, 0.7, -0.4, 0.3])
POINT = np.array([0.3, 0.0, 0.2, 0.5])
SCALE = 0.625  # a float32, as the live one is


def gradients(function, law, *numbers):
    """The value of function(law(*numbers)), and its gradients."""
    numbers = [tf.constant(np.asarray(x)) for x in numbers]
    with tf.GradientTape() as tape:
        tape.watch(numbers)
        value = function(law(*numbers))
    none = tf.UnconnectedGradients.ZERO
    return value, *tape.gradient(value, numbers, unconnected_gradients=none)


def of(layer, make=from_layer, **options):
    """A law of such a layer, from logits and temperature."""

    def law(logits, temperature):
        return make(made, logits, temperature=temperature)

    made = layer(noise_scale=SCALE, **options)
    return law


ONE_HOT = of(kg.GumbelSoftmax, hard=True)
INDEX = of(kg.SampleArgmaxIndex, hard=True)
RELAXED = of(kg.GumbelSoftmax)
LOG_RELAXED = of(kg.GumbelSoftmax, log_from_layer)


def logs(x):
    with np.errstate(divide="ignore"):
        return np.log(x)


def peer(family, **options):
    """TensorFlow Probability's, of the unit noise that `of` is about."""

    def law(logits, temperature):
        return family(temperature / SCALE, logits / SCALE, **options)

    return law


def one_hot_peer(temperature, logits):
    del temperature
    return tfd.OneHotCategorical(logits, dtype=tf.float64)


# What is asked of both laws: of all classes, and of those that are left.
OF_CLASSES = {
    "log_prob": lambda d, left: d.log_prob(np.eye(4)[2][left]),
    "prob": lambda d, left: d.prob(np.eye(4)[2][left]),
    "entropy": lambda d, left: d.entropy(),
    "mean": lambda d, left: tf.reduce_sum(d.mean() * PRIOR[left]),
    "variance": lambda d, left: tf.reduce_sum(d.variance() * PRIOR[left]),
    "stddev": lambda d, left: tf.reduce_sum(d.stddev() * PRIOR[left]),
    "covariance": lambda d, left: tf.reduce_sum(
        d.covariance() * np.outer(PRIOR[left], PRIOR[left])
    ),
    "kl": lambda d, left: d.kl_divergence(prior_of(left)),
    "kl from": lambda d, left: prior_of(left).kl_divergence(d),
    "cross_entropy": lambda d, left: d.cross_entropy(prior_of(left)),
    "kl to itself": lambda d, left: d.kl_divergence(d),
    "its own cross_entropy": lambda d, left: d.cross_entropy(d),
}


def prior_of(left):
    """With the same classes forbidden."""
    masked = np.where(LEFT, PRIOR, -INF)
    return kg.distributions.StraightThroughOneHotCategorical(
        tf.constant(masked[left]), dtype="float64"
    )


def agree(ours, theirs):
    """Value and gradients, those of forbidden classes being 0."""
    value, d_logits, d_temperature = ours
    expected, d_left, d_other = theirs
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)
    assert np.all(d_logits.numpy()[~LEFT] == 0)
    np.testing.assert_allclose(
        d_logits.numpy()[LEFT], d_left, rtol=1e-8, atol=1e-12
    )
    np.testing.assert_allclose(d_temperature, d_other, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_one_hots_of_the_classes_that_are_left(name):
    everything = np.ones(4, bool)
    ours = gradients(
        lambda d: OF_CLASSES[name](d, everything), ONE_HOT, ROW, 0.7
    )
    theirs = gradients(
        lambda d: OF_CLASSES[name](d, LEFT), peer(one_hot_peer), ROW[LEFT], 0.7
    )
    agree(ours, theirs)


@pytest.mark.parametrize("temperature", [0.4, *slow(1.0, 2.5)])
@pytest.mark.parametrize("name", ["point", "logarithm", "sample"])
def test_relaxed_densities_are_those_of_the_face(temperature, name):
    logarithm = name == "logarithm"
    x = logs(POINT) if logarithm else POINT
    law = LOG_RELAXED if logarithm else RELAXED
    family = (
        tfd.ExpRelaxedOneHotCategorical
        if logarithm
        else tfd.RelaxedOneHotCategorical
    )
    if name == "sample":
        # Of its own, which is on the face too.
        x = law(ROW, temperature).sample(seed=(3, 4)).numpy()
        assert x[1] == 0
    ours = gradients(lambda d: d.log_prob(x), law, ROW, temperature)
    theirs = gradients(
        lambda d: d.log_prob(x[LEFT]), peer(family), ROW[LEFT], temperature
    )
    agree(ours, theirs)
    here = ROW[LEFT] / SCALE, temperature / SCALE
    exact = (
        concrete.log_density(x[LEFT], *here)
        if logarithm
        else np.log(concrete.density(x[LEFT], *here))
    )
    assert float(ours[0]) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("law", [RELAXED, LOG_RELAXED], ids=["z", "log z"])
def test_off_the_face_the_density_is_zero(law):
    x = np.array([0.3, 0.01, 0.2, 0.49])
    x = logs(x) if law is LOG_RELAXED else x
    value, *found = gradients(lambda d: d.log_prob(x), law, ROW, 0.7)
    assert value == -INF
    assert all(np.all(np.isfinite(one)) for one in found)


def test_one_class_that_is_left_is_certain():
    row = np.array([-INF, 0.3, -INF])
    vertex = np.array([0.0, 1.0, 0.0])
    for law, x in ((RELAXED, vertex), (LOG_RELAXED, logs(vertex))):
        value, *found = gradients(lambda d, x=x: d.log_prob(x), law, row, 0.7)
        assert value == 0
        assert all(np.all(one == 0) for one in found)


def test_an_entry_that_underflowed_has_no_place_in_the_logarithm():
    x = logs([0.4, 0.0, 0.0, 0.6])
    value, *found = gradients(lambda d: d.log_prob(x), LOG_RELAXED, ROW, 0.7)
    assert value == -INF
    assert all(np.all(np.isfinite(one)) for one in found)


def test_the_density_on_the_face_integrates_to_one():
    layer = kg.GumbelSoftmax(0.8, noise_scale=SCALE)

    def density(x):
        return from_layer(layer, ROW).prob(x).numpy()

    nodes, weights = np.polynomial.legendre.leggauss(60)
    nodes, weights = (nodes + 1) / 2, weights / 2
    first, share = np.meshgrid(nodes, nodes, indexing="ij")
    rest = 1 - first
    x = np.stack([first, 0 * first, rest * share, rest * (1 - share)], -1)
    total = weights @ (density(x) * rest) @ weights
    assert total == pytest.approx(1, abs=2e-3)
    # Of two classes that are left, on a line, by its log-odds.
    u = np.linspace(-60, 60, 4001)
    x = special.expit(np.stack([u, np.full_like(u, -INF), -u], -1))
    law = from_layer(layer, np.array([0.5, -INF, 0.1]))
    slope = law.prob(x).numpy() * x[:, 0] * x[:, 2]
    assert slope.sum() * (u[1] - u[0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("by_mask", [True, *slow(False)])
def test_it_is_the_law_of_the_layers_samples(by_mask):
    """Two of three classes: the whole law, by the CDF of the density."""
    layer = kg.GumbelSoftmax(0.8, noise_scale=SCALE, seed=1)
    logits = np.array([0.4, 2.0, -0.3], "float32")
    mask = np.array([True, False, True])
    if not by_mask:
        logits, mask = np.where(mask, logits, -INF).astype("float32"), None
    rows = np.tile(logits, (100_000, 1))
    y = keras.ops.convert_to_numpy(layer(rows, class_mask=mask, training=True))
    assert np.all(y[:, 1] == 0)
    law = from_layer(layer, logits, class_mask=mask)
    assert np.all(np.isfinite(law.log_prob(y)))

    def p(left, temperature):
        cdf = concrete.cdf_of_two(left, temperature)
        return statistics.ks_p(np.clip(y[:, 0], 1e-30, 1 - 1e-7), cdf)

    left = law.logits.numpy().astype("float64")[[0, 2]]
    assert p(left, float(law.temperature.numpy())) > FALSE_FAIL_RATE
    assert p(left * 1.2, float(law.temperature.numpy())) < FALSE_FAIL_RATE
    own = law.sample(100_000, seed=(1, 2)).numpy()
    assert np.all(own[:, 1] == 0)
    cdf = concrete.cdf_of_two(left, float(law.temperature.numpy()))
    own = np.clip(own[:, 0].astype("float64"), 1e-30, 1 - 1e-7)
    assert statistics.ks_p(own, cdf) > FALSE_FAIL_RATE


def test_a_relaxed_sample_has_a_gradient_to_the_classes_that_are_left():
    for law in (RELAXED, LOG_RELAXED):
        _, d_logits, d_temperature = gradients(
            lambda d: d.sample(seed=(1, 2))[0], law, ROW, 0.7
        )
        assert d_logits[1] == 0
        assert np.all(d_logits.numpy()[LEFT] != 0)
        assert np.isfinite(d_temperature)
    law = RELAXED(tf.constant(ROW), tf.constant(0.7, tf.float64))
    y, log_prob = law.experimental_sample_and_log_prob(5, seed=(1, 2))
    np.testing.assert_allclose(law.log_prob(y), log_prob, rtol=1e-6)


# Index and its numbers, by enumeration.


def numbers():
    q = special.softmax(ROW / SCALE)
    k = np.arange(4)
    mean = q @ k
    return q, mean, q @ (k - mean) ** 2


INDICES = {
    "log_prob": (
        lambda d: d.log_prob([0.0, 2.0, 3.0]),
        lambda q: np.log(q[LEFT]),
    ),
    "prob": (
        lambda d: d.prob([0.0, 1.0, 3.0, 4.0]),
        lambda q: [q[0], 0, q[3], 0],
    ),
    "cdf": (
        lambda d: d.cdf([-1.0, 0.5, 1.0, 3.0]),
        lambda q: [0, q[0], q[0], 1],
    ),
    "log_cdf": (
        lambda d: d.log_cdf([0.0, 2.0, 3.0]),
        lambda q: np.log(np.cumsum(q)[LEFT]),
    ),
    "survival": (
        lambda d: d.survival_function([-1.0, 1.0, 3.0]),
        lambda q: [1, q[2] + q[3], 0],
    ),
    "log_survival": (
        lambda d: d.log_survival_function([1.0, 2.0]),
        lambda q: np.log([q[2] + q[3], q[3]]),
    ),
    "entropy": (lambda d: d.entropy(), lambda q: stats.entropy(q)),
    "mean": (lambda d: d.mean(), lambda q: numbers()[1]),
    "variance": (lambda d: d.variance(), lambda q: numbers()[2]),
    "stddev": (lambda d: d.stddev(), lambda q: np.sqrt(numbers()[2])),
    "kl": (
        lambda d: d.kl_divergence(tfd.Categorical(tf.constant(PRIOR))),
        lambda q: stats.entropy(q, special.softmax(PRIOR)),
    ),
    "kl from": (
        lambda d: tfd.Categorical(
            tf.constant(np.where(LEFT, PRIOR, -INF))
        ).kl_divergence(d),
        lambda q: stats.entropy(
            special.softmax(np.where(LEFT, PRIOR, -INF))[LEFT], q[LEFT]
        ),
    ),
    "cross_entropy": (
        lambda d: d.cross_entropy(tfd.Categorical(tf.constant(PRIOR))),
        lambda q: -q @ special.log_softmax(PRIOR),
    ),
}


@pytest.mark.parametrize("name", INDICES)
def test_indices_by_enumeration(name):
    ask, expected = INDICES[name]
    value, *found = gradients(ask, INDEX, ROW, 0.7)
    np.testing.assert_allclose(
        value, expected(numbers()[0]), rtol=1e-9, atol=1e-15
    )
    assert found[0][1] == 0
    for step in (0, 2, 3):
        e = 1e-6 * np.eye(4)[step]
        up, down = (ask(INDEX(ROW + sign * e, 0.7)) for sign in (1, -1))
        slope = np.sum(up - down) / 2e-6
        assert float(found[0][step]) == pytest.approx(slope, abs=1e-7)


def test_what_is_never_drawn_has_minus_infinity_and_a_finite_gradient():
    for ask in (
        lambda d: d.log_prob(1.0),
        lambda d: d.log_prob(9.0),
        lambda d: d.log_cdf(-1.0),
        lambda d: d.log_survival_function(3.0),
    ):
        value, *found = gradients(ask, INDEX, ROW, 0.7)
        assert value == -INF
        assert all(np.all(np.isfinite(one)) for one in found)
    value, *found = gradients(
        lambda d: d.log_prob(np.eye(4)[1]), ONE_HOT, ROW, 0.7
    )
    assert value == -INF
    assert all(np.all(np.isfinite(one)) for one in found)


EMPTY = np.full(4, -INF)


def test_a_row_with_no_class_is_the_point_that_the_layer_gives():
    nothing = np.zeros(4)
    for law, x, other in (
        (ONE_HOT, nothing, np.eye(4)[0]),
        (INDEX, 0.0, 1.0),
        (RELAXED, nothing, POINT),
        (LOG_RELAXED, EMPTY, logs(POINT)),
    ):
        d = law(EMPTY, 0.7)
        np.testing.assert_array_equal(d.sample(seed=(1, 2)), x)
        asked = {"log_prob": lambda d, x=x: d.log_prob(x)}
        if law in (ONE_HOT, INDEX):
            np.testing.assert_array_equal(d.mode(), x)
            asked |= {
                name: lambda d, name=name: getattr(d, name)()
                for name in ("mean", "variance", "stddev", "entropy")
            }
        for ask in asked.values():
            value, *found = gradients(ask, law, EMPTY, 0.7)
            np.testing.assert_array_equal(value, np.zeros_like(value))
            assert all(np.all(one == 0) for one in found)
        assert d.log_prob(other) == -INF


# Gates.

STATES = np.array([-INF, 0.3, INF])
LARGE = np.array([-300.0, 0.3, 300.0])


def bernoulli_peer(temperature, logits):
    del temperature
    return tfd.Bernoulli(logits, dtype=tf.float64)


GATE = of(kg.GumbelSigmoid, hard=True)
RELAXED_GATE = of(kg.GumbelSigmoid)
LOG_GATE = of(kg.GumbelSigmoid, log_from_layer)
OTHER = tfd.Bernoulli(tf.constant(0.4, tf.float64))
OF_GATES = {
    "log_prob of its state": lambda d: d.log_prob([0.0, 1.0, 1.0]),
    "prob": lambda d: d.prob([1.0, 1.0, 1.0]),
    "cdf": lambda d: d.cdf([0.0, 0.0, 0.0]),
    "survival": lambda d: d.survival_function([0.0, 0.0, 0.0]),
    "log_cdf": lambda d: d.log_cdf([0.0, 0.0, 1.0]),
    "entropy": lambda d: d.entropy(),
    "mean": lambda d: d.mean(),
    "variance": lambda d: d.variance(),
    "stddev": lambda d: d.stddev(),
    "kl": lambda d: d.kl_divergence(OTHER),
    "cross_entropy": lambda d: d.cross_entropy(OTHER),
    "kl to itself": lambda d: d.kl_divergence(d),
    "its own cross_entropy": lambda d: d.cross_entropy(d),
}


@pytest.mark.parametrize("name", OF_GATES)
def test_hard_gates_are_the_limit_of_large_logits(name):
    ask = OF_GATES[name]
    value, d_logits, _ = gradients(ask, GATE, STATES, 0.7)
    expected = ask(peer(bernoulli_peer)(tf.constant(LARGE), 0.7))
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-100)
    _, d_middle, _ = gradients(ask, peer(bernoulli_peer), LARGE, 0.7)
    np.testing.assert_allclose(
        d_logits, [0, d_middle[1], 0], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda d: d.log_prob([1.0, 1.0, 0.0]), [-INF, None, -INF]),
        (lambda d: d.log_cdf([-1.0, 0.0, 0.0]), [-INF, None, -INF]),
        (lambda d: d.log_survival_function([0.0] * 3), [-INF, None, 0]),
        (lambda d: OTHER.kl_divergence(d), [INF, None, INF]),
    ],
)
def test_hard_gates_where_they_never_are(ask, expected):
    value, *found = gradients(ask, GATE, STATES, 0.7)
    np.testing.assert_array_equal(
        value.numpy()[[0, 2]], np.take(expected, [0, 2])
    )
    assert all(np.all(np.isfinite(one)) for one in found)


@pytest.mark.parametrize(
    ("law", "points"),
    [
        (RELAXED_GATE, (0.0, 0.3, 1.0)),
        (LOG_GATE, (-INF, -0.8, INF)),
    ],
    ids=["z", "log-odds"],
)
def test_relaxed_gates_that_are_certain(law, points):
    """At their state 0, that is 1, and elsewhere -inf, that is 0."""
    low, middle, high = points
    asked = [
        (lambda d: d.log_prob(low), [0, -INF]),
        (lambda d: d.log_prob(middle), [-INF, -INF]),
        (lambda d: d.log_prob(high), [-INF, 0]),
        (lambda d: d.log_cdf(middle), [0, -INF]),
        (lambda d: d.cdf(middle), [1, 0]),
        (lambda d: d.log_survival_function(middle), [-INF, 0]),
        (lambda d: d.survival_function(middle), [0, 1]),
        (lambda d: d.log_prob(d.sample(seed=(1, 2))), [0, 0]),
        (lambda d: d.sample(seed=(1, 2)), [low, high]),
    ]
    if law is LOG_GATE:
        asked += [
            (lambda d: d.mean(), [low, high]),
            (lambda d: d.mode(), [low, high]),
            (lambda d: d.quantile(0.3), [low, high]),
            (lambda d: d.stddev(), [0, 0]),
            (lambda d: d.variance(), [0, 0]),
            (lambda d: d.entropy(), [0, 0]),
        ]
    certain = STATES[[0, 2]]
    for ask, expected in asked:
        value, *found = gradients(ask, law, certain, 0.7)
        np.testing.assert_array_equal(value, expected)
        assert all(np.all(one == 0) for one in found)


def test_a_gate_beside_certain_ones_is_itself():
    for law, peer_law, x in (
        (RELAXED_GATE, peer(tfd.RelaxedBernoulli), 0.3),
        (
            LOG_GATE,
            lambda x, t: tfd.Logistic(x / t, SCALE / t),
            -0.8,
        ),
    ):
        for name in (
            "log_prob",
            "prob",
            "cdf",
            "log_cdf",
            "survival_function",
            "log_survival_function",
        ):
            middle = np.array([0.3])
            value, d_logits, d_temperature = gradients(
                lambda d, name=name, x=x: getattr(d, name)(x)[1],
                law,
                STATES,
                0.7,
            )
            expected = gradients(
                lambda d, name=name, x=x: getattr(d, name)(x)[0],
                peer_law,
                middle,
                0.7,
            )
            np.testing.assert_allclose(value, expected[0], rtol=1e-9)
            np.testing.assert_allclose(
                d_logits, [0, expected[1][0], 0], rtol=1e-9
            )
            np.testing.assert_allclose(d_temperature, expected[2], rtol=1e-9)


def test_a_mask_shuts_a_gate():
    layer = kg.GumbelSigmoid(hard=True)
    d = from_layer(layer, np.zeros(2), class_mask=np.array([True, False]))
    np.testing.assert_array_equal(d.mean(), [0.5, 0])
    soft = kg.GumbelSigmoid()
    d = log_from_layer(soft, np.zeros(2), class_mask=np.array([True, False]))
    assert d.sample(seed=(1, 2))[1] == -INF


# Large logits, whose probabilities underflow.


@pytest.mark.parametrize("law", [ONE_HOT, INDEX], ids=["one-hot", "index"])
@pytest.mark.parametrize(
    "name", ["entropy", "stddev", *slow("mean", "variance", "log_prob")]
)
def test_classes_that_underflow(law, name):
    row = np.array([1000.0, 0.0, -INF, 999.9], "float32")

    def ask(d):
        if name != "log_prob":
            return getattr(d, name)()
        return d.log_prob(1.0 if law is INDEX else np.eye(4)[1])

    value, *found = gradients(ask, law, row, np.float32(0.7))
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(one)) for one in found)


@pytest.mark.parametrize("name", ["entropy", "stddev", "log_cdf", "kl"])
def test_gates_that_underflow(name):
    ask = {
        "log_cdf": lambda d: d.log_cdf(0.0),
        "kl": lambda d: d.kl_divergence(tfd.Bernoulli(0.4)),
    }.get(name, lambda d: getattr(d, name)())
    logits = np.array([-1000.0, 0.3, 1000.0], "float32")
    value, *found = gradients(ask, GATE, logits, np.float32(0.7))
    assert np.all(np.isfinite(value))
    assert all(np.all(np.isfinite(one)) for one in found)


# In programs, and what is public.


def test_a_probability_of_zero():
    """Of `probs`, with a gradient to those that are not 0."""
    probs = tf.constant([0.25, 0.0, 0.75])
    with tf.GradientTape() as tape:
        tape.watch(probs)
        d = kg.distributions.StraightThroughOneHotCategorical(probs=probs)
        entropy = d.entropy() + d.cross_entropy(d)
    assert float(entropy) == pytest.approx(2 * stats.entropy([0.25, 0.75]))
    gradient = tape.gradient(entropy, probs).numpy()
    assert np.all(np.isfinite(gradient))
    assert gradient[1] == 0


@pytest.mark.parametrize(
    "law", [LOG_RELAXED, *slow(RELAXED, RELAXED_GATE, LOG_GATE)]
)
def test_in_a_compiled_function(law):
    logits = ROW if law in (RELAXED, LOG_RELAXED) else STATES

    @tf.function(jit_compile=True)
    def step(logits, temperature):
        with tf.GradientTape() as tape:
            tape.watch([logits, temperature])
            d = law(logits, temperature)
            log_prob = d.log_prob(d.sample(seed=(1, 2)))
        return log_prob, tape.gradient(log_prob, [logits, temperature])

    log_prob, found = step(tf.constant(logits), tf.constant(0.7, tf.float64))
    assert np.all(np.isfinite(log_prob))
    assert all(np.all(np.isfinite(one)) for one in found)


def test_slices_copies_and_batches_keep_their_law():
    rows = np.stack([ROW, np.zeros(4)])
    x = np.stack([POINT, [0.1, 0.2, 0.3, 0.4]])
    layer = kg.GumbelSoftmax(0.7)
    d = from_layer(layer, rows)
    whole = d.log_prob(x).numpy()
    assert np.all(np.isfinite(whole))
    for one in (d.copy(), tfd.Independent(d, 0)):
        np.testing.assert_array_equal(one.log_prob(x), whole)
    np.testing.assert_allclose(d[0].log_prob(x[0]), whole[0])
    many = d.sample((3, 2), seed=(1, 2))
    assert d.log_prob(many).shape == (3, 2, 2)
    assert np.all(np.isfinite(d.log_prob(many)))
