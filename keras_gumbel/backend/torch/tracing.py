"""What is being traced, as far as torch and Keras let it be known."""

from collections.abc import Callable
from typing import Any, NoReturn

import keras
import numpy as np
import torch

# Keras keeps these to itself.
from keras.src.backend import compute_output_spec
from keras.src.export.export_utils import get_input_signature
from torch.autograd import forward_ad

from keras_gumbel.backend import frames

# Converters that trace a model themselves, and what they write.
_CONVERTERS = {"torch.onnx": "onnx", "openvino.tools.ovc.convert": "openvino"}


def is_eager(*args: Any) -> bool:
    """Whether operations run as they are called, on tensors with values."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    # Neither `torch.func` nor an exporter is at work.
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    if torch._C._len_torch_dispatch_stack():
        return False
    # A rule has no forward mode: torch is to say so.
    if forward_ad._current_level >= 0:
        return False
    return not any(isinstance(x, torch.Tensor) and x.is_meta for x in args)


def trace(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Run `function` for its errors alone, with symbolic arguments.

    Nothing is drawn, assigned or added.
    """
    compute_output_spec(function, *args, **kwargs)


def input_signature(model: keras.Model) -> Any:
    """One structure of specs for what a model is called with."""
    (signature,) = get_input_signature(model)
    return signature


def export_format() -> str | None:
    """What a call is traced for by an exporter, None if it is not."""
    return None if is_eager() else _format()


@torch._dynamo.assume_constant_result
def _format() -> str | None:
    return frames.export_format(_CONVERTERS)


def exports_xor() -> bool:
    """Whether a file has XOR of integers: exporters begin with it."""
    return True


def is_in_inner_graph() -> bool:
    """Whether a layer up the stack traces a loop or a branch: none does."""
    return False


def has_value(variable: keras.Variable) -> bool:
    """Whether it can be read here: always."""
    del variable
    return True


def value_now(variable: keras.Variable) -> np.ndarray | None:
    """What a variable holds."""
    return keras.ops.convert_to_numpy(variable._value)


def refuse_export(reason: str) -> NoReturn:
    """Raise a ValueError to whoever exports."""
    raise ValueError(reason)
