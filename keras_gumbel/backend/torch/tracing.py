"""The trace in progress, as far as torch and Keras reveal it."""

from collections.abc import Callable
from typing import Any, NoReturn

import keras
import numpy as np
import torch

# Keras keeps these private.
from keras.src.backend import compute_output_spec
from keras.src.export.export_utils import get_input_signature
from torch.autograd import forward_ad

from keras_gumbel.backend import frames

# Converters that trace a model themselves, and the formats they write.
_CONVERTERS = {"torch.onnx": "onnx", "openvino.tools.ovc.convert": "openvino"}


def is_eager(*args: Any) -> bool:
    """Return whether operations run as called, on tensors with values."""
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return False
    # `torch.func` and exporters show on these stacks.
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    if torch._C._len_torch_dispatch_stack():
        return False
    # Rules have no forward mode: let torch raise that error.
    if forward_ad._current_level >= 0:
        return False
    return not any(isinstance(x, torch.Tensor) and x.is_meta for x in args)


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Run `function` with symbolic arguments, for its errors alone.

    Nothing is drawn, assigned or added.
    """
    compute_output_spec(function, *args, **kwargs)


def input_signature(model: keras.Model) -> Any:
    """Return one structure of specs for a model's inputs."""
    (signature,) = get_input_signature(model)
    return signature


def export_format() -> str | None:
    """Return the format that an exporter traces a call for, or None."""
    return None if is_eager() else _format()


@torch._dynamo.assume_constant_result
def _format() -> str | None:
    return frames.export_format(_CONVERTERS)


def exports_xor() -> bool:
    """Return True: exporters have XOR of integers from the start."""
    return True


def is_in_inner_graph() -> bool:
    """Return False: on torch no layer traces a loop or a branch."""
    return False


def has_value(variable: keras.Variable) -> bool:
    """Return True: a variable can always be read."""
    del variable
    return True


def value_now(variable: keras.Variable) -> np.ndarray | None:
    """Return a variable's value."""
    return keras.ops.convert_to_numpy(variable._value)


def refuse_export(reason: str) -> NoReturn:
    """Raise a ValueError that the exporter shows."""
    raise ValueError(reason)
