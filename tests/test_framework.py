"""The framework is looked for before Keras is imported."""

import os
import subprocess
import sys

import keras
import pytest

import keras_gumbel as kg

SET_TO = "import keras_gumbel"
# As where it is not installed.
WITHOUT_JAX = """
import importlib.util as util

find = util.find_spec
util.find_spec = lambda name, *a: None if name == "jax" else find(name, *a)
"""


def told(code, tmp_path, **env):
    """The last line of the error, and whether Keras was imported."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_HOME": str(tmp_path), **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode, done.stdout
    return done.stderr.strip().splitlines()[-1], "keras/src" in done.stderr


@pytest.mark.parametrize("by", ["environment", "file"])
def test_a_framework_that_there_is_none_for(by, tmp_path):
    env = {}
    if by == "environment":
        env["KERAS_BACKEND"] = "numpy"
    else:
        env["KERAS_BACKEND"] = ""
        (tmp_path / "keras.json").write_text('{"backend": "numpy"}')
    message, keras_too = told(SET_TO, tmp_path, **env)
    assert message.startswith("ImportError: keras_gumbel runs on")
    assert message.endswith("Received: a Keras backend of 'numpy'")
    assert not keras_too


def test_a_framework_that_is_not_installed(tmp_path):
    message, keras_too = told(
        WITHOUT_JAX + SET_TO, tmp_path, KERAS_BACKEND="jax"
    )
    assert message.startswith("ImportError: Keras is set to the backend 'jax'")
    assert "pip install 'keras-gumbel[jax]'" in message
    assert not keras_too


@pytest.mark.skipif(
    keras.config.backend() == "tensorflow", reason="there it has them"
)
def test_distributions_are_of_tensorflow():
    with pytest.raises(ImportError, match="KERAS_BACKEND=tensorflow"):
        kg.distributions.from_layer(kg.GumbelSoftmax(), [[0.0, 1.0]])
