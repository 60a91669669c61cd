"""A trainable variable given as `temperature` is learned, by every function."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from keras_gumbel.backend import read
from keras_gumbel.estimators.estimator import names
from keras_gumbel.ops._noiseless import gate_mode, mode
from keras_gumbel.ops.gumbel_top_k import noiseless_subset
from tests.harness import tensor

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
# Variables, and tapes that watch them.
pytestmark = pytest.mark.tensorflow

TAU = 0.7003
TABLE = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")

FUNCTIONS = {
    "soft": lambda x, tau: kg.ops.gumbel_softmax(x, tau, seed=1),
    **{
        f"{name}": lambda x, tau, name=name: kg.ops.gumbel_softmax(
            x, tau, hard=True, estimator=name, seed=1
        )
        for name in names()
    },
    "index": lambda x, tau: kg.ops.sample_argmax_index(x, tau, seed=1),
    "row": lambda x, tau: kg.ops.sample_embedding(x, TABLE, tau, seed=1),
    "soft gates": lambda x, tau: kg.ops.gumbel_sigmoid(x, tau, seed=1),
    "hard gates": lambda x, tau: kg.ops.gumbel_sigmoid(
        x, tau, hard=True, estimator="st", seed=1
    ),
    "hard concrete": lambda x, tau: kg.ops.hard_concrete(x, tau, seed=1),
    "subset": lambda x, tau: kg.ops.gumbel_top_k(x, 2, tau, seed=1)[0],
    "permutation": lambda x, tau: kg.ops.gumbel_sinkhorn(x, tau, seed=1),
    "mode": lambda x, tau: mode(x, tau, axis=-1),
    "gate mode": gate_mode,
    "likeliest subset": lambda x, tau: noiseless_subset(
        x, 2, tau, hard=True, axis=-1
    ),
}
# Each is a program of its own; of the categorical ones two differ most.
GATE = ("st_gumbel", "mode")

each_function = pytest.mark.parametrize(
    "function",
    [
        pytest.param(
            function,
            id=name,
            marks=() if name in GATE else pytest.mark.slow,
        )
        for name, function in FUNCTIONS.items()
    ],
)


def _gradient(function, temperature, source):
    logits = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    logits = tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(source)
        y = function(logits, temperature)
        cost = tf.reshape(
            tf.cos(tf.range(tf.size(y), dtype="float32")), y.shape
        )
        loss = tf.reduce_sum(y * cost)
    return tape.gradient(loss, source)


@each_function
def test_a_variable_is_learned(function):
    """Of Keras and of TensorFlow, as a tensor is."""
    constant = tf.constant(TAU)
    expected = _gradient(function, constant, constant)
    variable = keras.Variable(TAU)
    found = _gradient(function, variable, variable.value)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    variable = tf.Variable(TAU)
    found = _gradient(function, variable, variable)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_one_that_stops_training_is_learned_no_more():
    variable = keras.Variable(TAU)
    variable.trainable = False
    sample = FUNCTIONS["st_gumbel"]
    assert _gradient(sample, variable, variable.value) is None
    x = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    expected = sample(x, tf.constant(TAU))
    np.testing.assert_array_equal(sample(x, variable), expected)


def test_an_estimator_with_a_temperature_of_its_own_leaves_none():
    variable = keras.Variable(TAU)
    rule = kg.estimators.StraightThroughGumbel(backward_temperature=0.5)

    def sample(x, tau):
        return kg.ops.gumbel_softmax(x, tau, hard=True, estimator=rule, seed=1)

    assert _gradient(sample, variable, variable.value) is None


def test_it_is_read_in_its_own_dtype_inside_a_layer_of_a_mixed_policy():
    variable = keras.Variable(TAU)

    class Outer(keras.layers.Layer):
        def call(self, x):
            assert keras.ops.convert_to_tensor(variable).dtype == "bfloat16"
            assert read(variable).dtype == "float32"
            wide = keras.ops.cast(x, "float32")
            return FUNCTIONS["soft"](wide, variable)

    logits = tf.zeros((4, 4))
    found = Outer(dtype="mixed_bfloat16")(logits)
    np.testing.assert_array_equal(found, FUNCTIONS["soft"](logits, TAU))
