"""What users run exported files with, one function a format."""

import importlib.util

import pytest

ENDINGS = {"litert": "tflite", "onnx": "onnx", "openvino": "xml"}
MODULES = {
    "litert": "ai_edge_litert",
    "onnx": "onnxruntime",
    "openvino": "openvino",
}


def export(model, target, folder, **settings):
    """The file of a model; skips where the format's runtime is missing."""
    if importlib.util.find_spec(MODULES[target]) is None:
        pytest.skip(f"{MODULES[target]} is not installed: the extra `export`")
    path = folder / f"model.{ENDINGS[target]}"
    model.export(str(path), format=target, verbose=False, **settings)
    return path


def run(path, inputs):
    """The first output."""
    return outputs(path, inputs)[0]


def outputs(path, inputs):
    """All, for arrays in the order of the model's inputs, or by name."""
    return {".tflite": _litert, ".onnx": _onnx, ".xml": _openvino}[path.suffix](
        path, inputs
    )


def _litert(path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    signature = interpreter.get_signature_runner("serving_default")
    if not isinstance(inputs, dict):
        # Of LiteRT's inputs the names are left, and not the order.
        names = sorted(
            signature.get_input_details(), key=lambda n: "_noise" in n
        )
        inputs = dict(zip(names, inputs, strict=True))
    found = signature(**inputs)
    return [found[name] for name in sorted(found)]


def _onnx(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    if not isinstance(inputs, dict):
        names = [given.name for given in session.get_inputs()]
        inputs = dict(zip(names, inputs, strict=True))
    return session.run(None, inputs)


def _openvino(path, inputs):
    import openvino

    # On some processors its default is bfloat16.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(str(path), "CPU", settings)
    given = inputs if isinstance(inputs, dict) else [*inputs]
    return [*compiled(given).values()]
