"""Which layers of a model a `TemperatureScheduler` sets."""

from collections.abc import Iterable
from typing import Any

import keras

from keras_gumbel._validation import layers_inside


def check_layers(layers: Any) -> list[keras.Layer | str]:
    """Return the given layers and names as a list; raise for anything else."""
    if isinstance(layers, str):
        remedy = f"layers=[{layers!r}]"
    elif isinstance(layers, keras.Layer):
        remedy = "layers=[layer]"
    else:
        remedy = None
    if remedy is None and isinstance(layers, Iterable):
        given = list(layers)
        if all(isinstance(x, str | keras.Layer) for x in given):
            return given
        layers = given
    raise TypeError(
        "`layers` must be a sequence of layers and of names of layers"
        f"{f', such as {remedy}' if remedy else ''}. "
        f"Received: layers={layers!r} (of type {type(layers).__name__})"
    )


def annealed_layers(
    model: keras.Model, given: list[keras.Layer | str] | None
) -> list[keras.Layer]:
    """Return the layers of the model to set, each once.

    Args:
        model: The model that is trained.
        given: Layers of the model, or their names; None for every layer that
            has a temperature to set.
    """
    inside = layers_inside(model)
    if given is None:
        chosen = [layer for layer in inside if _is_annealable(layer)]
    else:
        chosen = []
        for x in given:
            layer = _named(inside, x) if isinstance(x, str) else x
            if not any(layer is other for other in chosen):
                chosen.append(layer)
    others = [x for x in chosen if not _is_annealable(x)]
    if others or not chosen:
        _refuse(inside if given is None else others)
    _check_model_holds(inside, chosen)
    return chosen


def _check_model_holds(
    inside: list[keras.Layer], chosen: list[keras.Layer]
) -> None:
    """Raise for layers of another model, such as a copy, by identity."""
    held = {id(layer) for layer in inside}
    strangers = [layer for layer in chosen if id(layer) not in held]
    if strangers:
        names = [layer.name for layer in strangers]
        raise ValueError(
            "`layers` has layers that the model in training does not hold. "
            "They may belong to the model that it was loaded or copied from: "
            f"then name them, layers={names}, since a name also finds the "
            "layer of a loaded model. Or take the layers from the model that "
            "is trained. (A layer outside of any model must become an "
            "attribute of this one.) "
            f"Received: layers={strangers!r}"
        )


def _named(inside: list[keras.Layer], name: str) -> keras.Layer:
    """Return the layer of that name; of several, the one that can be set."""
    found = [layer for layer in inside if layer.name == name]
    settable = [layer for layer in found if _is_annealable(layer)]
    if len(settable) > 1:
        raise ValueError(
            f"{len(settable)} layers with a temperature have the name "
            f"{name!r}. Give the layer itself in `layers`, such as "
            "model.get_layer(outer).get_layer(inner), or rename one. "
            f"Received: layers=[{name!r}]"
        )
    if not found:
        names = [layer.name for layer in inside if _is_annealable(layer)]
        raise ValueError(
            f"`layers` names {name!r}, and the model has no layer of that "
            f"name; with a temperature it has {names}. (Layers that `build` "
            "makes are there once the model has been called on a batch.) "
            f"Received: layers=[{name!r}]"
        )
    return (settable or found)[0]


def _refuse(layers: list[keras.Layer]) -> None:
    """Raise for layers with nothing to set; name settable layers inside."""
    names = [layer.name for layer in layers]
    within = [
        inner.name
        for layer in layers
        for inner in layers_inside(layer)
        if _is_annealable(inner)
    ]
    received = f"layers without: {names}" if names else "layers=[]"
    hint = f"Name those that they hold: {within}. " if within else ""
    raise ValueError(
        "TemperatureScheduler needs layers with a live temperature "
        "and no schedule of their own, such as "
        f"keras_gumbel.GumbelSoftmax. {hint}Received: {received}"
    )


def _is_annealable(layer: Any) -> bool:
    """Check by protocol: any layer with these two attributes takes part."""
    return (
        isinstance(getattr(layer, "temperature", None), keras.Variable)
        and getattr(layer, "temperature_schedule", None) is None
    )
