"""`SampleArgmaxIndex`: the index of what `GumbelSoftmax` gives."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.harness import dtype_of, grad, tensor
from tests.variants import slow_rows

LOGITS = np.random.default_rng(5).normal(size=(6, 4)).astype("float32")
CLASSES = np.arange(4)
WEIGHT = np.arange(1, 7).astype("float32")


@pytest.mark.parametrize("axis", [0, -1])
def test_ties_go_to_the_first_class(axis):
    rows = np.array([[0, 2, 2, 2], [5, 5, 0, 0], [1, 1, 1, 1]], "float32")
    layer = kg.SampleArgmaxIndex(hard=True, axis=axis)
    index = as_array(layer(np.moveaxis(rows, -1, axis)))
    np.testing.assert_array_equal(index, [1, 0, 0])


class TestSample:
    @pytest.mark.parametrize(
        ("axis", "hard"),
        [(0, False), (-1, True), *slow_rows((0, True), (1, False))],
    )
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

    @pytest.mark.parametrize(
        ("hard", "training"),
        [
            (True, True),
            (False, False),
            *slow_rows((False, True), (True, False)),
        ],
    )
    def test_gradient_is_weighted_by_the_class_numbers(self, training, hard):
        arguments = {"temperature": 0.5, "hard": hard, "seed": 3}
        index, y = (
            kg.SampleArgmaxIndex(**arguments),
            kg.GumbelSoftmax(**arguments),
        )
        gradient = grad(
            lambda x: keras.ops.sum(
                index(x, training=training) * tensor(WEIGHT)
            ),
            LOGITS,
        )
        expected = grad(
            lambda x: keras.ops.sum(
                y(x, training=training)
                * tensor(np.outer(WEIGHT, CLASSES), "float32")
            ),
            LOGITS,
        )
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


class TestManyClasses:
    """float16 ends at 2048, bfloat16 at 256."""

    @pytest.mark.parametrize(
        ("policy", "training"),
        [
            ("mixed_bfloat16", True),
            ("mixed_float16", False),
            *slow_rows(("mixed_float16", True), ("mixed_bfloat16", False)),
        ],
    )
    def test_the_index_is_exact(self, policy, training):
        chosen = np.array([0, 257, 2049, 4095, 4999])
        logits = np.full((5, 5000), -60.0, "float32")
        logits[np.arange(5), chosen] = 60.0
        layer = kg.SampleArgmaxIndex(hard=True, dtype=policy, seed=3)
        index = layer(logits, training=training)
        assert dtype_of(index) == "float32"
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
    @pytest.mark.parametrize(
        ("hard", "training"),
        [
            (False, True),
            (True, False),
            *slow_rows((True, True), (False, False)),
        ],
    )
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
