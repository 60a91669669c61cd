"""What each client says of input that does not fit: docs/export.md's table."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.variants import slow, slow_rows

from .runtimes import export, run

WRONG = {
    "size": np.zeros((2, 4), "float32"),
    "rank": np.zeros(3, "float32"),
    "float64": np.zeros((2, 3)),
    "int32": np.zeros((2, 3), "int32"),
    "text": np.array([["a", "b", "c"]]),
}


def model(hard=True):
    choice = kg.GumbelSoftmax(hard=hard, name="choice")
    return keras.Sequential([keras.Input((3,), name="logits"), choice])


@pytest.fixture(scope="module")
def path_of(tmp_path_factory):
    """One file a format, written when it is asked for."""
    paths = {}

    def path(target):
        if target not in paths:
            folder = tmp_path_factory.mktemp(target)
            made = model()
            made(np.zeros((1, 3), "float32"))
            paths[target] = export(made, target, folder)
        return paths[target]

    return path


ONNX = {
    "size": "input: logits .*index: 1 Got: 4 Expected: 3",
    "rank": "Invalid rank for input: logits Got: 1 Expected: 2",
    "float64": r"Actual: \(tensor\(double\)\) , expected: \(tensor\(float\)\)",
    "int32": r"Actual: \(tensor\(int32\)\) , expected: \(tensor\(float\)\)",
    "text": r"Actual: \(tensor\(string\)\) , expected: \(tensor\(float\)\)",
}
OPENVINO = {
    "size": r"shape=\[\?,3\]\) and the tensor \(shape=\(2.4\)\) are incompat",
    "rank": r"shape=\[\?,3\]\) and the tensor \(shape=\(3\)\) are incompatible",
    "text": "could not convert string to float",
}
LITERT = {
    "size": r"shapes, \[2,4\], .* and \[2,3\], are not broadcastable",
    "rank": "Invalid axis index",
    "float64": "value of type FLOAT64 but expected type FLOAT32 .*logits",
    "int32": "value of type INT32 but expected type FLOAT32 .*logits",
    "text": "value of type STRING but expected type FLOAT32 .*logits",
}
ALL = {"onnx": ONNX, "openvino": OPENVINO, "litert": LITERT}


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        *(("onnx", wrong) for wrong in ONNX),
        *slow_rows(
            *((t, wrong) for t in ("litert", "openvino") for wrong in ALL[t])
        ),
    ],
)
def test_an_error_says_what_is_wrong(target, wrong, path_of):
    # Each runtime has errors of its own, that derive from these or from none.
    with pytest.raises(Exception, match=r"(?s)" + ALL[target][wrong]):
        run(path_of(target), [WRONG[wrong]])


@pytest.mark.parametrize("wrong", slow("float64", "int32"))
def test_openvino_converts_numbers(wrong, path_of):
    """The limit that docs/export.md tells of."""
    x = (3 * np.eye(3)).astype(wrong)
    output = run(path_of("openvino"), [x])
    np.testing.assert_array_equal(output, np.eye(3))


@pytest.mark.slow
def test_litert_takes_any_size_unless_told_to_be_strict(tmp_path):
    """The limit that docs/export.md tells of, and the remedy."""
    from ai_edge_litert.interpreter import Interpreter

    path = export(model(hard=False), "litert", tmp_path)
    np.testing.assert_allclose(
        run(path, [WRONG["size"]]), np.full((2, 4), 0.25)
    )
    interpreter = Interpreter(str(path))
    (given,) = interpreter.get_input_details()
    np.testing.assert_array_equal(given["shape_signature"], [-1, 3])
    interpreter.resize_tensor_input(given["index"], (2, 3), strict=True)
    with pytest.raises(RuntimeError, match=r"dimension 1 .* value 3 to 4"):
        interpreter.resize_tensor_input(given["index"], (2, 4), strict=True)
    with pytest.raises(RuntimeError, match=r"\(2 != 1\)"):
        interpreter.resize_tensor_input(given["index"], (3,), strict=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    slow_rows(
        ("size", "shape (2, 4) for Tensor serve_logits:0, which has shape"),
        ("text", "could not convert string to float"),
        (
            "missing",
            '"x" is not a valid input key. Please choose from "logits"',
        ),
    ),
)
def test_the_command_line_client(wrong, said, tmp_path):
    made = model(hard=False)
    kg.export.export_with_sampling(made, tmp_path / "model")
    file = tmp_path / "x.npy"
    np.save(file, WRONG.get(wrong, WRONG["size"]))
    name = "x" if wrong == "missing" else "logits"
    client = "tensorflow.python.tools.saved_model_cli"
    process = subprocess.run(
        [
            *(sys.executable, "-m", client, "run"),
            *("--dir", tmp_path / "model", "--tag_set", "serve"),
            *("--signature_def", "serve", "--inputs", f"{name}={file}"),
        ],
        capture_output=True,
        text=True,
    )
    assert process.returncode != 0, process.stdout[-3000:]
    assert said in process.stderr[-3000:], process.stderr[-3000:]
