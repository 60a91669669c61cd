"""A user's own model, trained several times from the same state."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeAlias

import keras
import numpy as np
from keras import ops

from keras_gumbel._validation import check_can_take, check_monitor
from keras_gumbel.estimators import Estimator

SOFT = "soft"
Batch: TypeAlias = tuple[Any, Any]
State: TypeAlias = list[np.ndarray]
# A step of plain gradient descent so long that rounding the weights does not
# hide the gradient; a power of two, so that dividing by it is exact.
_RATE = 2.0**10
# A soft sample is a one-hot at the first, except for ties of 1e-5 nats; at the
# second no gradient passes through a sample.
_ALMOST_ZERO, _ALMOST_INFINITE = 1e-6, 1e30


class Trial:
    """Steps of a compiled model by its own `train_step`, undone at the end.

    A `with` block trains the model, takes gradients and evaluates it with hard
    samples. At its end everything is as it was before.

    Args:
        model: A compiled and built model.
        layers: The layers with a temperature.
        monitor: The name of the loss in the logs of a step.
        counted: Called with the number of steps that are done.
    """

    def __init__(
        self,
        model: keras.Model,
        layers: Sequence[Any],
        monitor: str,
        counted: Callable[[int], None],
    ) -> None:
        self.model, self.layers = model, layers
        self.monitor, self.counted = monitor, counted
        self._optimizer = model.optimizer
        if not self._optimizer.built:
            self._optimizer.build(model.trainable_variables)
        self._descent = _descent_like(self._optimizer)
        self._weights = _each_once(model.weights, model.metrics_variables)
        self._slots = list(self._optimizer.variables)
        known = {id(weight) for weight in self._weights}
        self._noise = [x for x in model.variables if id(x) not in known]
        self.start = _values(self._weights)
        self._start_of_slots = _values(self._slots)
        self._start_of_noise = _values(self._noise)
        self._settings = [
            (layer, name, getattr(layer, name))
            for layer in layers
            for name in ("hard", "estimator")
            if hasattr(layer, name)
        ]

    def __enter__(self) -> Self:
        """Take one batch per step, whatever `compile` was told."""
        self._steps = self.model.steps_per_execution
        self.model.steps_per_execution = 1
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the model as it was."""
        self.model.steps_per_execution = self._steps
        self.model.optimizer = self._optimizer
        self.model.train_function = None
        self._restart()

    @contextlib.contextmanager
    def samples(self, rule: str | Estimator | None) -> Iterator[None]:
        """Have the layers sample by an estimator or soft; None: their own."""
        with self._settings_kept():
            if rule is not None:
                name = "hard" if rule == SOFT else "estimator"
                for layer in check_can_take(self.layers, name, rule):
                    _set(layer, "hard", rule != SOFT)
                    if rule != SOFT:
                        _set(layer, "estimator", rule)
            yield

    @contextlib.contextmanager
    def hard_samples(self) -> Iterator[None]:
        """Have the layers sample hard, each by its own estimator."""
        with self._settings_kept():
            for layer in self.layers:
                _set(layer, "hard", True)
            yield

    @contextlib.contextmanager
    def _settings_kept(self) -> Iterator[None]:
        try:
            yield
        finally:
            for setting in self._settings:
                _set(*setting)

    def training(self) -> None:
        """Have steps follow the model's own optimizer."""
        self._follow(self._optimizer)

    def measuring(self) -> None:
        """Have steps show the gradient, or go nowhere."""
        self._follow(self._descent)

    def train(
        self, temperature: float, batches: Sequence[Batch]
    ) -> tuple[State, float]:
        """Train from the start; return the weights and a step's time."""
        self._restart()
        self._set_temperature(temperature)
        times = []
        for batch in batches:
            start = time.perf_counter()
            self._step(batch)
            times.append(time.perf_counter() - start)
        return _values(self._weights), statistics.median(times)

    def gradients(
        self, temperature: float, batch: Batch, number: int
    ) -> Iterator[np.ndarray]:
        """Yield gradients to the trainable weights at the start, as vectors."""
        self._descent.learning_rate = _RATE
        weights = self.model.trainable_variables
        self._restart()
        before = _flat(_values(weights))
        for _ in range(number):
            _assign(self._weights, self.start)
            self._set_temperature(temperature)
            self._step(batch)
            yield (before - _flat(_values(weights))) / _RATE

    def learns_through_samples(self, batch: Batch) -> np.ndarray:
        """Return which gradient entries are of weights behind the samples.

        Their gradient changes if the samples, hard here, pass none.
        """
        (whole,) = self.gradients(1.0, batch, 1)
        (rest,) = self.gradients(_ALMOST_INFINITE, batch, 1)
        found, begin = [], 0
        for weight in self.model.trainable_variables:
            end = begin + math.prod(weight.shape)
            part, change = whole[begin:end], (whole - rest)[begin:end]
            # The rest is rounding, since threads add up in any order.
            is_reached = np.abs(change).max() > 1e-5 * np.abs(part).max()
            found.append(np.full(end - begin, is_reached))
            begin = end
        return np.concatenate(found)

    def hard_losses(self, state: State, batches: Sequence[Batch]) -> np.ndarray:
        """Return the loss of each batch, with the same noise for any state."""
        self._descent.learning_rate = 0.0
        self._restart()
        losses = []
        for batch in batches:
            # Even a step of length 0 may change the weights, to NaN.
            _assign(self._weights, state)
            self._set_temperature(_ALMOST_ZERO)
            losses.append(self._step(batch))
        return np.array(losses)

    def moved(self, step: np.ndarray) -> State:
        """Return the start, with the trainable weights moved by a vector."""
        state, begin = list(self.start), 0
        places = {id(x): place for place, x in enumerate(self._weights)}
        for weight in self.model.trainable_variables:
            place, end = places[id(weight)], begin + math.prod(weight.shape)
            value = state[place]
            change = step[begin:end].reshape(value.shape)
            state[place] = (value + change).astype(value.dtype)
            begin = end
        return state

    def skip(self, steps: int) -> None:
        """Count steps that need not be made."""
        self.counted(steps)

    def length(self) -> float:
        """Return the Euclidean length of the trainable weights at the start."""
        self._restart()
        weights = _values(self.model.trainable_variables)
        return float(np.linalg.norm(_flat(weights)))

    def _follow(self, optimizer: keras.optimizers.Optimizer) -> None:
        self.model.optimizer = optimizer
        # A traced function also holds the layers' former settings.
        self.model.make_train_function(force=True)

    def _step(self, batch: Batch) -> float:
        logs = self.model.train_on_batch(*batch, return_dict=True)
        check_monitor(logs, self.monitor)
        self.counted(1)
        return float(logs[self.monitor])

    def _restart(self) -> None:
        _assign(self._weights, self.start)
        _assign(self._slots, self._start_of_slots)
        _assign(self._noise, self._start_of_noise)

    def _set_temperature(self, temperature: float) -> None:
        for layer in self.layers:
            layer.temperature.assign(temperature)


def _descent_like(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.Optimizer:
    """Return plain gradient descent, with the optimizer's loss scaling."""
    descent = keras.optimizers.SGD(_RATE)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return keras.optimizers.LossScaleOptimizer(descent)
    return descent


def _set(layer: Any, name: str, value: Any) -> None:
    """Give a built layer another setting, before it is traced again.

    The layers refuse it otherwise: traced programs would not follow.
    """
    if hasattr(layer, name):
        object.__setattr__(layer, name, value)


def _each_once(*groups: Sequence[keras.Variable]) -> list[keras.Variable]:
    return list({id(x): x for group in groups for x in group}.values())


def _values(variables: Sequence[keras.Variable]) -> State:
    return [np.array(ops.convert_to_numpy(x)) for x in variables]


def _assign(variables: Sequence[keras.Variable], values: State) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _flat(values: State) -> np.ndarray:
    wide = [value.astype("float64").ravel() for value in values]
    return np.concatenate(wide) if wide else np.zeros(0)
