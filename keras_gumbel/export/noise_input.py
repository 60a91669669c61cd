"""A model that takes its noise as inputs, where there is no other."""

import collections
from typing import Any

import keras
from keras import ops

from keras_gumbel._tracing import noise_from
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation import (
    check_config,
    check_is_whole,
    check_model,
)
from keras_gumbel.backend import input_signature
from keras_gumbel.export.exported import sampling_layers


@keras.saving.register_keras_serializable(package="keras_gumbel")
class NoiseInput(keras.Layer):
    """A model, called with the noise in the order in which layers ask for it.

    Args:
        model: The model.
        **kwargs: Of `keras.layers.Layer`.
    """

    def __init__(self, model: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_model(model)
        self.model = model

    def build(self, *shapes: Any) -> None:
        """The model is built already."""
        self.built = True

    def call(self, inputs: Any, noises: list[Tensor]) -> Any:
        """Call the model, and have its layers perturb by these numbers."""
        left = iter(noises)
        with noise_from(lambda layer, like: next(left)):
            return self.model(inputs, training=False)

    def get_config(self) -> dict[str, Any]:
        """The model, and what every layer has."""
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "NoiseInput":
        """The layer of such a configuration."""
        check_config(cls, config)
        model = keras.saving.deserialize_keras_object(config["model"])
        layer = super().from_config({**config, "model": model})
        check_is_whole(layer, config)
        return layer


def with_noise_input(model: keras.Model) -> keras.Model:
    """A model that samples by the noise that it is given.

        given(x, noise) = what `model` samples at x, with this noise

    LiteRT, ONNX and OpenVINO have no random numbers that can be reproduced,
    or none at all. What this gives has none either: it exports to them by
    `export(path, format=...)`, and runs by their built-in operations. Whoever
    runs it draws the noise, by any generator:

        Gumbel    -log(-log(u))      GumbelSigmoid and HardConcreteGate:
        logistic  log(u) - log(1 - u), u uniform in (0, 1), in float64

    Args:
        model: A `keras.Model` that has been built or called, with sampling
            layers of this package at any depth. It is not copied: both models
            have the same weights.

    Returns:
        A `keras.Model` with the inputs of `model`, in their order, and then
        one for each call of a sampling layer, in the order of the calls, with
        the layer's name and `_noise`, and the shape of what it perturbs.
        Inputs in a dict or another structure become a list of its parts.

    Raises:
        ValueError: For a model without a sampling layer, or not built yet.
        TypeError: For what is not a model.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> choice = kg.GumbelSoftmax(hard=True, name="choice")
    >>> model = keras.Sequential([keras.Input((3,)), choice])
    >>> given = kg.export.with_noise_input(model)
    >>> [x.name for x in given.inputs][1]
    'choice_noise'
    >>> logits, noise = keras.ops.zeros((1, 3)), [[0.1, 2.0, -0.3]]
    >>> given([logits, keras.ops.convert_to_tensor(noise)]).numpy()
    array([[0., 1., 0.]], dtype=float32)
    """
    sampling_layers(model)
    inputs = keras.tree.map_structure(
        lambda spec: keras.Input(
            batch_shape=spec.shape, dtype=spec.dtype, name=spec.name
        ),
        input_signature(model),
    )
    noises = [
        keras.Input(batch_shape=shape, dtype="float32", name=name)
        for name, shape in _asked(model, inputs)
    ]
    outputs = NoiseInput(model, name="with_noise")(inputs, noises)
    given = keras.Model([*keras.tree.flatten(inputs), *noises], outputs)
    given(given.inputs)  # Keras writes no ONNX of what was never called.
    return given


def _asked(model: keras.Model, inputs: Any) -> list[tuple[str, Shape]]:
    """Name and shape of each noise, in the order of the calls."""
    runs: list[list[tuple[str, Shape]]] = []

    def note(layer: Any, like: Tensor) -> Tensor:
        runs[-1].append((layer.name, tuple(like.shape)))
        return ops.zeros_like(like)

    def call(inputs: Any) -> Any:
        runs.append([])  # Keras may trace it more than once.
        with noise_from(note):
            return model(inputs, training=False)

    keras.layers.Lambda(call)(inputs)
    calls = []
    for noted in zip(*runs[-2:], strict=True):
        # Where Keras tries a size that is not known, it tries two.
        sizes = (set(size) for size in zip(*(x for _, x in noted), strict=True))
        known = (None if len(one) > 1 else one.pop() for one in sizes)
        calls.append((noted[0][0], tuple(known)))
    times: collections.Counter[str] = collections.Counter()
    asked = []
    for name, shape in calls:
        times[name] += 1
        again = f"_{times[name]}" if times[name] > 1 else ""
        asked.append((f"{name}_noise{again}", shape))
    return asked
