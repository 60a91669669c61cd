"""Shared parts of the exporters: the layers of a model, and its draws."""

from typing import Any, Self

import keras
from keras import ops

from keras_gumbel._tracing import noise_from
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation import (
    check_config,
    check_is_whole,
    check_model,
)
from keras_gumbel.backend import input_signature, static_shape
from keras_gumbel.layers.sampling import SamplingLayer


class ModelLayer(keras.Layer):
    """Base class of layers that call a model in a special way.

    Args:
        model: The model.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, model: keras.Model, **kwargs: Any) -> None:
        # The model casts its inputs itself.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        check_model(model)
        self.model = model

    def build(self, *shapes: Any) -> None:
        """Do nothing but set `built`: the model is built already."""
        self.built = True

    def _trackable_children(
        self, save_type: str = "checkpoint", **kwargs: Any
    ) -> dict[str, Any]:
        """Return what TensorFlow tracks; in an export only the variables.

        Otherwise it would trace the model by itself too, which the format may
        refuse.
        """
        if save_type == "savedmodel":
            return {f"v{n}": v for n, v in enumerate(self.variables)}
        children: dict[str, Any]
        children = super()._trackable_children(save_type, **kwargs)
        return children

    def get_config(self) -> dict[str, Any]:
        """Return the model, and the arguments of every layer."""
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create the layer from a configuration."""
        check_config(cls, config)
        model = keras.saving.deserialize_keras_object(config["model"])
        layer = super().from_config({**config, "model": model})
        check_is_whole(layer, config)
        return layer


def sampling_layers(model: keras.Model) -> list[SamplingLayer]:
    """Return the layers of a model that draw noise, at any depth."""
    check_model(model)
    found = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, SamplingLayer)
    ]
    if not found:
        raise ValueError(
            "`model` must have a sampling layer of keras_gumbel. Without one, "
            f"use `model.export`. Received: model={model!r}"
        )
    return found


def inputs_like(model: keras.Model) -> Any:
    """Return new inputs in the structure of the model's own."""
    return keras.tree.map_structure(
        lambda spec: keras.Input(
            batch_shape=spec.shape, dtype=spec.dtype, name=spec.name
        ),
        input_signature(model),
    )


def draws_of(model: keras.Model, inputs: Any) -> list[tuple[str, Shape]]:
    """Return the layer's name and the noise's shape for each draw."""
    draws: list[tuple[str, Shape]] = []

    def note(layer: Any, like: Tensor) -> Tensor:
        draws.append((layer.name, static_shape(like)))
        return ops.zeros_like(like)

    def call(inputs: Any) -> Any:
        draws.clear()  # Keras may trace it more than once.
        with noise_from(note):
            return model(inputs, training=False)

    keras.layers.Lambda(call)(inputs)
    return draws


def model_of(inputs: list[Tensor], outputs: Any) -> keras.Model:
    """Return the model from `inputs` to `outputs`, ready to export."""
    given = keras.Model(inputs, outputs)
    given(given.inputs)  # Keras exports no uncalled model to ONNX.
    return given
