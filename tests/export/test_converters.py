"""Converters that are given the model, and not by Keras's `export`."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.variants import slow

from .runtimes import run

pytestmark = pytest.mark.tensorflow
LITE = tf.lite.TFLiteConverter
REMEDY = "keras_gumbel.export.with_noise_input"
X = np.array([[0.1, 2.0, -1.0], [3.0, 0.2, 0.4]], "float32")
SPEC = tf.TensorSpec((2, 3), name="x")


def model(layer, **settings):
    inputs = keras.Input((3,), batch_size=2, name="x", **settings)
    made = keras.Sequential([inputs, layer])
    made(X)
    return made


def by_model(made):
    return LITE.from_keras_model(made).convert()


def by_function(made):
    function = tf.function(made).get_concrete_function(SPEC)
    return LITE.from_concrete_functions([function], made).convert()


@pytest.mark.parametrize("convert", [by_model, *slow(by_function)])
@pytest.mark.parametrize(
    "layer",
    [
        kg.GumbelSoftmax(hard=True, inference="sample", seed=1),
        *slow(
            kg.GumbelSigmoid(inference="sample", seed=1),
            kg.HardConcreteGate(inference="sample", seed=1),
        ),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_sampling_is_refused_and_the_model_is_as_before(layer, convert):
    made = model(layer)
    before = made(X).shape
    with pytest.raises(ValueError, match=REMEDY) as error:
        convert(made)
    assert f"Received: a sampling layer, '{layer.name}'" in str(error.value)
    assert made(X).shape == before
    assert tf.function(made)(X).shape == before


@pytest.mark.slow
def test_of_a_saved_model_there_is_no_file(tmp_path):
    """It is traced already, so the error is the converter's."""
    made = model(kg.GumbelSoftmax(hard=True, inference="sample", seed=1))
    made.export(tmp_path / "saved", verbose=False)
    with pytest.raises(Exception, match="XlaOptimizationBarrier"):
        LITE.from_saved_model(str(tmp_path / "saved")).convert()


@pytest.mark.slow
def test_a_precision_that_litert_lacks_is_refused():
    made = model(kg.GumbelSoftmax(dtype="float16"))
    with pytest.raises(ValueError, match="no arithmetic in float16"):
        by_model(made)


@pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None,
    reason="ai_edge_litert is not installed: the extra `export`",
)
def test_inference_and_samples_by_noise_are_converted(tmp_path):
    """And NaN shows, as in a file by Keras's `export`."""
    made = model(kg.GumbelSoftmax(hard=True))
    given = kg.export.with_noise_input(made)
    path = tmp_path / "model.tflite"
    bad = X.copy()
    bad[0, 1] = np.nan
    for one, inputs in (
        (made, [X]),
        (made, [bad]),
        (given, [X, np.array([[9, 0, 0], [0, 9, 0]], "float32")]),
    ):
        path.write_bytes(by_model(one))
        expected = one(inputs if len(inputs) > 1 else inputs[0])
        np.testing.assert_array_equal(run(path, inputs), expected)


def test_tf2onnx_refuses_sampling():
    tf2onnx = pytest.importorskip("tf2onnx")
    made = model(kg.GumbelSoftmax(hard=True, inference="sample", seed=1))
    with pytest.raises(ValueError, match=REMEDY):
        tf2onnx.convert.from_function(tf.function(made), input_signature=[SPEC])
    assert made(X).shape == X.shape
