"""LiteRT, ONNX and OpenVINO, run by their own runtimes, equal Keras."""

import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, as_array, each_of
from tests.variants import slow, slow_rows

from .runtimes import ENDINGS, MODULES, export, run

EACH = pytest.mark.parametrize("target", ["litert", "onnx", *slow("openvino")])
# Loops, which OpenVINO alone can run, in most of a minute.
MATCHED = "GumbelSinkhorn-hard"
GATE = ("GumbelSoftmax-hard",)
PORTABLE = [row for row in LAYERS if not str(row).startswith(MATCHED)]
LAWS = {kg.GumbelSigmoid: "logistic", kg.HardConcreteGate: "logistic"}


def noise_for(row, given, x):
    """Noise for the second input, by NumPy."""
    known = given.inputs[1].shape
    shape = [
        x.shape[i] if size is None else size for i, size in enumerate(known)
    ]
    draw = getattr(np.random.default_rng(1), LAWS.get(row.layer, "gumbel"))
    return draw(size=shape).astype("float32")


def not_finite(noise):
    """NaN in example 1, +inf in 2; in 3 -inf, a whole row of it, and 1e30."""
    noise = noise.copy()
    rows = noise.reshape(len(noise), -1, noise.shape[-1])
    rows[1, -1, 2] = np.nan
    rows[2, 0, 3] = np.inf
    rows[3, 0, 1] = rows[3, -1] = -np.inf
    rows[3, 0, 4] = 1e30
    return noise


def equal(output, expected):
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


@EACH
@each_of(PORTABLE, gate=GATE)
def test_inference_equals_keras(row, target, tmp_path):
    model = row.model()
    x = row.logits()
    expected = as_array(model(x))
    path = export(model, target, tmp_path)
    output = run(path, [x])
    equal(output, expected)
    if row.hard:
        assert row.is_sample(output)
    # What is not a number shows, and touches no other example.
    x[1, 1] = np.nan
    shown = run(path, [x])
    equal(shown, as_array(model(x)))
    assert np.isnan(shown[1]).any()
    np.testing.assert_array_equal(shown[2:], output[2:])


@EACH
@each_of(PORTABLE, gate=GATE)
def test_samples_by_noise_equal_keras(row, target, tmp_path):
    given = kg.export.with_noise_input(row.model(temperature=0.5))
    x = row.logits()
    noise = noise_for(row, given, x)
    # Exported as it comes: Keras itself asks for a call first.
    path = export(given, target, tmp_path)
    expected = as_array(given([x, noise]))
    equal(run(path, [x, noise]), expected)
    # The noise decides, and the file is not of one batch.
    other = run(path, [x[:1], -noise[:1]])
    equal(other, as_array(given([x[:1], -noise[:1]])))
    assert not np.array_equal(other, expected[:1])
    # Nor is it one of finite numbers only.
    noise = not_finite(noise)
    shown = run(path, [x, noise])
    equal(shown, as_array(given([x, noise])))
    assert np.isnan(shown[1]).any()
    # Where no code is left there is no vector, and without a vector NaN.
    clean = [0] if row.layer is kg.VectorQuantizer else [0, 3]
    assert not np.isnan(shown[clean]).any()


SOFTMAX = next(row for row in LAYERS if str(row) in GATE)


@pytest.mark.parametrize(
    ("row", "target"),
    [
        *((SOFTMAX, target) for target in ENDINGS),
        *slow_rows(*((row, "onnx") for row in LAYERS if row is not SOFTMAX)),
    ],
    ids=str,
)
def test_sampling_is_refused_before_anything_is_written(row, target, tmp_path):
    model = row.model(inference="sample")
    model(row.logits())
    with pytest.raises(ValueError, match="with_noise_input") as error:
        export(model, target, tmp_path)
    assert "Received: a sampling layer, 'choice'" in str(error.value)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", *slow("litert")])
def test_a_best_permutation_is_refused(target, tmp_path):
    (row,) = (row for row in LAYERS if str(row) == MATCHED)
    model = row.model()
    model(row.logits())
    with pytest.raises(ValueError, match="no loop for the best permutation"):
        export(model, target, tmp_path)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow
def test_openvino_finds_the_best_permutation(tmp_path):
    (row,) = (row for row in LAYERS if str(row) == MATCHED)
    model = row.model()
    x = row.logits()
    path = export(model, "openvino", tmp_path)
    np.testing.assert_array_equal(run(path, [x]), as_array(model(x)))
    x[1, 1] = np.nan
    np.testing.assert_array_equal(run(path, [x]), as_array(model(x)))


def test_every_format_has_a_runtime():
    assert {*MODULES} == {*ENDINGS}
