"""Annealing from `fit`."""

import inspect
import itertools
import math
import warnings
import weakref
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from keras_gumbel._typing import Schedule
from keras_gumbel._validation import check_choice, check_integer
from keras_gumbel.callbacks.annealed_layers import (
    annealed_layers,
    check_layers,
)

# Schedulers that were ever in a `fit`; each finds its peers here.
_SCHEDULERS: weakref.WeakSet["TemperatureScheduler"] = weakref.WeakSet()


class TemperatureScheduler(keras.callbacks.Callback):
    """Set the temperature of a model's sampling layers as it trains.

        temperature = schedule(step + initial_step)

    where `step` is `optimizer.iterations` at each batch, or the epoch.

    The temperature is a pure function of the step, which Keras saves and
    restores itself: training resumes at the right temperature after
    `BackupAndRestore` and after `ModelCheckpoint` with `load_model`. The
    callback has no state of its own. Setting the temperature retraces nothing.

    It is written to `logs["temperature"]` at the end of each epoch, where
    `History` finds it, and `CSVLogger` and `TensorBoard` too if they come
    after this callback in the list. If several of these callbacks are in one
    `fit`, each writes `logs["temperature_<name>"]` instead, with the name of
    its first layer.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule` such as
            `keras_gumbel.schedules.ExponentialAnnealing`; or a function of
            the step; or a function of the step and the current temperature,
            as for `keras.callbacks.LearningRateScheduler`. The number of
            arguments without a default tells which. It must return a positive
            finite number.
        frequency: `"batch"` or `"epoch"`. Defaults to `"batch"`.
        layers: The layers to set: layers of the trained model, at any depth,
            or their names, which also work for a loaded or copied model. None
            for every layer of the model, nested models included, that has a
            live temperature and no schedule of its own. Defaults to `None`.
        initial_step: Integer >= 0 added to the step, for a model whose
            optimizer starts anew. Defaults to `0`.
        verbose: 1 to print the temperature at each epoch. Defaults to `0`.

    Raises:
        ValueError: When made, for arguments out of range. When training
            starts, if no layer has a temperature to set; if one in `layers`
            has none, is not in the model, or is a name of no layer or several
            layers; and if another scheduler sets it, too.
            During training, if the schedule returns a number that is not
            positive and finite; the message says at which step.
        TypeError: For a schedule that cannot be called or returns no number,
            and for `layers` that is not a sequence of layers and names.

    Example:

    >>> import keras, keras_gumbel as kg, numpy as np
    >>> model = keras.Sequential([keras.layers.Dense(3), kg.GumbelSoftmax()])
    >>> model.compile("sgd", "mse")
    >>> anneal = kg.TemperatureScheduler(lambda step: 1.0 / (1 + step))
    >>> history = model.fit(np.ones((8, 2)), np.ones((8, 3)), batch_size=2,
    ...                     epochs=2, verbose=0, callbacks=[anneal])
    >>> history.history["temperature"]
    [0.25, 0.125]
    >>> # Two layers that follow schedules of their own:
    >>> model = keras.Sequential([
    ...     keras.layers.Dense(3), kg.GumbelSoftmax(name="part"),
    ...     keras.layers.Dense(3), kg.GumbelSoftmax(name="whole")])
    >>> model.compile("sgd", "mse")
    >>> anneal = [
    ...     kg.TemperatureScheduler(lambda step: 1 / (1 + step),
    ...                             layers=["part"]),
    ...     kg.TemperatureScheduler(lambda step: 2.0, layers=["whole"])]
    >>> history = model.fit(np.ones((8, 2)), np.ones((8, 3)), batch_size=2,
    ...                     verbose=0, callbacks=anneal)
    >>> history.history["temperature_part"]
    [0.25]
    >>> history.history["temperature_whole"]
    [2.0]
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        frequency: str = "batch",
        layers: Iterable[keras.Layer | str] | None = None,
        initial_step: int = 0,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        if not callable(schedule):
            raise TypeError(
                "`schedule` must be a Keras schedule or a function of the "
                f"step. Received: schedule={schedule!r}"
            )
        check_choice(frequency, "frequency", ("batch", "epoch"))
        check_integer(initial_step, "initial_step", minimum=0)
        self.schedule = schedule
        self.frequency = frequency
        self.layers = None if layers is None else check_layers(layers)
        self.initial_step = initial_step
        self.verbose = verbose
        self._takes_current = _required_arguments(schedule) >= 2
        self._found: list[keras.Layer] = []
        self._name = ""
        self._may_grow = False

    def set_params(self, params: dict[str, Any]) -> None:
        """Begin another `fit`."""
        super().set_params(params)
        _SCHEDULERS.add(self)
        self._found = []
        self._name = ""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the layers; set nothing, since a restored value must stay."""
        self._found = annealed_layers(self.model, self.layers)
        self._check_alone()
        self._name = self._own_name()
        self._may_grow = not self.model.built
        if self.frequency == "epoch":
            return
        if getattr(self.model, "optimizer", None) is None:
            raise ValueError(
                "`frequency='batch'` counts by `model.optimizer.iterations`, "
                "and the model has no optimizer. Use `frequency='epoch'`, or "
                "give the schedule to the layer as its temperature. "
                f"Received: model={self.model!r}"
            )
        if (getattr(self.model, "steps_per_execution", None) or 1) > 1:
            warnings.warn(
                "Callbacks run once for `steps_per_execution="
                f"{self.model.steps_per_execution}` batches, so the "
                "temperature also changes only once for as many. For every "
                "batch give the schedule to the layer: "
                "GumbelSoftmax(temperature=schedule).",
                stacklevel=2,
            )

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Set the temperature of this batch."""
        self._check_none_is_new()
        if self.frequency == "batch":
            iterations = self.model.optimizer.iterations
            self._set(int(ops.convert_to_numpy(iterations)))

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Set the temperature of this epoch."""
        if self.frequency == "epoch":
            self._set(epoch)
            if self.verbose:
                print(
                    f"\nEpoch {epoch + 1}: TemperatureScheduler setting "
                    f"{self._log_name()} to {self._current():.6g}."
                )

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Report the temperature."""
        self._check_none_is_new()
        if logs is not None:
            logs[self._log_name()] = self._current()
        if self.verbose and self.frequency == "batch":
            print(
                f"\nEpoch {epoch + 1}: TemperatureScheduler ended at "
                f"{self._log_name()} {self._current():.6g}."
            )

    def _peers(self) -> list["TemperatureScheduler"]:
        """Return the others of this `fit`, which share one `params`."""
        return [
            other
            for other in _SCHEDULERS
            if other is not self
            and other.params is not None
            and other.params is self.params
        ]

    def _check_alone(self) -> None:
        """Raise if two set one layer: the later would undo the earlier."""
        set_already = {id(x) for other in self._peers() for x in other._found}
        twice = [x.name for x in self._found if id(x) in set_already]
        if twice:
            raise ValueError(
                "Two TemperatureSchedulers in this `fit` set one layer. Give "
                "each layers of its own by `layers`. "
                f"Received: layers that are set twice: {twice}"
            )

    def _check_none_is_new(self) -> None:
        """Raise if the first batch has made layers: they were set too late."""
        if not (self._may_grow and self.model.built):
            return
        self._may_grow = False
        known = {id(layer) for layer in self._found}
        layers = annealed_layers(self.model, self.layers)
        new = [layer.name for layer in layers if id(layer) not in known]
        if new:
            raise ValueError(
                "TemperatureScheduler found layers that the first batch has "
                "made, too late to set their temperature for that batch. Build "
                "the model before `fit`: call it on a batch. "
                f"Received: layers that were made late: {new}"
            )

    def _own_name(self) -> str:
        """Return a log name after its first layer, unlike the others' names."""
        first = f"temperature_{self._found[0].name}"
        taken = {other._name for other in self._peers()}
        names = (f"{first}_{n}" if n > 1 else first for n in itertools.count(1))
        return next(name for name in names if name not in taken)

    def _log_name(self) -> str:
        return self._name if self._peers() else "temperature"

    def _set(self, step: int) -> None:
        step += self.initial_step
        if self._takes_current:
            result = self.schedule(step, self._current())  # type: ignore
        else:
            result = self.schedule(step)  # type: ignore
        value = _as_float(result, step)
        for layer in self._found:
            layer.temperature.assign(value)

    def _current(self) -> float:
        return float(ops.convert_to_numpy(self._found[0].temperature))


def _as_float(result: Any, step: int) -> float:
    try:
        value = float(ops.convert_to_numpy(result))
    except (TypeError, ValueError) as error:
        raise TypeError(
            "`schedule` must return a number. Received: "
            f"schedule({step})={result!r}"
        ) from error
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            "`schedule` must return a positive finite temperature. "
            f"Received: schedule({step})={value}, at step {step}"
        )
    return value


def _required_arguments(schedule: Any) -> int:
    try:
        parameters = inspect.signature(schedule).parameters.values()
    except (TypeError, ValueError):
        return 1  # a builtin without a signature
    return sum(
        p.default is p.empty
        and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )
