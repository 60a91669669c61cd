"""What is being traced, as far as TensorFlow and Keras let it be known."""

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

# Keras keeps these to itself.
from keras.src.backend import compute_output_spec
from keras.src.export.export_utils import get_input_signature

# Where it is noted which packages AutoGraph leaves as they are.
from tensorflow.python.autograph.core import config

# In a user's `tf.function` AutoGraph would rewrite whatever is called, for
# seconds, and there is nothing in this package that it is needed for.
config.CONVERSION_RULES = (
    config.DoNotConvert(__name__.partition(".")[0]),
    *config.CONVERSION_RULES,
)


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Run `function` for its errors alone, with symbolic arguments.

    Where an argument is a `KerasTensor`, one without a value takes its place.
    Nothing is drawn, assigned or added.
    """
    compute_output_spec(function, *args, **kwargs)


def input_signature(model: keras.Model) -> Any:
    """One structure of specs for what a model is called with.

    By it `model.export` goes.
    """
    (signature,) = get_input_signature(model)
    return signature


# Converters that trace a model themselves, and what they write.
_LITE = "tensorflow.lite.python.lite"


_CONVERTERS = {_LITE: "litert", "tf2onnx.convert": "onnx"}


def export_format() -> str | None:
    """What a call is traced for by an exporter, None if it is not.

    `"saved_model"`, `"litert"`, `"onnx"` or `"openvino"`: by Keras's `export`,
    or by a converter that is given the model. They tell layers nothing of it,
    but their own functions are on the stack, the format's outermost.
    """
    if tf.executing_eagerly():
        return None
    found = None
    for module, _ in _callers():
        folder, _, file = module.rpartition(".")
        if folder == "keras.src.export":
            found = file.removesuffix("_export_archive")
        found = _CONVERTERS.get(module, found)
    return found


# The first opset of ONNX with operations on bits, and how exporters call it.
_WITH_XOR = 18
_OPSETS = {"keras.src.export.onnx": "opset_version", "tf2onnx.convert": "opset"}


def exports_xor() -> bool:
    """Whether the file that is written, if one is, has XOR of integers."""
    if export_format() != "onnx":
        return True
    given = (
        frame.f_locals.get(_OPSETS[module])
        for module, frame in _callers()
        if module in _OPSETS
    )
    return any(opset is not None and opset >= _WITH_XOR for opset in given)


_VECTORISED = "tensorflow.python.ops.parallel_for.control_flow_ops"
# Where TensorFlow traces loops and branches into graphs of their own.
_CONTROL_FLOW = (
    "tensorflow.python.ops.while_v2",
    "tensorflow.python.ops.cond_v2",
    _VECTORISED,
)


def is_in_inner_graph() -> bool:
    """Whether a layer up the stack traces a loop or a branch, and this in it.

    What is computed in there, that layer's caller cannot have. (A loop over
    whole training steps is outside of every layer.)
    """
    if tf.executing_eagerly():
        return False
    inside = False
    for module, frame in _callers():
        inside |= module in _CONTROL_FLOW
        is_call = frame.f_code.co_name == "__call__"
        if inside and is_call and module == "keras.src.layers.layer":
            return True
    return False


def is_eager() -> bool:
    """Whether operations run as they are called."""
    eager: bool = tf.executing_eagerly()
    return eager


def is_vectorised() -> bool:
    """Whether what is traced becomes one operation on many at once.

    By `tf.vectorized_map`, or for the rows of a Jacobian. No program goes into
    that, nor a barrier, nor the generator, nor a gradient rule.
    """
    if tf.executing_eagerly():
        return False
    return any(module == _VECTORISED for module, _ in _callers())


def has_value(variable: keras.Variable) -> bool:
    """Whether it can be read here: always."""
    del variable
    return True


def value_now(variable: keras.Variable) -> np.ndarray | None:
    """What a variable holds while a graph is traced; None if out of reach."""
    with tf.init_scope():
        return tf.get_static_value(tf.convert_to_tensor(variable.value))


def refuse_export(reason: str) -> NoReturn:
    """Raise a ValueError to whoever exports.

    TensorFlow's converter drops what is raised as it traces a model, and
    tries another way, which fails for a reason of its own, and may leave the
    model's programs broken. So the other way is made to raise this, too.
    """
    error = ValueError(reason)

    def again() -> NoReturn:
        raise error

    for module, frame in _callers():
        converter = frame.f_locals.get("self") if module == _LITE else None
        for way in ("_freeze_keras_model", "_freeze_concrete_function"):
            if hasattr(converter, way):
                setattr(converter, way, again)
    raise error


def _callers() -> Iterator[tuple[str, types.FrameType]]:
    """The modules on the stack and their frames, the innermost first."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_globals.get("__name__", ""), frame
        frame = frame.f_back
