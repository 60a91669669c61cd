"""A temperature that is a trainable variable is learned, in every layer."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import (
    LAYERS,
    TRAINED,
    as_array,
    covering,
    each_layer,
    each_of,
)
from tests.frameworks import tf
from tests.harness import grad, grad_to, in_mode, to_numpy

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

# No number of half precision.
TAU = 0.7003


@keras.saving.register_keras_serializable(package="test")
class Tempered(keras.layers.Layer):
    """A layer that is called at a temperature of this one's own."""

    def __init__(self, choice, of_each=False, by_place=False, **kwargs):
        super().__init__(**kwargs)
        self.choice = choice
        self.of_each, self.by_place = of_each, by_place
        self.tau = self.add_weight(
            name="tau", shape=(), initializer=keras.initializers.Constant(TAU)
        )

    def build(self, shape):
        self.choice.build(shape)
        self.built = True

    def call(self, x, training=None):
        tau = self.tau
        if self.of_each:
            # As a network gives them, one for each example.
            ones = keras.ops.ones((x.shape[0], 1, 1))
            tau = keras.ops.softplus(tau * ones)
        if self.by_place:
            return self.choice(x, None, tau, training=training)
        return self.choice(x, temperature=tau, training=training)


def _loss(y, losses):
    y = keras.ops.cast(y, "float32")
    cost = np.cos(np.arange(np.prod(y.shape))).reshape(y.shape)
    return keras.ops.sum(cost.astype("float32") * y) + sum(losses)


def _rounded(x):
    return keras.ops.cast(keras.ops.cast(x, "bfloat16"), "float32")


def _logits(row):
    # Which half precision holds.
    return _rounded(row.logits())


def _create(row, **options):
    if row.layer is kg.HardConcreteGate:
        options["l0_weight"] = 0.1
    return row.create(seed=3, **options)


def _by_tensor(row, tau, training, **options):
    """The gradient to a temperature that is a tensor, of the first draw."""
    layer = _create(row, **options)

    def loss(tau):
        y = layer(_logits(row), temperature=tau, training=training)
        return _loss(y, layer.losses)

    found = grad(loss, np.float32(tau))
    return np.float32(0) if found is None else found


def _by_variable(row, training, mode="eager", policy=None, **how):
    outer = Tempered(_create(row, dtype=policy), dtype=policy, **how)
    logits = _logits(row)
    outer.build(logits.shape)

    def gradient(logits):
        with tf.GradientTape() as tape:
            y = outer(logits, training=training)
            loss = _loss(y, outer.losses)
        tau = outer.tau.value
        return tape.gradient(loss, tau, unconnected_gradients="zero")

    return to_numpy(in_mode(mode, gradient)(logits))


@pytest.mark.tensorflow
@covering(
    LAYERS, "training", [True, False], gate=(*TRAINED, "GumbelSigmoid-hard")
)
def test_a_weight_is_learned(row, training):
    expected = _by_tensor(row, TAU, training)
    found = _by_variable(row, training)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    if training and row.variant.get("estimator") != "reinmax":
        assert expected != 0


@pytest.mark.tensorflow
@covering(
    LAYERS,
    "mode",
    ["compiled", "graph"],
    gate=("GumbelSoftmax-hard", "HardConcreteGate-soft"),
)
def test_a_weight_is_learned_in_programs(row, mode):
    expected = _by_tensor(row, TAU, True)
    found = _by_variable(row, True, mode)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.tensorflow
@each_of(LAYERS, gate=("GumbelSigmoid-hard",))
def test_a_weight_is_read_in_float32_under_a_mixed_policy(row):
    """Keras would round it to the dtype that the layer around computes in."""
    expected = _by_tensor(row, TAU, True, dtype="mixed_bfloat16")
    rounded = float(_rounded(TAU))
    other = _by_tensor(row, rounded, True, dtype="mixed_bfloat16")
    found = _by_variable(row, True, policy="mixed_bfloat16")
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert expected == 0 or abs(other - expected) > 1e-5 * abs(expected)


@pytest.mark.tensorflow
@each_of(LAYERS, gate=("GumbelSoftmax-hard",))
def test_it_may_be_the_third_argument(row):
    expected = _by_tensor(row, TAU, True)
    found = _by_variable(row, True, by_place=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.tensorflow
@each_of(LAYERS, gate=("GumbelSoftmax-hard",))
def test_one_of_each_example_computed_from_a_weight(row):
    layer = _create(row)
    logits = _logits(row)

    def loss(raw):
        tau = keras.ops.softplus(raw * np.ones((len(logits), 1, 1), "float32"))
        y = layer(logits, temperature=tau, training=True)
        return _loss(y, layer.losses)

    expected = grad(loss, np.float32(TAU))
    found = _by_variable(row, True, of_each=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


# Elsewhere Keras differentiates by what trains, and nothing asks.
@pytest.mark.tensorflow
@each_of(LAYERS, gate=("GumbelSoftmax-hard", "HardConcreteGate-soft"))
def test_what_does_not_train_is_not_learned(row):
    layer, logits = _create(row), _logits(row)
    frozen = keras.Variable(TAU, trainable=True)
    frozen.trainable = False
    for given in (None, frozen):
        variable = layer.temperature if given is None else given

        def loss(given=given):
            y = layer(logits, temperature=given, training=True)
            return _loss(y, layer.losses)

        assert grad_to([variable], loss) == [None]


@each_of(LAYERS, gate=("GumbelSoftmax-hard",))
def test_fit_learns_it(row):
    outer = Tempered(_create(row))
    model = keras.Sequential([outer])
    x = row.logits()
    target = np.zeros((len(x), *row.output_shape[1:]), "float32")
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    model.fit(x, target, verbose=0)
    tau = float(as_array(outer.tau))
    if row.variant.get("estimator") == "reinmax":
        assert tau == pytest.approx(TAU)
    else:
        assert np.isfinite(tau)
        assert abs(tau - TAU) > 1e-7


@each_layer
def test_a_functional_model_that_would_not_follow_is_an_error(row):
    inputs = keras.Input(row.input_shape[1:])
    with pytest.raises(ValueError, match="`temperature` in a Functional"):
        row.create()(inputs, temperature=keras.Variable(TAU))
