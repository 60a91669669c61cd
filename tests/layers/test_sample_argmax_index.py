"""`SampleArgmaxIndex`: the index of what `GumbelSoftmax` gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests import reference
from tests.conformance.registry import as_array

LOGITS = np.random.default_rng(5).normal(size=(6, 4)).astype("float32")
CLASSES = np.arange(4)


class TestInference:
    @pytest.mark.parametrize("training", [False, None])
    @pytest.mark.parametrize(
        ("hard", "inference", "mode"),
        [
            (False, None, "softmax"),
            (True, None, "argmax"),
            (False, "softmax", "softmax"),
            (True, "softmax", "softmax"),
            (False, "argmax", "argmax"),
            (True, "argmax", "argmax"),
        ],
    )
    def test_no_noise(self, hard, inference, mode, training):
        layer = kg.SampleArgmaxIndex(0.5, hard=hard, inference=inference)
        index = as_array(layer(LOGITS, training=training))
        if mode == "argmax":
            np.testing.assert_array_equal(index, LOGITS.argmax(-1))
        else:
            mean = reference.softmax(LOGITS, 0.5) @ CLASSES
            np.testing.assert_allclose(index, mean, atol=1e-5)
        assert layer.resolved_inference == mode
        assert as_array(layer.seed_generator.state)[1] == 0

    @pytest.mark.parametrize("hard", [False, True])
    def test_sample_goes_on_sampling(self, hard):
        layer = kg.SampleArgmaxIndex(hard=hard, inference="sample", seed=3)
        trained = kg.SampleArgmaxIndex(hard=hard, seed=3)
        for _ in range(2):
            np.testing.assert_array_equal(
                as_array(layer(LOGITS)),
                as_array(trained(LOGITS, training=True)),
            )

    @pytest.mark.parametrize("axis", [0, 1, -1])
    def test_ties_go_to_the_first_class(self, axis):
        rows = np.array([[0, 2, 2, 2], [5, 5, 0, 0], [1, 1, 1, 1]], "float32")
        layer = kg.SampleArgmaxIndex(hard=True, axis=axis)
        index = as_array(layer(np.moveaxis(rows, -1, axis)))
        np.testing.assert_array_equal(index, [1, 0, 0])

    def test_softmax_is_at_the_live_temperature(self):
        layer = kg.SampleArgmaxIndex(1.0)
        for temperature in (0.1, 10.0):
            layer.temperature = temperature
            mean = reference.softmax(LOGITS, temperature) @ CLASSES
            np.testing.assert_allclose(as_array(layer(LOGITS)), mean, atol=1e-5)


class TestSample:
    @pytest.mark.parametrize("hard", [False, True])
    @pytest.mark.parametrize("axis", [0, 1])
    def test_is_the_index_of_the_gumbel_softmax_of_its_seed(self, axis, hard):
        arguments = {"temperature": 0.5, "hard": hard, "axis": axis, "seed": 3}
        index = kg.SampleArgmaxIndex(**arguments)(LOGITS, training=True)
        y = kg.GumbelSoftmax(**arguments)(LOGITS, training=True)
        classes = np.arange(LOGITS.shape[axis])
        expected = np.moveaxis(as_array(y), axis, -1) @ classes
        if hard:
            np.testing.assert_array_equal(as_array(index), expected)
        else:
            np.testing.assert_allclose(as_array(index), expected, atol=1e-5)

    @pytest.mark.parametrize("hard", [False, True])
    @pytest.mark.parametrize("number", [0, 3, 2**32 - 1])
    def test_the_first_draw_is_that_of_the_function(self, number, hard):
        layer = kg.SampleArgmaxIndex(0.5, hard=hard, seed=number)
        y = layer(LOGITS, training=True)
        expected = kg.ops.sample_argmax_index(
            LOGITS, 0.5, hard=hard, seed=number
        )
        np.testing.assert_allclose(as_array(y), as_array(expected), atol=1e-6)

    @pytest.mark.parametrize("hard", [False, True])
    @pytest.mark.parametrize("training", [True, False])
    def test_gradient_is_weighted_by_the_class_numbers(self, training, hard):
        arguments = {"temperature": 0.5, "hard": hard, "seed": 3}
        x = tf.constant(LOGITS)
        weight = np.arange(1, 7).astype("float32")
        with tf.GradientTape() as tape:
            tape.watch(x)
            index = kg.SampleArgmaxIndex(**arguments)(x, training=training)
            loss = tf.reduce_sum(index * weight)
        gradient = as_array(tape.gradient(loss, x))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = kg.GumbelSoftmax(**arguments)(x, training=training)
            loss = tf.reduce_sum(y * np.outer(weight, CLASSES))
        expected = as_array(tape.gradient(loss, x))
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


class TestManyClasses:
    """float16 ends at 2048, bfloat16 at 256."""

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    @pytest.mark.parametrize("training", [True, False])
    def test_the_index_is_exact(self, policy, training):
        chosen = np.array([0, 257, 2049, 4095, 4999])
        logits = np.full((5, 5000), -60.0, "float32")
        logits[np.arange(5), chosen] = 60.0
        layer = kg.SampleArgmaxIndex(hard=True, dtype=policy, seed=3)
        index = layer(logits, training=training)
        assert index.dtype == "float32"
        np.testing.assert_array_equal(as_array(index), chosen)

    def test_the_index_is_exact_from_a_model_in_half_precision(self):
        """Where the logits are float16 themselves, and what follows too."""
        keras.config.set_dtype_policy("mixed_float16")
        dense = keras.layers.Dense(
            4000, kernel_initializer="zeros", name="dense"
        )
        model = keras.Sequential(
            [keras.Input((1,)), dense, kg.SampleArgmaxIndex(hard=True)]
        )
        for chosen in (2049, 3999):
            dense.bias.assign(60.0 * np.eye(4000)[chosen])
            for training in (True, False):
                index = model(np.ones((3, 1)), training=training)
                np.testing.assert_array_equal(as_array(index), chosen)


class TestMasks:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("hard", [True, False])
    def test_a_row_without_classes_gives_zero(self, hard, training):
        mask = np.array([[False] * 4, [False, False, False, True]] * 3)
        layer = kg.SampleArgmaxIndex(hard=hard, seed=3)
        y = as_array(layer(LOGITS, class_mask=mask, training=training))
        np.testing.assert_array_equal(y, [0, 3] * 3)

    def test_the_time_mask_goes_with_the_time_axis(self):
        """Which step was chosen is not itself a sequence of steps."""
        tokens = np.array([[5, 2, 0, 0], [1, 0, 0, 0]])
        embedding = keras.layers.Embedding(6, 3, mask_zero=True)
        kept = kg.SampleArgmaxIndex(axis=-1)(embedding(tokens))
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(kept._keras_mask), tokens != 0
        )
        gone = kg.SampleArgmaxIndex(axis=1)(embedding(tokens))
        assert gone.shape == (2, 3)
        assert getattr(gone, "_keras_mask", None) is None
