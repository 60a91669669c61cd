"""Models, and the layers with a temperature that they hold."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_gumbel._validation.live import is_schedule


def check_is_compiled(model: Any) -> None:
    """Raise unless it is a Keras model that knows its optimizer."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a keras.Model. "
            f"Received: model={model!r} (of type {type(model).__name__})"
        )
    if not model.compiled or getattr(model, "optimizer", None) is None:
        raise ValueError(
            "`model` must be compiled with the optimizer and the loss that it "
            f"is to be trained with. Received: model={model!r}, not compiled"
        )


def layers_with_temperature(model: keras.Model) -> list[Any]:
    """Return every layer whose live temperature no schedule sets."""
    found = [
        layer
        for layer in layers_inside(model)
        if isinstance(getattr(layer, "temperature", None), keras.Variable)
    ]
    if not found:
        raise ValueError(
            "`model` must have a layer with a live temperature, such as "
            f"keras_gumbel.GumbelSoftmax. Received: model={model!r}"
        )
    scheduled = [
        layer.name
        for layer in found
        if getattr(layer, "temperature_schedule", None) is not None
    ]
    if scheduled:
        raise ValueError(
            "`model` must have temperatures that can be set. Build it with a "
            "number in place of the schedule. "
            f"Received: layers with a schedule: {scheduled}"
        )
    return found


def check_can_take(
    layers: Sequence[Any], attribute: str, rule: Any
) -> list[Any]:
    """Return the layers that have a setting; raise if there is none."""
    takers = [layer for layer in layers if hasattr(layer, attribute)]
    if not takers:
        raise ValueError(
            f"`estimators` has {rule!r}, and no layer with a temperature has "
            f"an argument `{attribute}` to set for it. Received: a model with "
            f"{[layer.name for layer in layers]}"
        )
    for layer in takers:
        estimator = getattr(layer, "estimator", None)
        if is_schedule(getattr(estimator, "backward_temperature", None)):
            raise ValueError(
                "`estimators` cannot take the place of one that follows a "
                "schedule: build the layer with a number in place of it. "
                f"Received: layer {layer.name!r} with {estimator!r}"
            )
    return takers


def check_monitor(logs: dict[str, float], monitor: str) -> None:
    """Raise unless a step of the model reports the number."""
    if monitor not in logs:
        raise ValueError(
            "`monitor` must be a name in the logs of a training step. "
            f"Received: monitor={monitor!r}, logs with {sorted(logs)}"
        )


def check_batches(x: Any, y: Any, name: str) -> int:
    """Return the number of examples, the same in every array."""
    arrays = keras.tree.flatten((x, y))
    sizes = {len(array) for array in arrays if array is not None}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"`{name}` must be arrays with as many examples each, at least "
            f"one. Received: {name} with {sorted(sizes)} examples"
        )
    return sizes.pop()


def layers_inside(layer: Any) -> list[Any]:
    """Return the layer and every layer inside, at any depth, each once."""
    flatten = getattr(layer, "_flatten_layers", None)
    if flatten is not None:
        return list(flatten(include_self=True, recursive=True))
    # If Keras renames its private method, search only models, by `layers`.
    found = [layer]
    for inner in getattr(layer, "layers", []):
        found.extend(x for x in layers_inside(inner) if x not in found)
    return found
