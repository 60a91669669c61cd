"""The trace in progress, as far as TensorFlow and Keras reveal it."""

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

# Keras keeps these private.
from keras.src.backend import compute_output_spec
from keras.src.export.export_utils import get_input_signature

# This lists the packages that AutoGraph leaves as they are.
from tensorflow.python.autograph.core import config

# In a user's `tf.function` AutoGraph would rewrite this package, for seconds,
# and nothing in it needs that.
config.CONVERSION_RULES = (
    config.DoNotConvert(__name__.partition(".")[0]),
    *config.CONVERSION_RULES,
)


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Run `function` with symbolic arguments, for its errors alone.

    A tensor without a value takes the place of each `KerasTensor`. Nothing is
    drawn, assigned or added.
    """
    compute_output_spec(function, *args, **kwargs)


def input_signature(model: keras.Model) -> Any:
    """Return one structure of specs for a model's inputs.

    `model.export` uses it.
    """
    (signature,) = get_input_signature(model)
    return signature


# Converters that trace a model themselves, and the formats they write.
_LITE = "tensorflow.lite.python.lite"


_CONVERTERS = {_LITE: "litert", "tf2onnx.convert": "onnx"}


def export_format() -> str | None:
    """Return the format that an exporter traces a call for, or None.

    `"saved_model"`, `"litert"`, `"onnx"` or `"openvino"`: for Keras's `export`
    or a converter that gets the model. These do not tell layers, but their
    own functions are on the stack, the format's outermost.
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


# ONNX's first opset with bit operations, and the exporters' name for opsets.
_WITH_XOR = 18
_OPSETS = {"keras.src.export.onnx": "opset_version", "tf2onnx.convert": "opset"}


def exports_xor() -> bool:
    """Return whether the file being written, if any, has XOR of integers."""
    if export_format() != "onnx":
        return True
    given = (
        frame.f_locals.get(_OPSETS[module])
        for module, frame in _callers()
        if module in _OPSETS
    )
    return any(opset is not None and opset >= _WITH_XOR for opset in given)


_VECTORISED = "tensorflow.python.ops.parallel_for.control_flow_ops"
# TensorFlow traces loops and branches into graphs of their own here.
_CONTROL_FLOW = (
    "tensorflow.python.ops.while_v2",
    "tensorflow.python.ops.cond_v2",
    _VECTORISED,
)


def is_in_inner_graph() -> bool:
    """Return whether this is in a loop or a branch that a layer traces.

    That layer's caller cannot use the values computed there. (A loop
    over whole training steps is outside of every layer.)
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
    """Return whether operations run as they are called."""
    eager: bool = tf.executing_eagerly()
    return eager


def is_vectorised() -> bool:
    """Return whether the trace is made to work on many examples at once.

    `tf.vectorized_map` does this, and so does the Jacobian, for its rows. No
    program, barrier, generator or backward rule works there.
    """
    if tf.executing_eagerly():
        return False
    return any(module == _VECTORISED for module, _ in _callers())


def has_value(variable: keras.Variable) -> bool:
    """Return True: a variable can always be read."""
    del variable
    return True


def value_now(variable: keras.Variable) -> np.ndarray | None:
    """Return a variable's value while a graph is traced, None if unknown."""
    with tf.init_scope():
        return tf.get_static_value(tf.convert_to_tensor(variable.value))


def refuse_export(reason: str) -> NoReturn:
    """Raise a ValueError that the exporter shows.

    TensorFlow's converter drops an error raised while it traces a model, and
    tries another way. That fails for its own reason and may break the model's
    programs. So make the other way raise this error, too.
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
    """Yield the modules on the stack and their frames, innermost first."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_globals.get("__name__", ""), frame
        frame = frame.f_back
