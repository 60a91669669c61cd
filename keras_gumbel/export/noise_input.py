"""A model that takes its noise as inputs, where there is no other."""

import collections
from typing import Any

import keras

from keras_gumbel._tracing import noise_from
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel.export.exported import (
    ModelLayer,
    draws_of,
    inputs_like,
    model_of,
    sampling_layers,
)


@keras.saving.register_keras_serializable(package="keras_gumbel")
class NoiseInput(ModelLayer):
    """A model, called with the noise in the order in which layers ask for it.

    Args:
        model: The model.
        **kwargs: Of `keras.layers.Layer`.
    """

    def call(self, inputs: Any, noises: list[Tensor]) -> Any:
        """Call the model, and have its layers perturb by these numbers."""
        left = iter(noises)
        with noise_from(lambda layer, like: next(left)):
            return self.model(inputs, training=False)


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
    >>> y = given([logits, keras.ops.convert_to_tensor(noise)])
    >>> keras.ops.convert_to_numpy(y)
    array([[0., 1., 0.]], dtype=float32)
    """
    sampling_layers(model)
    inputs = inputs_like(model)
    noises = [
        keras.Input(batch_shape=shape, dtype="float32", name=name)
        for name, shape in _named(draws_of(model, inputs))
    ]
    outputs = NoiseInput(model, name="with_noise")(inputs, noises)
    return model_of([*keras.tree.flatten(inputs), *noises], outputs)


def _named(draws: list[tuple[str, Shape]]) -> list[tuple[str, Shape]]:
    """Name and shape of each noise: a layer's later ones have a number."""
    times: collections.Counter[str] = collections.Counter()
    named = []
    for name, shape in draws:
        times[name] += 1
        again = f"_{times[name]}" if times[name] > 1 else ""
        named.append((f"{name}_noise{again}", shape))
    return named
