"""Which temperature, and which estimator: short trainings side by side."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_gumbel._validation import (
    check_choice,
    check_integer,
    check_is_compiled,
    check_positive,
    check_seed,
    check_sequence,
    layers_with_temperature,
)
from keras_gumbel.diagnostics.batches import batches
from keras_gumbel.diagnostics.temperature_row import TemperatureRow
from keras_gumbel.diagnostics.temperatures import TemperatureReport
from keras_gumbel.diagnostics.trial import SOFT, Batch, State, Trial
from keras_gumbel.estimators import Estimator, get, serialize
from keras_gumbel.estimators.estimator import names

# A slope is measured by moving the weights: so far that the loss falls by this
# part, if the gradient is right, and at most by this part of their length.
_FALL, _FARTHEST = 0.01, 0.1


def temperature_report(
    model: keras.Model,
    x: Any,
    y: Any = None,
    temperatures: Sequence[float] = (0.1, 0.3, 1.0, 3.0),
    estimators: Sequence[str | Estimator] | None = None,
    *,
    steps: int = 300,
    batch_size: int = 32,
    num_samples: int = 100,
    validation_data: tuple[Any, Any] | None = None,
    monitor: str = "loss",
    seed: int = 0,
    verbose: int = 1,
) -> TemperatureReport:
    """Train a model for a while at each temperature, and compare.

    Use it to choose a temperature, and perhaps an estimator, for your own
    model and data. Each row trains from the model's present weights, optimizer
    and noise, on the same batches. Then its loss is measured with one-hot
    samples, as for a discrete choice, on the same batches and with the same
    noise for every row. Afterwards the model is as it was.

    All layers get the same temperature. Functions of `keras_gumbel.ops` take
    part if the model gives them the temperature of such a layer.

    Args:
        model: A compiled `keras.Model` with at least one layer whose
            temperature is a number. A custom `train_step` works if it uses
            only `self.optimizer`, and losses by `add_loss` work too.
        x: Array, or a structure of arrays, of shape `(examples, ...)`: inputs.
        y: Targets, likewise; None if the model needs none.
        temperatures: Positive numbers, dimensionless: a row for each.
        estimators: Names and objects of `keras_gumbel.estimators` for hard
            samples; `"soft"` for the relaxed sample. None leaves the layers'
            own.
        steps: Integer >= 1, training steps for each row. A few hundred tell
            which temperature trains, but not always which ends best.
        batch_size: Integer >= 1, the size of all batches; examples left over
            at the end of an epoch are dropped.
        num_samples: Integer >= 4, the number of gradients of the first batch,
            and of batches for the loss, with fresh noise each.
        validation_data: Tuple `(x, y)` to measure the loss on; None for the
            training data.
        monitor: The loss's name in the logs of a training step; smaller is
            better. It is taken in training mode, penalties included.
        seed: Integer in [0, 2**32), for the order of the examples.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line at the end.

    Returns:
        A `TemperatureReport`, which prints as a table with a suggestion, and
        has `suggestion`, `to_dict` and `plot`.

    Raises:
        ValueError: For an argument out of range, a model that is not compiled
            or has no temperature to set, arrays that differ in length.
        TypeError: For arguments of another type.

    Example:

    >>> import keras, numpy as np, keras_gumbel as kg
    >>> x = np.eye(8, dtype="float32")[np.arange(64) % 8]
    >>> model = keras.Sequential([
    ...     keras.Input((8,)),
    ...     keras.layers.Dense(8),
    ...     kg.GumbelSoftmax(seed=0),
    ...     keras.layers.Dense(8),
    ... ])
    >>> model.compile("adam", "mse")
    >>> report = kg.diagnostics.temperature_report(
    ...     model, x, x, [0.5, 5.0], steps=3, num_samples=4, verbose=0
    ... )
    >>> [row.temperature for row in report.rows]
    [0.5, 5.0]
    >>> report.suggestion in report.rows
    True
    """
    check_is_compiled(model)
    check_sequence(temperatures, "temperatures")
    for temperature in temperatures:
        check_positive(temperature, "temperatures")
    for value, name, least in (
        (steps, "steps", 1),
        (batch_size, "batch_size", 1),
        (num_samples, "num_samples", 4),
    ):
        check_integer(value, name, minimum=least)
    check_integer(seed, "seed")
    check_seed(seed)
    rules = _rules(estimators)
    data = batches(x, y, "x", batch_size, steps, seed)
    held_out = (x, y) if validation_data is None else validation_data
    name = "x" if validation_data is None else "validation_data"
    judges = batches(*held_out, name, batch_size, num_samples, seed)
    if not model.built:
        model(data[0][0])
    layers = layers_with_temperature(model)
    # Each row takes training, its loss, gradients, and both sides of a slope.
    whole = len(rules) * len(temperatures) * (steps + 4 * num_samples)
    bar = keras.utils.Progbar(
        2 + whole + num_samples, verbose=verbose, unit_name="step"
    )
    with Trial(model, layers, monitor, bar.add) as trial:
        with trial.hard_samples():
            trial.measuring()
            reached = trial.learns_through_samples(data[0])
        tried: list[_Tried] = []
        for rule in rules:
            with trial.samples(rule):
                tried += _trained(
                    trial, rule, temperatures, data, num_samples, reached
                )
        with trial.hard_samples():
            rows = _judged(trial, tried, data[0], judges)
    return TemperatureReport(rows=rows, monitor=monitor, steps=steps)


def _rules(
    chosen: Sequence[str | Estimator] | None,
) -> list[str | Estimator | None]:
    if chosen is None:
        return [None]
    check_sequence(chosen, "estimators")
    for rule in chosen:
        if isinstance(rule, str):
            check_choice(rule, "estimators", (*names(), SOFT))
    return [rule if rule == SOFT else get(rule) for rule in chosen]


def _label(rule: str | Estimator | None) -> str:
    if rule is None:
        return "as built"
    form = rule if isinstance(rule, str) else serialize(rule)
    return form if isinstance(form, str) else repr(rule)


@dataclasses.dataclass(frozen=True, eq=False)
class _Tried:
    """The results of a row's own training and gradients.

    Args:
        rule: The estimator's label.
        temperature: The temperature of the row.
        state: The weights after training.
        seconds: Wall time of a training step.
        direction: Direction of the mean gradient, a vector of length 1.
        slope: Slope of the loss in this direction, from other gradients than
            the ones that made the direction.
        slope_error: Its standard error.
        relative_variance: Relative variance of a gradient.
    """

    rule: str
    temperature: float
    state: State
    seconds: float
    direction: np.ndarray
    slope: float
    slope_error: float
    relative_variance: float


def _trained(
    trial: Trial,
    rule: str | Estimator | None,
    temperatures: Sequence[float],
    data: Sequence[Batch],
    num_samples: int,
    reached: np.ndarray,
) -> list[_Tried]:
    trial.measuring()
    gradients = [
        _gradients(
            trial.gradients(float(temperature), data[0], num_samples),
            num_samples,
            reached,
        )
        for temperature in temperatures
    ]
    trial.training()
    tried = []
    for temperature, measured in zip(temperatures, gradients, strict=True):
        state, seconds = trial.train(float(temperature), data)
        tried.append(
            _Tried(_label(rule), float(temperature), state, seconds, *measured)
        )
    return tried


def _gradients(
    gradients: Iterable[np.ndarray], number: int, reached: np.ndarray
) -> tuple[np.ndarray, float, float, float]:
    """Return direction, slope, its error and the relative variance."""
    half, square, slopes = number // 2, 0.0, []
    direction = np.zeros(reached.size)
    sums = np.zeros((2, reached.size))
    for n, gradient in enumerate(gradients):
        gradient = np.where(reached, gradient, 0.0)
        sums[int(n >= half)] += gradient
        square += float(gradient @ gradient)
        if n == half - 1:
            length = float(np.linalg.norm(sums[0]))
            direction = sums[0] / length if length else sums[0]
        elif n >= half:
            slopes.append(float(gradient @ direction))
    mean = sums.sum(0) / number
    squared_mean = float(mean @ mean)
    variance = max((square - number * squared_mean) / (number - 1), 0.0)
    squared_mean -= variance / number
    return (
        direction,
        float(np.mean(slopes)),
        _error(slopes),
        variance / squared_mean if squared_mean > 0 else math.inf,
    )


def _judged(
    trial: Trial,
    tried: Sequence[_Tried],
    batch: Batch,
    judges: Sequence[Batch],
) -> tuple[TemperatureRow, ...]:
    """Measure the loss of each with hard samples, and return the rows."""
    trial.measuring()
    again = [batch] * len(judges)
    fall = _FALL * abs(trial.hard_losses(trial.start, again).mean())
    farthest = _FARTHEST * trial.length()

    def slope_ratio(one: _Tried) -> tuple[float, float]:
        """Return it and its standard error, by one noise on both sides."""
        if not (one.slope and math.isfinite(one.slope)):
            trial.skip(2 * len(judges))
            return math.nan, math.nan
        far = min(fall / abs(one.slope), farthest) * one.direction
        up = trial.hard_losses(trial.moved(far), again)
        down = trial.hard_losses(trial.moved(-far), again)
        slopes = (up - down) / (2 * np.linalg.norm(far))
        ratio = float(slopes.mean()) / one.slope
        error = math.hypot(_error(slopes), ratio * one.slope_error)
        return ratio, error / abs(one.slope)

    losses = [trial.hard_losses(one.state, judges) for one in tried]
    finite = [x for x in losses if np.isfinite(x.mean())]
    best = min(finite, key=np.mean, default=losses[0])
    return tuple(
        TemperatureRow(
            one.rule,
            one.temperature,
            float(loss.mean()),
            float((loss - best).mean()),
            _error(loss - best),
            *slope_ratio(one),
            one.relative_variance,
            one.seconds,
        )
        for one, loss in zip(tried, losses, strict=True)
    )


def _error(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard error of a mean."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))
