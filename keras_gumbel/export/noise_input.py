"""A model that takes its noise as inputs, for runtimes without noise."""

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
    """A model called with noise, in the order in which its layers ask for it.

    Args:
        model: The model.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def call(self, inputs: Any, noises: list[Tensor]) -> Any:
        """Call the model, whose layers perturb by these numbers."""
        left = iter(noises)
        with noise_from(lambda layer, like: next(left)):
            return self.model(inputs, training=False)


def with_noise_input(model: keras.Model) -> keras.Model:
    """Return a model that takes the noise of its samples as inputs.

        given(x, noise) = the sample of `model` at x, with this noise

    LiteRT, ONNX and OpenVINO have no reproducible random numbers, or none at
    all. The returned model needs none: it exports to them by
    `export(path, format=...)`, and runs on their built-in operations. Draw the
    noise where you run it, by any generator, u uniform in (0, 1), in float64:

        GumbelSigmoid, HardConcreteGate:  logistic, log(u) - log(1 - u)
        the other layers:                 Gumbel, -log(-log(u))

    Args:
        model: A `keras.Model` that has been built or called, with sampling
            layers of this package at any depth. It is not copied: both models
            have the same weights.

    Returns:
        A `keras.Model` with the inputs of `model`, in their order, and then
        one for each call of a sampling layer, in the order of the calls. Its
        name is the layer's and `_noise`, its shape the perturbed tensor's.
        Inputs in a dict or another structure become a list of its parts.

    Raises:
        ValueError: For a model without a sampling layer, or not built yet.
        TypeError: For anything but a model.

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
    """Return each noise's name and shape; a layer's later ones get numbers."""
    times: collections.Counter[str] = collections.Counter()
    named = []
    for name, shape in draws:
        times[name] += 1
        again = f"_{times[name]}" if times[name] > 1 else ""
        named.append((f"{name}_noise{again}", shape))
    return named
