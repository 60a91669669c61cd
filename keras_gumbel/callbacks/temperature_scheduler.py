"""Annealing from `fit`."""

import inspect
import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_gumbel._typing import Schedule
from keras_gumbel._validation import check_choice, check_integer


class TemperatureScheduler(keras.callbacks.Callback):
    """Sets the temperature of a model's sampling layers as it trains.

        temperature = schedule(step + initial_step)

    where `step` is `optimizer.iterations` at each batch, or the epoch.

    The temperature is a pure function of the step, which Keras saves and
    restores itself: training resumes at the right temperature after
    `BackupAndRestore` and after `ModelCheckpoint` with `load_model`, and
    nothing needs to be remembered here. Setting it retraces nothing.

    It is written to `logs["temperature"]` at the end of each epoch, where
    `History` finds it, and `CSVLogger` and `TensorBoard` too if they come
    after this callback in the list.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule` such as
            `keras_gumbel.schedules.ExponentialAnnealing`; or a function of
            the step; or one of the step and the current temperature, as
            `keras.callbacks.LearningRateScheduler` takes. Told apart by the
            number of arguments that have no default. It must return a
            positive finite number.
        frequency: `"batch"` or `"epoch"`. Defaults to `"batch"`.
        layers: The layers to set. None for every layer of the model, nested
            models included, that has a live temperature and no schedule of
            its own. Defaults to `None`.
        initial_step: Integer >= 0 added to the step, for a model whose
            optimizer starts anew. Defaults to `0`.
        verbose: 1 to print the temperature at each epoch. Defaults to `0`.

    Raises:
        ValueError: When made, for arguments out of range. When training
            starts, if no layer has a temperature to set. During training, if
            the schedule returns a number that is not positive and finite;
            the message says at which step.
        TypeError: For a schedule that cannot be called or returns no number.

    Example:

    >>> import keras, keras_gumbel as kg, numpy as np
    >>> model = keras.Sequential([keras.layers.Dense(3), kg.GumbelSoftmax()])
    >>> model.compile("sgd", "mse")
    >>> anneal = kg.TemperatureScheduler(lambda step: 1.0 / (1 + step))
    >>> history = model.fit(np.ones((8, 2)), np.ones((8, 3)), batch_size=2,
    ...                     epochs=2, verbose=0, callbacks=[anneal])
    >>> history.history["temperature"]
    [0.25, 0.125]
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        frequency: str = "batch",
        layers: Sequence[keras.Layer] | None = None,
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
        self.layers = None if layers is None else list(layers)
        self.initial_step = initial_step
        self.verbose = verbose
        self._takes_current = _required_arguments(schedule) >= 2
        self._found: list[keras.Layer] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the layers. Nothing is set: a restored value must stand."""
        self._found = self._find_layers()
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
                "temperature changes no oftener. For every batch give the "
                "schedule to the layer: GumbelSoftmax(temperature=schedule).",
                stacklevel=2,
            )

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Set the temperature of this batch."""
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
                    f"temperature to {self._current():.6g}."
                )

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Report the temperature."""
        if logs is not None:
            logs["temperature"] = self._current()
        if self.verbose and self.frequency == "batch":
            print(
                f"\nEpoch {epoch + 1}: TemperatureScheduler ended at "
                f"temperature {self._current():.6g}."
            )

    def _find_layers(self) -> list[keras.Layer]:
        if self.layers is not None:
            candidates = self.layers
        else:
            candidates = _all_layers(self.model)
        found = [layer for layer in candidates if _is_annealable(layer)]
        if not found or (self.layers is not None and found != self.layers):
            others = [
                getattr(layer, "name", layer)
                for layer in candidates
                if not _is_annealable(layer)
            ]
            raise ValueError(
                "TemperatureScheduler needs layers with a live temperature "
                "and no schedule of their own, such as "
                "keras_gumbel.GumbelSoftmax. "
                f"Received: layers without: {others}"
            )
        return found

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


def _is_annealable(layer: Any) -> bool:
    """By protocol, so that any layer with these two attributes takes part."""
    return (
        isinstance(getattr(layer, "temperature", None), keras.Variable)
        and getattr(layer, "temperature_schedule", None) is None
    )


def _all_layers(layer: Any) -> list[Any]:
    """Every layer inside, at any depth, each once."""
    flatten = getattr(layer, "_flatten_layers", None)
    if flatten is not None:
        return list(flatten(include_self=True, recursive=True))
    # Should Keras rename its private method: models alone, by public means.
    found = [layer]
    for inner in getattr(layer, "layers", []):
        found.extend(x for x in _all_layers(inner) if x not in found)
    return found
