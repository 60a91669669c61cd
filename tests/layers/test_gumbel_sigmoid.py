"""`GumbelSigmoid`: inference, temperature, probabilities, errors."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests import reference
from tests.conformance.registry import as_array

LOGITS = np.random.default_rng(5).normal(size=(6, 4)).astype("float32")
LOGITS[0] = [0.0, np.inf, -np.inf, -0.0]


def gradient_of(function, x):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(function(x) * tf.range(1.0, 5.0))
    return as_array(tape.gradient(loss, x))


@pytest.mark.parametrize("training", [False, None])
@pytest.mark.parametrize(
    ("hard", "inference", "mode"),
    [
        (False, None, "sigmoid"),
        (True, None, "argmax"),
        (True, "sigmoid", "sigmoid"),
        (False, "argmax", "argmax"),
    ],
)
def test_no_noise_at_inference(hard, inference, mode, training):
    """The likelier state, 0 at even odds; or the sigmoid."""
    layer = kg.GumbelSigmoid(0.5, hard=hard, inference=inference)
    assert layer.resolved_inference == mode
    y = as_array(layer(LOGITS, training=training))
    if mode == "argmax":
        np.testing.assert_array_equal(y, LOGITS > 0)
    else:
        expected = reference.sigmoid(LOGITS / 0.5)
        np.testing.assert_allclose(y, expected, rtol=1e-6)
    # No draw was made.
    assert as_array(layer.seed_generator.state)[1] == 0


@pytest.mark.parametrize("inference", ["argmax", "sigmoid"])
def test_gradient_at_inference_is_that_of_the_sigmoid(inference):
    """At logits of 0 too, with which a network often begins."""
    layer = kg.GumbelSigmoid(0.5, inference=inference)
    expected, _ = reference.sigmoid_vjp(
        np.where(np.isinf(LOGITS), 0, LOGITS), 0.5, np.arange(1.0, 5.0)
    )
    expected[np.isinf(LOGITS)] = 0
    np.testing.assert_allclose(gradient_of(layer, LOGITS), expected, rtol=1e-5)


@pytest.mark.parametrize("inference", ["argmax", "sigmoid"])
def test_gradient_at_inference_to_the_temperature(inference):
    """Of certain and shut gates there is none, and no NaN."""
    layer = kg.GumbelSigmoid(inference=inference)
    mask = np.ones(4, bool)
    mask[3] = False
    tau = tf.constant(0.5)
    with tf.GradientTape() as tape:
        tape.watch(tau)
        y = layer(LOGITS, class_mask=mask, temperature=tau)
        loss = tf.reduce_sum(y)
    live = LOGITS[:, :3][np.isfinite(LOGITS[:, :3])]
    _, parts = reference.sigmoid_vjp(live, 0.5, 1.0)
    found = tape.gradient(loss, tau)
    np.testing.assert_allclose(found, parts.sum(), rtol=1e-5)


@pytest.mark.parametrize("inference", ["argmax", "sigmoid", "sample"])
@pytest.mark.parametrize("from_logits", [True, False])
def test_nan_shows_and_masks_hold(inference, from_logits):
    logits = LOGITS.copy() if from_logits else reference.sigmoid(LOGITS)
    logits[2, :2] = np.nan
    mask = np.ones_like(logits, bool)
    mask[2, 1] = mask[3] = False
    layer = kg.GumbelSigmoid(inference=inference, from_logits=from_logits)
    y = as_array(layer(logits, class_mask=mask))
    assert np.isnan(y[2, 0])
    assert np.isfinite(y).sum() == y.size - 1
    assert np.all(y[~mask] == 0)


@pytest.mark.parametrize("hard", [False, True])
def test_samples_are_those_of_the_function(hard):
    """In training, with the layer's settings, and with `inference="sample"`."""
    options = {"hard": hard, "estimator": "reinmax", "noise_scale": 0.5}
    layer = kg.GumbelSigmoid(0.5, seed=3, inference="sample", **options)
    generator = keras.random.SeedGenerator(3)
    for training in (True, False):
        y = layer(LOGITS, training=training)
        expected = kg.ops.gumbel_sigmoid(LOGITS, 0.5, seed=generator, **options)
        np.testing.assert_array_equal(as_array(y), as_array(expected))
    by_layer = gradient_of(
        lambda x: kg.GumbelSigmoid(0.5, seed=3, **options)(x, training=True),
        LOGITS,
    )
    by_function = gradient_of(
        lambda x: kg.ops.gumbel_sigmoid(x, 0.5, seed=3, **options), LOGITS
    )
    np.testing.assert_array_equal(by_layer, by_function)


def test_a_call_brings_its_temperature():
    """One for each gate, if it likes."""
    tau = np.linspace(0.1, 5, 24).reshape(LOGITS.shape).astype("float32")
    layer = kg.GumbelSigmoid(1.0, seed=3)
    y = as_array(layer(LOGITS, temperature=tau))
    np.testing.assert_allclose(y, reference.sigmoid(LOGITS / tau), rtol=1e-5)
    y = as_array(layer(LOGITS, temperature=tau, training=True))
    expected = kg.ops.gumbel_sigmoid(LOGITS, tau, seed=3)
    np.testing.assert_allclose(y, as_array(expected), atol=1e-6)


class TestProbabilities:
    PROBS = np.array([[0.2, 0.0, 1.0, 0.9999999], [0.5, 1e-30, 0.75, 1e-3]])

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("hard", [True, False])
    def test_are_the_logits_of_their_odds(self, hard, training):
        """0 is impossible and 1 certain, and the digits of 1 - p count."""
        probs = self.PROBS.astype("float32")
        wide = probs.astype("float64")
        with np.errstate(divide="ignore"):
            logits = (np.log(wide) - np.log1p(-wide)).astype("float32")
        y, expected = (
            as_array(layer(x, training=training))
            for layer, x in [
                (kg.GumbelSigmoid(hard=hard, from_logits=False, seed=3), probs),
                (kg.GumbelSigmoid(hard=hard, seed=3), logits),
            ]
        )
        np.testing.assert_allclose(y, expected, atol=1e-6)
        assert y[0, 1:3].tolist() == [0, 1]

    @pytest.mark.parametrize("training", [True, False])
    def test_gradient(self, training):
        """That of the logits by p (1 - p); none at 0 and 1."""
        layer = kg.GumbelSigmoid(hard=True, from_logits=False, seed=3)
        probs = self.PROBS[1:]
        found = gradient_of(
            lambda x: layer(x, training=training), probs.astype("float32")
        )
        logits = np.log(probs) - np.log1p(-probs)
        layer = kg.GumbelSigmoid(hard=True, seed=3)
        expected = gradient_of(
            lambda x: layer(x, training=training), logits.astype("float32")
        )
        expected /= probs * (1 - probs)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    @pytest.mark.parametrize("training", [True, False])
    def test_at_the_ends_there_is_no_gradient(self, training):
        layer = kg.GumbelSigmoid(from_logits=False, seed=3)
        probs = np.array([[0.0, 1.0, 0.0, 1.0]], "float32")
        found = gradient_of(lambda x: layer(x, training=training), probs)
        np.testing.assert_array_equal(found, 0)

    @pytest.mark.parametrize("training", [True, False])
    def test_out_of_range_show(self, training):
        layer = kg.GumbelSigmoid(from_logits=False, hard=True, seed=3)
        probs = np.array([[-0.1, 1.1, 0.5, 0.0]], "float32")
        y = as_array(layer(probs, training=training))
        assert np.isnan(y[0]).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "estimator",
    ["gapped_st", kg.estimators.GumbelRao(3, backward_temperature=0.5)],
    ids=str,
)
def test_an_estimator_comes_back_from_a_file(estimator, tmp_path):
    layer = kg.GumbelSigmoid(hard=True, estimator=estimator, seed=3)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.save(tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras")
    assert found.layers[0].estimator == layer.estimator
    gradients = [
        gradient_of(lambda x, m=m: m(x, training=True), LOGITS)
        for m in (model, found)
    ]
    np.testing.assert_array_equal(*gradients)


def test_a_schedule_is_followed():
    schedule = keras.optimizers.schedules.ExponentialDecay(4.0, 1, 0.5)
    layer = kg.GumbelSigmoid(schedule, noise_scale=0.0)
    for step in range(3):
        y = as_array(layer(LOGITS, training=True))
        expected = reference.sigmoid(LOGITS / (4.0 * 0.5**step))
        np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_gates_learn_which_to_open():
    """Each costs 0.3 to open; two of them bring 1."""
    layer = kg.GumbelSigmoid(0.5, hard=True, estimator="reinmax", seed=3)
    logits = tf.Variable(tf.zeros((1, 4)))
    value = tf.constant([1.0, 0.0, 1.0, 0.0])
    optimizer = keras.optimizers.Adam(0.1)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            z = layer(tf.tile(logits.value(), (64, 1)), training=True)
            loss = tf.reduce_mean(tf.reduce_sum(z * (0.3 - value), 1))
        optimizer.apply([tape.gradient(loss, logits)], [logits])

    for _ in range(60):
        step()
    np.testing.assert_array_equal(as_array(layer(logits)), [[1, 0, 1, 0]])


# ---------------------------------------------------------------------------
# Errors.
# ---------------------------------------------------------------------------

BAD = [
    (
        {"temperature": 0.0},
        ValueError,
        "positive and finite",
        "temperature=0.0",
    ),
    ({"temperature": "1"}, TypeError, "positive number", "temperature='1'"),
    (
        {"temperature": np.ones((4, 6), "float32")},
        ValueError,
        "broadcast to the logits",
        "temperature of shape (4, 6), logits of shape (6, 4)",
    ),
    (
        {"class_mask": np.ones(4)},
        TypeError,
        "must be bool",
        "class_mask of dtype float64",
    ),
    (
        {"class_mask": np.ones(5, bool)},
        ValueError,
        "broadcast to the logits",
        "class_mask of shape (5,), logits of shape (6, 4)",
    ),
    ({"seed": -1}, ValueError, "at least 0", "seed=-1"),
    ({"noise_scale": -1.0}, ValueError, "not negative", "noise_scale=-1.0"),
    ({"estimator": "st2"}, ValueError, "must be one of", "estimator='st2'"),
    (
        {"logits": np.ones((6, 4), "int32")},
        TypeError,
        "float tensor",
        "logits of dtype int32",
    ),
    (
        {"logits": keras.Input((4,))},
        TypeError,
        "There call the layer",
        "logits=<KerasTensor",
    ),
]


@pytest.mark.parametrize(
    ("bad", "exception", "expectation", "received"),
    BAD,
    ids=[f"{next(iter(row[0]))}-{row[3][:20]}" for row in BAD],
)
def test_messages(bad, exception, expectation, received):
    """Of the function; and of the layer, made or called with it."""

    def function():
        kg.ops.gumbel_sigmoid(**{"logits": LOGITS, "hard": True, **bad})

    def layer(training):
        called = ("temperature", "class_mask", "logits")
        call = {name: bad[name] for name in bad if name in called}
        made = {name: bad[name] for name in bad if name not in called}
        kg.GumbelSigmoid(hard=True, **made)(
            **{"logits": LOGITS, "training": training, **call}
        )

    calls = [function]
    if not isinstance(bad.get("logits"), keras.KerasTensor):
        calls += [lambda: layer(True), lambda: layer(False)]
    for call in calls:
        with pytest.raises(exception, match=expectation) as error:
            call()
        message = str(error.value)
        assert f"`{next(iter(bad))}`" in message or "KerasTensor" in message
        assert re.search(r"Received: .*" + re.escape(received), message), (
            message
        )


def test_inference_modes():
    message = (
        r"`inference` .*'argmax', 'sigmoid'.*Received: inference='softmax'"
    )
    with pytest.raises(ValueError, match=message):
        kg.GumbelSigmoid(inference="softmax")
