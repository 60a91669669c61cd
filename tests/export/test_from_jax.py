"""SavedModels that Keras on JAX writes: TensorFlow gives what JAX does."""

import json
import os
import subprocess
import sys

import pytest

from tests.export.from_jax import LAYERS

pytest.importorskip("jax", reason="a set of versions without JAX")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("written"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.from_jax", folder],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_a_saved_model_infers_and_samples_as_jax_does(name, told):
    assert told[name]["inference"] < 1e-6
    assert told[name]["sample"] < 1e-6
    assert told[name]["moves"] > 1e-3
