"""Base of the sampling layers: a temperature, a stream of noise, a switch."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Self

import keras

from keras_gumbel import estimators
from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import (
    as_it_is,
    check_backward_temperature,
    check_can_be_saved,
    check_can_follow,
    check_choice,
    check_config,
    check_dense,
    check_initial_temperature,
    check_is_whole,
    check_no_penalty,
    check_not_built,
    check_not_negative,
    is_schedule,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers import stored, stream
from keras_gumbel.layers.live_scalar import LiveScalar, settings
from keras_gumbel.layers.saved import SavedLayer
from keras_gumbel.ops.calls import fetch_and_add, hand_on
from keras_gumbel.ops.checkpoints import checkpoint_with
from keras_gumbel.ops.penalty import (
    is_in_inner_graph,
    value_now,
    zero_or_nan,
)
from keras_gumbel.ops.symbolic import trace

# The live temperature of a backward rule that follows a schedule.
_OF_RULE = "backward_temperature"


def _check_noise_scale(value: Any) -> None:
    check_not_negative(value, "noise_scale")


class SamplingLayer(SavedLayer, ABC):
    """Base of the layers that draw noise at a temperature.

    Args:
        temperature: Positive number, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the training
            calls of this layer, counted from 0.
        inference: Behaviour when not training, one of `_inference_modes`.
        noise_scale: Number >= 0, or a schedule as for the temperature.
        seed: None, an integer, or a `keras.random.SeedGenerator`.
    """

    # The first argument of `call`.
    _input_name: ClassVar[str] = "inputs"

    # The arguments of this package's constructors, without a user's own.
    _settings: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Record the constructor's arguments."""
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
            names = inspect.signature(cls).parameters.keys() - {"kwargs"}
            cls._settings |= names

    def __init__(
        self,
        temperature: float | LearningRateSchedule,
        *,
        inference: str | None,
        noise_scale: float | LearningRateSchedule,
        seed: int | keras.random.SeedGenerator | None,
        **kwargs: Any,
    ) -> None:
        # Keras would cast the logits to half precision on the way in; the
        # float32 inside cannot bring the lost digits back.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        check_choice(inference, "inference", self._inference_modes)
        self.inference = inference
        self.supports_masking = True
        self._live = {}
        self._iterations = None
        self._add_live_scalar(
            "temperature", temperature, check_initial_temperature
        )
        self._add_live_scalar(
            "noise_scale", noise_scale, _check_noise_scale, is_weight=False
        )
        self.seed = stream.given(seed, self.name)
        self.seed_generator = stream.generator(self.seed)
        checkpoint_with(self, stream.KEY, self.seed_generator.state)

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign live numbers; refuse settings of traced programs."""
        if name in self._live_names:
            # Use only the property: Keras would first make a weight of a
            # variable, and TensorFlow a part of its checkpoints.
            object.__setattr__(self, name, value)
            return
        if self.__dict__.get("built") and name in self._settings:
            check_not_built(self, name, value, self._live_names)
        super().__setattr__(name, value)

    def _add_live_scalar(
        self,
        name: str,
        value: Any,
        check: Callable[[Any], None],
        *,
        is_weight: bool = True,
    ) -> None:
        """Add a `LiveScalar`: a number that may change as the model trains."""
        live = LiveScalar.of(name, value, check)
        make = self.add_weight if is_weight else self._add_variable
        initial = keras.initializers.Constant(live.initial)
        live.variable = make(**settings(name, initial, "float32"))
        self._live[name] = live
        checkpoint_with(self, name, live.variable)
        if live.schedule is not None and self._iterations is None:
            self._iterations = self.add_weight(
                **settings(stored.ITERATIONS, "zeros", "int")
            )

    def _add_variable(self, **settings: Any) -> keras.Variable:
        """Add a variable that is not a weight."""
        with keras.name_scope(self.name):
            return keras.Variable(**settings)

    @property
    def temperature(self) -> keras.Variable:
        """Return the live temperature, a float32 variable saved as a weight.

        Assigning a number to it, by `layer.temperature = 0.5` or by
        `layer.temperature.assign(0.5)`, retraces nothing.
        """
        return self._live["temperature"].variable

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._live["temperature"].assign(value)

    @property
    def noise_scale(self) -> keras.Variable:
        """Return the live scale of the noise, a float32 variable.

        It is assignable like the temperature, and saved. Like the stream of
        noise, it is in `variables` but not in `weights`.
        """
        return self._live["noise_scale"].variable

    @noise_scale.setter
    def noise_scale(self, value: float) -> None:
        self._live["noise_scale"].assign(value)

    def _init_estimator(self, estimator: str | Estimator) -> None:
        """Set the backward rule of hard samples, and its schedule if any."""
        rule = estimators.get(estimator)
        check_can_be_saved(rule)
        self.estimator: Any = rule
        own = rule.backward_temperature
        if is_schedule(own):
            self._add_live_scalar(_OF_RULE, own, check_backward_temperature)

    @property
    def current_estimator(self) -> Estimator:
        """Return the estimator, with a number in place of a schedule."""
        live = self._live.get(_OF_RULE)
        return (
            self.estimator if live is None else self.estimator.at(live.variable)
        )

    def _add_penalty(
        self, name: str, penalty: Callable[[], Tensor], instead: str
    ) -> Tensor | None:
        """Add the loss `penalty()` with the weight `name`.

        Inside a loop of another layer it adds none, and the weight must be 0.
        The caller then adds the result to the output: 0, or NaN if the weight
        has changed since.
        """
        live = self._live[name]
        if not is_in_inner_graph():
            self.add_loss(live.variable * penalty())
            return None
        now = value_now(live.variable)
        weight = None if now is None else float(now)
        check_no_penalty(self, name, live.schedule or weight, instead)
        return zero_or_nan(live.variable)

    @property
    def variables(self) -> list[keras.Variable]:
        """Return the weights, the stream, and the scale of the noise."""
        return [*super().variables, self.noise_scale]

    @property
    def temperature_schedule(self) -> LearningRateSchedule | None:
        """Return the schedule that the temperature follows, or None."""
        return self._live["temperature"].schedule

    @property
    @abstractmethod
    def _inference_modes(self) -> tuple[str | None, ...]:
        """Return the values that `inference` may have."""

    def current_temperature(
        self, override: Tensor | None, training: bool | None
    ) -> Tensor:
        """Return the temperature of this call; count a training call.

        A training call also sets all other numbers that follow a schedule.
        """
        if training and self._iterations is not None:
            step = fetch_and_add(self._iterations, 1)
            for live in self._live.values():
                live.follow(step)
        return self.temperature if override is None else override

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer on dense tensors.

        Variables are passed uncast: Keras would cast them to the dtype of an
        enclosing layer, and half precision may not hold a learned temperature.
        """
        # Check before Keras builds the layer for a ragged or sparse shape.
        check_dense(self._input_of(args, kwargs), self._input_name)
        check_can_follow(kwargs.get("temperature"), args)
        named = {name: as_it_is(x) for name, x in kwargs.items()}
        return super().__call__(*map(as_it_is, args), **named)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Return the spec of a symbolic call; raise what any call raises."""
        inputs = self._input_of(args, kwargs)
        # `build` has checked floats without other arguments. Keras would check
        # other arguments, and integers, only when the model runs.
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

    def add_loss(self, loss: Tensor) -> None:
        """Add a loss; in a block of `remat` too, once and with its gradient."""
        hand_on(super().add_loss, loss)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the layer of a configuration that misses no argument."""
        check_config(cls, config)
        layer = super().from_config(config)
        check_is_whole(layer, config)
        return layer

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; live numbers are weights."""
        return {
            **super().get_config(),
            "temperature": self._live["temperature"].config(),
            "inference": self.inference,
            "noise_scale": self._live["noise_scale"].config(),
            "seed": stream.config(self.seed),
        }
