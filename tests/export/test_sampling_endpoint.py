"""One SavedModel that infers, and samples on request."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_gumbel as kg

# Runs where neither Keras nor this package can be imported.
SERVE = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("keras", "keras_gumbel", "tf_keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


import numpy as np
import tensorflow as tf

for name in [name for name in sys.modules if name.startswith("keras")]:
    del sys.modules[name]
sys.meta_path.insert(0, Blocker())

model = tf.saved_model.load(sys.argv[1])
x = tf.constant(np.load(sys.argv[2]))
outputs = {f"serve{i}": model.serve(x).numpy() for i in range(2)}
outputs |= {f"sample{i}": model.sample(x).numpy() for i in range(3)}
for bad in (tf.ones((4, 5)), tf.ones((4, 3), tf.int32)):
    for endpoint in (model.serve, model.sample):
        try:
            endpoint(bad)
        except (TypeError, ValueError) as error:
            assert "TensorSpec(shape=(None, 3), dtype=tf.float32" in str(error)
        else:
            sys.exit("an input that does not fit was taken")
outputs["nan"] = model.serve(tf.constant([[0.0, float("nan"), 1.0]])).numpy()
np.savez(sys.argv[3], **outputs)
"""


pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def model():
    return keras.Sequential(
        [
            keras.Input((3,), name="x"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.9),
            kg.GumbelSoftmax(hard=True, seed=5, name="choice"),
        ]
    )


@pytest.mark.slow
def test_serves_and_samples_where_this_package_is_not(model, tmp_path):
    folder, file = tmp_path / "model", tmp_path / "x.npy"
    x = np.zeros((4096, 3), "float32")
    np.save(file, x)
    kg.export.export_with_sampling(model, folder)
    assert model.get_layer("choice").inference is None
    script = tmp_path / "serve.py"
    script.write_text(SERVE)
    process = subprocess.run(
        [sys.executable, script, folder, file, tmp_path / "outputs.npz"],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    outputs = np.load(tmp_path / "outputs.npz")
    for i in range(2):
        np.testing.assert_array_equal(outputs[f"serve{i}"], model(x))
    assert np.isnan(outputs["nan"]).all()
    # As this model goes on to draw: nothing is dropped, no batch is averaged.
    stream = kg.GumbelSoftmax(hard=True, seed=5)
    for i in range(3):
        np.testing.assert_array_equal(
            outputs[f"sample{i}"], stream(x, training=True)
        )
    # 1365 each expected; the chance that one is off by 200 is below 1e-10.
    counts = outputs["sample0"].sum(axis=0)
    assert abs(counts - len(x) / 3).max() < 200


def test_is_a_layer_again(model, tmp_path):
    """One that infers and one that goes on to draw as the model would."""
    folder = tmp_path / "model"
    kg.export.export_with_sampling(model, folder)
    assert model.get_layer("choice").inference is None
    serve, sample = (
        keras.layers.TFSMLayer(str(folder), call_endpoint=name)
        for name in ("serve", "sample")
    )
    x = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
    np.testing.assert_array_equal(serve(x), model(x))
    zeros = np.zeros((256, 3), "float32")
    stream = kg.GumbelSoftmax(hard=True, seed=5)
    for _ in range(2):
        expected = stream(zeros, training=True)
        np.testing.assert_array_equal(sample(zeros), expected)


@pytest.mark.slow
def test_the_command_line_client_runs_it(model, tmp_path):
    kg.export.export_with_sampling(model, tmp_path / "model")
    x = tmp_path / "x.npy"
    np.save(x, np.eye(3, dtype="float32"))
    client = "tensorflow.python.tools.saved_model_cli"
    process = subprocess.run(
        [
            *(sys.executable, "-m", client, "run"),
            *("--dir", tmp_path / "model", "--tag_set", "serve"),
            *("--signature_def", "serve", "--inputs", f"x={x}"),
            *("--outdir", tmp_path),
        ],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    (output,) = tmp_path.glob("output*.npy")
    np.testing.assert_array_equal(np.load(output), np.eye(3))
