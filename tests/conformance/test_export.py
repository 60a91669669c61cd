"""A SavedModel runs where this package cannot be imported."""

import subprocess
import sys

import numpy as np
import pytest

from tests.conformance.registry import (
    LAYERS,
    as_array,
    chosen_rows,
    each_of,
)

pytestmark = pytest.mark.tensorflow

# Runs in a process of its own, on every SavedModel of the folder in argv.
SERVE = """
import pathlib, sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "keras_gumbel":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
try:
    import keras_gumbel
except ModuleNotFoundError:
    pass
else:
    sys.exit("keras_gumbel could be imported")

import numpy as np
import tensorflow as tf

for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    served = tf.saved_model.load(str(folder / "model"))
    logits = tf.constant(np.load(folder / "logits.npy"))
    outputs = [served.serve(logits).numpy() for _ in range(2)]
    outputs.append(served.serve(logits[:1]).numpy())
    outputs.append(served.serve(tf.constant(np.load(folder / "bad.npy"))))
    np.savez(folder / "outputs.npz", *outputs)
"""


def with_nan(logits):
    logits[1, 1] = np.nan
    return logits


@pytest.fixture(scope="module")
def exports(tmp_path_factory, request):
    """What each layer gave here, and twice in the other process."""
    root = tmp_path_factory.mktemp("exports")
    here = {}
    tests = {
        None: "test_equals_the_model_at_inference",
        "sample": "test_samples_go_on_with_the_stream",
    }
    for inference, test in tests.items():
        for row in chosen_rows(request, test):
            model = row.model(seed=3, inference=inference)
            model.get_layer("choice").temperature.assign(0.5)
            folder = root / f"{row}-{inference}"
            model.export(folder / "model", verbose=False)
            np.save(folder / "logits.npy", row.logits())
            np.save(folder / "bad.npy", with_nan(row.logits()))
            here[str(row), inference] = [
                as_array(model(row.logits(), training=False)) for _ in range(2)
            ]
    script = root.parent / "serve.py"
    script.write_text(SERVE)
    done = subprocess.run(
        [sys.executable, "-I", str(script), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]

    def outputs(row, inference):
        with np.load(root / f"{row}-{inference}" / "outputs.npz") as there:
            return here[str(row), inference], [there[k] for k in there.files]

    return outputs


@each_of(LAYERS, gate=("GumbelSoftmax-hard", "HardConcreteGate-soft"))
def test_equals_the_model_at_inference(row, exports):
    here, there = exports(row, None)
    np.testing.assert_allclose(there[0], here[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(there[1], there[0])
    np.testing.assert_allclose(there[2], here[0][:1], rtol=1e-6, atol=1e-6)
    assert row.is_sample(there[0])
    assert there[0].dtype == "float32"
    # Example 1 had NaN.
    assert np.isnan(there[3][1]).any()
    np.testing.assert_allclose(there[3][2:], there[0][2:], rtol=1e-6, atol=1e-6)


# The compiled program of a sample is exported alike by all.
@each_of(LAYERS, gate=("GumbelQuantizer-hard",))
def test_samples_go_on_with_the_stream(row, exports):
    """`inference="sample"`: as the model itself draws, and never twice."""
    here, there = exports(row, "sample")
    assert row.is_sample(there[0])
    assert not np.array_equal(there[0], there[1])
    for mine, other in zip(here, there[:2], strict=True):
        if row.hard:
            np.testing.assert_array_equal(other, mine)
        else:
            np.testing.assert_allclose(other, mine, atol=5e-6)
