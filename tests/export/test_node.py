"""ONNX files in Node.js, by onnxruntime-node from the npm registry."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import keras
import numpy as np
import pytest

import keras_gumbel as kg

from .runtimes import export

PACKAGE = "onnxruntime-node@1.30.0"
CLIENT = pathlib.Path(__file__).with_name("onnx_client.js")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def modules():
    """Where the package is installed, once for all runs of the tests."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node or npm is not installed: Debian's nodejs and npm")
    root = pathlib.Path(tempfile.gettempdir())
    home = root / f"keras_gumbel-{PACKAGE.replace('@', '-')}"
    if not home.exists():
        new = tempfile.mkdtemp(dir=root)
        # Its script would fetch what is for GPUs.
        install = ["npm", "install", "--ignore-scripts", "--no-audit"]
        install += ["--no-fund", "--loglevel=error", "--prefix", new, PACKAGE]
        done = subprocess.run(
            install, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            shutil.rmtree(new)
            pytest.skip(f"npm did not install {PACKAGE}: {done.stderr[-500:]}")
        try:
            pathlib.Path(new).rename(home)
        except OSError:  # Another run was first.
            shutil.rmtree(new)
    return home / "node_modules"


def as_json(x):
    data = base64.b64encode(x.tobytes()).decode()
    return {"type": str(x.dtype), "dims": x.shape, "data": data}


def run(modules, path, calls):
    """The first output of each call, or the text of its error."""
    calls = [{name: as_json(x) for name, x in one.items()} for one in calls]
    done = subprocess.run(
        ["node", str(CLIENT)],
        input=json.dumps({"path": str(path), "calls": calls}),
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        one["error"]
        if "error" in one
        else np.frombuffer(base64.b64decode(one["data"]), one["type"]).reshape(
            one["dims"]
        )
        for one in json.loads(done.stdout)
    ]


def logits():
    x = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    x[1, 1], x[2, 0], x[3, 2] = np.nan, np.inf, -np.inf
    x[4] = -np.inf
    x[5] = 1.5
    return x


@pytest.fixture(scope="module", params=[False, True], ids=["soft", "hard"])
def model(request):
    choice = kg.GumbelSoftmax(0.5, hard=request.param, name="choice")
    model = keras.Sequential([keras.Input((3,), name="logits"), choice])
    model(logits())
    return model


def test_equals_keras_and_names_what_is_wrong(model, modules, tmp_path):
    x = logits()
    bad = [x[:, :2], x[0], x.astype("float64"), np.zeros((2, 3), "int32")]
    path = export(model, "onnx", tmp_path)
    output, first, *errors = run(
        modules, path, [{"logits": x} for x in (x, x[:1], *bad)] + [{"x": x}]
    )
    expected = np.asarray(model(x))
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(first, output[:1])
    assert np.isnan(output[1:3]).all()
    assert not np.isnan(output[3:]).any()
    for error, said in zip(
        errors,
        [
            "index: 1 Got: 2 Expected: 3",
            "Got: 1 Expected: 2",
            "Actual: (tensor(double)) , expected: (tensor(float))",
            "Actual: (tensor(int32)) , expected: (tensor(float))",
            "input 'logits' is missing",
        ],
        strict=True,
    ):
        assert said in error


def test_samples_by_noise_equal_keras(model, modules, tmp_path):
    given = kg.export.with_noise_input(model)
    x = logits()
    noise = np.random.default_rng(1).gumbel(size=x.shape).astype("float32")
    noise[6, 0] = np.nan
    names = ["logits", "choice_noise"]
    path = export(given, "onnx", tmp_path)
    output, error = run(
        modules,
        path,
        [
            dict(zip(names, [x, noise], strict=True)),
            dict(zip(names, [x, noise[:, :2]], strict=True)),
        ],
    )
    expected = np.asarray(given([x, noise]))
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(output[6]).all()
    # Of ties, which x[5] has, the mode is the first.
    assert output[5].argmax() == noise[5].argmax() != 0
    assert "choice_noise" in error
    assert "Expected: 3" in error
