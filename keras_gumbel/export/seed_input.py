"""A model that takes its seed as an input, on any runtime."""

import itertools
from typing import Any

import keras
from keras import ops

from keras_gumbel._tracing import keys_from
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    check_draws,
    check_integer,
    check_is_not_repeated,
    check_name_is_free,
    check_seed_words,
)
from keras_gumbel.backend import is_in_inner_graph
from keras_gumbel.export.exported import (
    ModelLayer,
    draws_of,
    inputs_like,
    model_of,
    sampling_layers,
)

_NAME = "seed"


@keras.saving.register_keras_serializable(package="keras_gumbel")
class SeedInput(ModelLayer):
    """A model called with the seed of its layers' draws.

    Args:
        model: The model.
        draws: Positive integer, how often its layers draw in a call.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, model: keras.Model, draws: int, **kwargs: Any) -> None:
        super().__init__(model, **kwargs)
        check_integer(draws, "draws", minimum=1)
        self.draws = draws

    def call(self, inputs: Any, seed: Tensor) -> Any:
        """Call the model, with the key (seed[0], count + n) for draw n."""
        check_seed_words(
            seed.shape, keras.backend.standardize_dtype(seed.dtype)
        )
        # An exporter forgets the size, and its file would ask for it.
        seed = ops.cast(ops.reshape(seed, (2,)), "int32")
        first, second = ops.unstack(seed)
        left = itertools.count()

        def key(layer: Any) -> Tensor:
            check_is_not_repeated(layer.name, is_in_inner_graph())
            return ops.stack([first, second * self.draws + next(left)])

        with keys_from(key):
            return self.model(inputs, training=False)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "draws": self.draws}


def with_seed_input(model: keras.Model) -> keras.Model:
    """Return a model that takes the seed of its samples, two integers.

        given(x, [a, t]) = the sample of `model` at x in call t, counted from
            0, of a run in which all its sampling layers share
            `keras.random.SeedGenerator(a)`

    LiteRT, ONNX and OpenVINO have no reproducible random numbers, or none at
    all. This model computes them, from the same 64 bits per number as the
    layers. It exports to each format by `export(path, format=...)` (to ONNX
    with `opset_version=18`), runs on built-in operations, and draws there the
    samples that Keras draws here. Raise t by 1 at each call to draw anew.

    If a model draws d times per call, draw n of call t uses Threefry with the
    key (a, t * d + n), modulo 2**32. So a model with one sampling layer returns
    sample t of this layer made with `seed=a`.

    The bits are equal everywhere. Runtimes' logarithms differ in the last
    digits, and so do relaxed samples, at a temperature of 0.5 by less than
    5e-6. A hard sample can differ only if two classes are that close: in a
    trial of 8 million rows of ten classes none did.

    Args:
        model: A `keras.Model` that has been built or called, with sampling
            layers of this package at any depth. It is not copied: both models
            have the same weights.

    Returns:
        A `keras.Model` with the inputs of `model`, in their order, and then
        `seed`, int32 `(2,)`, one for the whole batch. (`predict` would take
        it for two examples: call the model, or use `predict_on_batch`.)
        Inputs in a dict or another structure become a list of its parts.
        Write integers from 2**31 on as int32: subtract 2**32.

    Raises:
        ValueError: For a model without a sampling layer, or with none that
            draws; not built yet; with an input called `seed`; with a
            sampling layer inside a loop, such as an RNN's; or with an
            estimator of your own that has its own `forward`.
        TypeError: For anything but a model.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> choice = kg.GumbelSoftmax(hard=True, seed=7)
    >>> model = keras.Sequential([keras.Input((3,)), choice])
    >>> given = kg.export.with_seed_input(model)
    >>> x = keras.ops.zeros((5, 3))
    >>> seeds = [keras.ops.convert_to_tensor([7, t], "int32") for t in range(3)]
    >>> samples = [given([x, seed]) for seed in seeds]
    >>> all(bool(keras.ops.all(y == choice(x, training=True))) for y in samples)
    True

    Reference:
        Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2,
        3", 2011, section 4.3, https://doi.org/10.1145/2063384.2063405
    """
    sampling_layers(model)
    inputs = inputs_like(model)
    flat = keras.tree.flatten(inputs)
    check_name_is_free(_NAME, [one.name for one in flat])
    draws = len(draws_of(model, inputs))
    check_draws(model, draws)
    seed = keras.Input(batch_shape=(2,), dtype="int32", name=_NAME)
    outputs = SeedInput(model, draws, name="with_seed")(inputs, seed)
    return model_of([*flat, seed], outputs)
