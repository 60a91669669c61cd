"""What every sampling layer has: a temperature, a stream of noise, a switch."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import keras
from keras import ops

from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import (
    check_choice,
    check_config,
    check_initial_temperature,
    check_integer,
    check_not_negative,
    check_seed,
    check_stream,
    check_temperature,
)
from keras_gumbel.ops.calls import fetch_and_add, hand_on
from keras_gumbel.ops.checkpoints import (
    checkpoint_with,
    is_set_apart,
    set_apart,
    shares_objects,
)

# Under this name the stream of noise is stored beside the weights.
_STREAM = "seed_generator_state"
# And this is said of a generator in a configuration.
_APART = "is_set_apart"


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
            seed = self._generator(seed)
        check_seed(seed)
        self.seed = seed
        if isinstance(seed, keras.random.SeedGenerator):
            self.seed_generator = seed
        else:
            self.seed_generator = keras.random.SeedGenerator(
                None if seed is None else int(seed)
            )
        checkpoint_with(self, _STREAM, self.seed_generator.state)

    def _generator(self, config: dict[str, Any]) -> Any:
        """The generator that a layer was made with, or one like it.

        In a file of Keras's it may be shared with other layers, and stays so.
        Copied one by one, as by `clone_model`, layers know nothing of each
        other: each gets one of its own, that its name sets apart from those
        which began alike.
        """
        generator = keras.saving.deserialize_keras_object(config)
        apart = config.get(_APART, not shares_objects())
        if apart and isinstance(generator, keras.random.SeedGenerator):
            set_apart(generator, self.name)
        return generator

    def _seed_config(self) -> Any:
        if not isinstance(self.seed, keras.random.SeedGenerator):
            return self.seed
        serialize = keras.saving.serialize_keras_object
        serialize(self.seed)
        # Keras says that an object is shared from the second time on.
        config = serialize(self.seed)
        apart = is_set_apart(self.seed) or not shares_objects()
        return {**config, _APART: apart}

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
            step = fetch_and_add(self._iterations, 1)
            for live in self._live.values():
                if live.schedule is not None:
                    value = ops.cast(live.schedule(step), "float32")
                    live.variable.assign(value)
        return self.temperature if override is None else override

    def add_loss(self, loss: Tensor) -> None:
        """Add a loss, once and with its gradient in a block of `remat` too."""
        hand_on(super().add_loss, loss)

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
        return {
            **super().get_config(),
            "temperature": self._live_config("temperature"),
            "inference": self.inference,
            "noise_scale": self.noise_scale,
            "seed": self._seed_config(),
        }
