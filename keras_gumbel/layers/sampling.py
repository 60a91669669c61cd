"""What every sampling layer has: a temperature, a stream of noise, a switch."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import keras
from keras import ops

from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import (
    check_choice,
    check_config,
    check_dense,
    check_initial_temperature,
    check_integer,
    check_not_negative,
    check_seed,
    check_stream,
    check_temperature,
)
from keras_gumbel.ops.checkpoints import checkpoint_with
from keras_gumbel.ops.symbolic import trace

# Under this name the stream of noise is stored beside the weights.
_STREAM = "seed_generator_state"


class _LiveScalar(NamedTuple):
    variable: keras.Variable
    initial: float
    schedule: LearningRateSchedule | None
    check: Callable[[Any], None]


class SamplingLayer(keras.Layer):
    """Base of the layers that draw noise at a temperature.

    Args:
        temperature: Positive number, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the training
            calls of this layer, counted from 0.
        inference: What happens when not training, one of `_inference_modes`.
        noise_scale: Number >= 0.
        seed: None, an integer, or a `keras.random.SeedGenerator`.
    """

    # The first argument of `call`.
    _input_name: ClassVar[str] = "inputs"

    def __init__(
        self,
        temperature: float | LearningRateSchedule,
        *,
        inference: str | None,
        noise_scale: float,
        seed: int | keras.random.SeedGenerator | None,
        **kwargs: Any,
    ) -> None:
        # Keras would cast the logits to half precision on the way in, and
        # what is lost there the float32 inside cannot bring back.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        check_choice(inference, "inference", self._inference_modes)
        check_not_negative(noise_scale, "noise_scale")
        self.inference = inference
        self.noise_scale = float(noise_scale)
        self.supports_masking = True
        self._live: dict[str, _LiveScalar] = {}
        self._iterations: keras.Variable | None = None
        self._add_live_scalar(
            "temperature", temperature, check_initial_temperature
        )
        self._init_stream(seed)

    def _add_live_scalar(
        self, name: str, value: Any, check: Callable[[Any], None]
    ) -> None:
        """A number that may change as the model trains: a variable.

        Args:
            name: Of the variable, and of the constructor's argument.
            value: A number, or a `LearningRateSchedule` of the training
                calls (or its configuration), which sets it from then on.
            check: Raises for a number that it must not begin with.
        """
        if isinstance(value, dict):
            value = keras.saving.deserialize_keras_object(value)
        schedule = None
        if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
            schedule = value
            value = float(ops.convert_to_numpy(schedule(0)))
        check(value)
        initial = float(value)
        variable = self.add_weight(
            name=name,
            shape=(),
            initializer=keras.initializers.Constant(initial),
            dtype="float32",
            trainable=False,
            autocast=False,
        )
        self._live[name] = _LiveScalar(variable, initial, schedule, check)
        checkpoint_with(self, name, variable)
        if schedule is not None and self._iterations is None:
            self._iterations = self.add_weight(
                name="iterations",
                shape=(),
                initializer="zeros",
                dtype="int64",
                trainable=False,
                autocast=False,
            )

    def _live_config(self, name: str) -> Any:
        """What the live scalar was made with; its value is a weight."""
        live = self._live[name]
        if live.schedule is None:
            return live.initial
        return keras.saving.serialize_keras_object(live.schedule)

    def _init_stream(self, seed: Any) -> None:
        if isinstance(seed, dict):
            seed = keras.saving.deserialize_keras_object(seed)
        check_seed(seed)
        self.seed = seed
        if isinstance(seed, keras.random.SeedGenerator):
            self.seed_generator = seed
        else:
            self.seed_generator = keras.random.SeedGenerator(
                None if seed is None else int(seed)
            )
        checkpoint_with(self, _STREAM, self.seed_generator.state)

    @property
    def temperature(self) -> keras.Variable:
        """The live temperature: a float32 variable, saved with the weights.

        Assigning a number to it, by `layer.temperature = 0.5` or by
        `layer.temperature.assign(0.5)`, retraces nothing.
        """
        return self._live["temperature"].variable

    @temperature.setter
    def temperature(self, value: float) -> None:
        check_temperature(value)
        self.temperature.assign(value)

    @property
    def temperature_schedule(self) -> LearningRateSchedule | None:
        """What the temperature follows, if it was made with a schedule."""
        return self._live["temperature"].schedule

    @property
    def _inference_modes(self) -> tuple[str | None, ...]:
        raise NotImplementedError

    def current_temperature(
        self, override: Tensor | None, training: bool | None
    ) -> Tensor:
        """The temperature of this call; a training call counts as a step.

        Whatever else follows a schedule is set then, too.
        """
        if training and self._iterations is not None:
            step = self._iterations.value
            for live in self._live.values():
                if live.schedule is not None:
                    value = ops.cast(live.schedule(step), "float32")
                    live.variable.assign(value)
            self._iterations.assign_add(1)
        return self.temperature if override is None else override

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, of dense tensors."""
        # Before Keras builds it for a shape that no dense tensor has.
        check_dense(self._input_of(args, kwargs), self._input_name)
        return super().__call__(*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Shape and dtype of a symbolic call, which raises what any does."""
        inputs = self._input_of(args, kwargs)
        # Of floats alone `build` has seen all; what is with them, and integers,
        # Keras would not look at before the model runs.
        alone = all(
            x is inputs or x is None or isinstance(x, bool)
            for x in (*args, *kwargs.values())
        )
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if self.built and not (alone and "float" in dtype):
            trace(self.call, *args, **kwargs)
        return super().compute_output_spec(*args, **kwargs)

    def _input_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0] if args else kwargs.get(self._input_name)

    def save_own_variables(self, store: Any) -> None:
        """Save the weights, and the stream, which Keras leaves out."""
        super().save_own_variables(store)
        store[_STREAM] = self.seed_generator.state

    def load_own_variables(self, store: Any) -> None:
        """Load the weights, and continue the stream where it was."""
        # Keras hands over a dict-like object that can only list its keys.
        stored = {key: store[key] for key in list(store.keys())}
        stream = stored.pop(_STREAM, None)
        super().load_own_variables(stored)
        check_stream(stream)
        self.seed_generator.state.assign(stream)
        for live in self._live.values():
            live.check(float(ops.convert_to_numpy(live.variable)))
        if self._iterations is not None:
            count = int(ops.convert_to_numpy(self._iterations))
            check_integer(count, "iterations", minimum=0)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer of such a configuration, of which nothing is missing."""
        check_config(cls, config)
        return super().from_config(config)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the live temperature is a weight."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "temperature": self._live_config("temperature"),
            "inference": self.inference,
            "noise_scale": self.noise_scale,
            "seed": serialize(self.seed)
            if isinstance(self.seed, keras.random.SeedGenerator)
            else self.seed,
        }
