"""ONNX, written on torch: in ONNX Runtime what the model gives."""

import keras
import numpy as np
import onnxruntime
import pytest

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, each_of
from tests.harness import to_numpy

# Keras calls torch's older exporter, which says so, and guards its trace.
pytestmark = pytest.mark.filterwarnings("ignore")

GATE = ("GumbelSoftmax-hard", "GumbelTopK-hard", "FiniteScalarQuantizer-hard")


def made(row, **settings):
    layer = row.create(seed=3, **settings)
    inputs = keras.Input(row.input_shape[1:], name="x")
    return keras.Model(inputs, layer(inputs))


def in_runtime(model, folder, feed, **settings):
    path = str(folder / "model.onnx")
    model.export(path, format="onnx", verbose=False, **settings)
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, feed)
    return found


def refused(row, act):
    """Whether it is a layer that no file can hold: then `act` says so."""
    if not isinstance(row.create(), kg.GumbelSinkhorn) or not row.create().hard:
        return False
    with pytest.raises(ValueError, match="no loop for the best permutation"):
        act()
    return True


@each_of(LAYERS, gate=GATE)
def test_a_model_in_inference(row, tmp_path):
    model, x = made(row), row.logits()
    # The file is traced with one example.
    right = to_numpy(model(x))
    if not refused(row, lambda: in_runtime(model, tmp_path, {"x": x})):
        found = in_runtime(model, tmp_path, {"x": x})
        np.testing.assert_allclose(found, right, atol=1e-6)


@each_of(LAYERS, gate=GATE)
def test_noise_as_an_input(row, tmp_path):
    model, x = kg.export.with_noise_input(made(row)), row.logits()
    (name,) = (one.name for one in model.inputs[1:])
    shape = [len(x) if n is None else n for n in model.inputs[1].shape]
    noise = np.random.default_rng(0).gumbel(size=shape).astype("float32")
    feed = {model.inputs[0].name: x, name: noise}
    if not refused(row, lambda: in_runtime(model, tmp_path, feed)):
        right = to_numpy(model([x, noise]))
        found = in_runtime(model, tmp_path, feed)
        np.testing.assert_allclose(found, right, atol=1e-6)


@pytest.mark.parametrize("estimator", ["st_gumbel", "reinmax"])
def test_a_seed_as_an_input(estimator, tmp_path):
    """The samples of the layer. Keras must be told the size of the seed."""
    x = np.random.default_rng(0).normal(size=(3, 7)).astype("float32")
    choice = kg.GumbelSoftmax(
        0.7, hard=True, seed=1, estimator=estimator, inference="sample"
    )
    sampling = keras.Sequential([keras.Input((7,)), choice])
    model = kg.export.with_seed_input(sampling)
    names = [one.name for one in model.inputs]
    spec = keras.InputSpec
    signature = [
        [
            spec("float32", (None, 7), name=names[0]),
            spec("int32", (2,), name=names[1]),
        ]
    ]
    for place in range(3):
        feed = dict(zip(names, (x, np.array([1, place], "int32")), strict=True))
        found = in_runtime(model, tmp_path, feed, input_signature=signature)
        np.testing.assert_array_equal(found, to_numpy(sampling(x)))
