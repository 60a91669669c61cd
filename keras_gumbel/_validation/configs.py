"""Checks of a file's contents, which others may have written."""

import inspect
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

_PASSED_ON = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)
# Keras fills these in if they are not given.
_OF_EVERY_LAYER = {"name", "dtype", "trainable"}

# Kinds of objects, beside layers, that a layer can be made with.
_KINDS = {
    "initializer": keras.initializers.Initializer,
    "regularizer": keras.regularizers.Regularizer,
    "constraint": keras.constraints.Constraint,
}


def check_config(cls: type, config: Any) -> None:
    """Raise unless it is a dict with every argument of the constructor."""
    if not isinstance(config, dict):
        raise TypeError(
            f"`config` of {cls.__name__} must be a dict. "
            f"Received: config={config!r} (of type {type(config).__name__})"
        )
    _check_nothing_is_missing(
        cls,
        config,
        (
            name
            for name, parameter in inspect.signature(cls).parameters.items()
            # `check_is_whole` checks arguments that are passed on.
            if parameter.kind not in _PASSED_ON
        ),
    )


def check_is_whole(made: Any, config: dict[str, Any]) -> None:
    """Raise unless a configuration has every argument of its object.

    A constructor of `(*args, **kwargs)` does not name the arguments that it
    passes to a class above it; `get_config` does.
    """
    names = made.get_config().keys() - _OF_EVERY_LAYER
    _check_nothing_is_missing(type(made), config, sorted(names))


def _check_nothing_is_missing(
    cls: type, config: dict[str, Any], names: Iterable[str]
) -> None:
    missing = [name for name in names if name not in config]
    if missing:
        raise ValueError(
            f"`config` of {cls.__name__} must have every argument of the "
            "constructor, as `get_config` gives them. A missing argument would "
            "silently change the layer. "
            f"Missing: {missing}. Received: config={config}"
        )


def check_flag(value: Any, name: str) -> bool:
    """Return True or False; raise for any other value."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"`{name}` must be True or False. Received: {name}={value!r} "
            f"(of type {type(value).__name__})"
        )
    return bool(value)


def check_function(value: Any, name: str) -> None:
    """Raise unless the value can be called."""
    if not callable(value):
        raise TypeError(
            f"`{name}` must be a function, a layer or a model. Received: "
            f"{name}={value!r} (of type {type(value).__name__})"
        )


def check_are_values(arguments: Any) -> None:
    """Raise if an argument of a `kg.remat` block is symbolic."""
    for x in keras.tree.flatten(arguments):
        if keras.utils.is_keras_tensor(x):
            raise TypeError(
                "The result of `kg.remat` must be called with tensors. Call it "
                "in the `call` of a layer or model of yours, in place of a "
                f"`keras.Input`. Received: {x!r}"
            )


def check_kind(value: Any, name: str, kind: str) -> Any:
    """Return an initializer, regularizer or constraint; raise for others.

    A function of one's own will do, but no other object of Keras. Regularizer
    and constraint may be None.
    """
    optional = kind != "initializer"
    own = callable(value) and not hasattr(value, "get_config")
    if isinstance(value, _KINDS[kind]) or own or (value is None and optional):
        return value
    raise TypeError(
        f"`{name}` must be a Keras {kind}, its name, or a function"
        f"{', or None' if optional else ''}. Received: {name}={value!r} "
        f"(of type {type(value).__name__})"
    )


def check_model(model: Any) -> None:
    """Raise unless it is a Keras model."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a `keras.Model`. Received: "
            f"model={model!r} (of type {type(model).__name__})"
        )


def check_stored(
    stored: dict[str, Any], weights: dict[str, Any], optional: Iterable[str]
) -> None:
    """Raise unless a file has the layer's weights; some are optional."""
    missing = sorted({*weights} - {*stored} - {*optional})
    unknown = sorted({*stored} - {*weights} - {*optional})
    if missing or unknown:
        raise ValueError(
            "The file must hold the weights of the layer. (A layer that is not "
            "built has only live scalars.) "
            f"Received: missing {missing}, unknown {unknown}"
        )
    for key in sorted(stored.keys() & weights.keys()):
        check_stored_shape(stored[key], weights[key], key)


def check_stored_shape(stored: Any, weight: Any, key: str) -> None:
    """Raise unless a file's weight has the shape of the layer's.

    Keras's own error shows the weight's values. If a file asks for more memory
    than there is, JAX ends the process as they are read.
    """
    if tuple(stored.shape) != tuple(weight.shape):
        raise ValueError(
            f"Weight {key!r} of the file must have the shape of the layer's, "
            f"{tuple(weight.shape)}. Received: shape {tuple(stored.shape)}"
        )


def check_stream(state: Any) -> None:
    """Raise unless it is two integers, the seed and the count of draws."""
    values = np.asarray(state)
    integers = np.issubdtype(values.dtype, np.integer)
    if not integers or values.shape != (2,) or (values < 0).any():
        raise ValueError(
            "`seed_generator_state` must be two integers that are not "
            f"negative. Received: seed_generator_state={state!r}"
        )


def deserialized(value: Any) -> Any:
    """Return the object of a Keras configuration; else `value` itself.

    Keras would search any other dict, and stop with an error of its own.
    """
    of_one = isinstance(value, dict) and isinstance(
        value.get("class_name"), str
    )
    if not of_one:
        return value
    return keras.saving.deserialize_keras_object(value)
