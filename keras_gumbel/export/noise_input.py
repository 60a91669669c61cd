"""A model that takes its noise as inputs, for formats without random numbers."""

from typing import Any

import keras
from keras import ops

from keras_gumbel._typing import Tensor
from keras_gumbel.layers.given_noise import noise_from


@keras.saving.register_keras_serializable(package="keras_gumbel")
class _NoiseFromInputs(keras.Layer):
    """A model, called with noise in the order in which its layers ask."""

    def __init__(self, model: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model

    def call(self, inputs: Any, noises: list[Tensor]) -> Any:
        left = iter(noises)
        with noise_from(lambda layer, like: next(left)):
            return self.model(inputs, training=False)


def with_noise_input(model: keras.Model) -> keras.Model:
    asked: list[tuple[Any, tuple[int | None, ...]]] = []

    def note(layer: Any, like: Tensor) -> Tensor:
        asked.append((layer, tuple(like.shape)))
        return ops.zeros_like(like)

    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name),
        model.input,
    )
    with noise_from(note):
        keras.src.backend.compute_output_spec(lambda x: model(x, training=False), inputs)
    noises = [
        keras.Input(batch_shape=shape, dtype="float32", name=f"{layer.name}_noise")
        for layer, shape in asked
    ]
    outputs = _NoiseFromInputs(model)(inputs, noises)
    return keras.Model([*keras.tree.flatten(inputs), *noises], outputs)
