"""The sampling layers of a model, for both ways of exporting."""

import keras

from keras_gumbel._validation import check_model
from keras_gumbel.layers.sampling import SamplingLayer


def sampling_layers(model: keras.Model) -> list[SamplingLayer]:
    """The layers of a model that draw noise, at any depth."""
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
