"""The trace in progress, as far as JAX and Keras reveal it."""

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import keras
import numpy as np

# Keras keeps these private.
from keras.src.backend import compute_output_spec
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.export.export_utils import get_input_signature

from keras_gumbel.backend import frames

# JAX traces loops and branches in these modules.
_CONTROL_FLOW = (
    "jax._src.lax.control_flow.loops",
    "jax._src.lax.control_flow.conditionals",
)


def is_eager() -> bool:
    """Return whether operations run as they are called."""
    return not isinstance(jnp.zeros(()), jax.core.Tracer)


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
    return None if is_eager() else frames.export_format({})


def exports_xor() -> bool:
    """Return True: exporters have XOR of integers from the start."""
    return True


def is_in_inner_graph() -> bool:
    """Return whether this is in a loop or a branch that a layer traces.

    That layer's caller cannot use the values computed there.
    """
    return not is_eager() and frames.is_in_a_layers(_CONTROL_FLOW)


def has_value(variable: keras.Variable) -> bool:
    """Return whether a variable can be read here.

    While Keras trains by values, it has no value of its own.
    """
    scope = get_stateless_scope()
    mapped = scope is not None and scope.get_current_value(variable) is not None
    return mapped or variable._value is not None


def value_now(variable: keras.Variable) -> np.ndarray | None:
    """Return a variable's value while a program is traced, None if unknown."""
    value = variable._value
    unknown = value is None or isinstance(value, jax.core.Tracer)
    return None if unknown else np.asarray(value)


def refuse_export(reason: str) -> NoReturn:
    """Raise a ValueError that the exporter shows."""
    raise ValueError(reason)
