"""What is being traced, as far as JAX and Keras let it be known."""

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import keras
import numpy as np

# Keras keeps these to itself.
from keras.src.backend import compute_output_spec
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.export.export_utils import get_input_signature

from keras_gumbel.backend import frames

# Where JAX traces loops and branches.
_CONTROL_FLOW = (
    "jax._src.lax.control_flow.loops",
    "jax._src.lax.control_flow.conditionals",
)


def is_eager() -> bool:
    """Whether operations run as they are called."""
    return not isinstance(jnp.zeros(()), jax.core.Tracer)


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
    return None if is_eager() else frames.export_format({})


def exports_xor() -> bool:
    """Whether a file has XOR of integers: exporters begin with it."""
    return True


def is_in_inner_graph() -> bool:
    """Whether a layer up the stack traces a loop or a branch, and this in it.

    What is computed in there, that layer's caller cannot have.
    """
    return not is_eager() and frames.is_in_a_layers(_CONTROL_FLOW)


def has_value(variable: keras.Variable) -> bool:
    """Whether it can be read here.

    While Keras trains by values, a variable has none of its own.
    """
    scope = get_stateless_scope()
    mapped = scope is not None and scope.get_current_value(variable) is not None
    return mapped or variable._value is not None


def value_now(variable: keras.Variable) -> np.ndarray | None:
    """What a variable holds while a program is traced."""
    value = variable._value
    unknown = value is None or isinstance(value, jax.core.Tracer)
    return None if unknown else np.asarray(value)


def refuse_export(reason: str) -> NoReturn:
    """Raise a ValueError to whoever exports."""
    raise ValueError(reason)
