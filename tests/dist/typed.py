"""A user's program for mypy: the wheel tells its types.

`make dist` has mypy read it against the installed wheel. An error that is not
found there makes its `type: ignore` an error.
"""

from typing import assert_type

import keras_gumbel as kg


def right() -> None:
    """Each kind of public name, as it is to be used."""
    layer = kg.GumbelSoftmax(0.5, hard=True, estimator="reinmax", seed=7)
    assert_type(layer, kg.GumbelSoftmax)
    assert_type(layer.resolved_inference, str)
    schedule = kg.schedules.ExponentialAnnealing(1.0, 2e-3, 0.3)
    callback = kg.TemperatureScheduler(schedule)
    assert_type(callback, kg.TemperatureScheduler)
    kg.ops.gumbel_softmax([[0.0, 1.0]], 0.5, hard=True, seed=7)


def wrong() -> None:
    """What mypy is to refuse."""
    kg.GumbelSoftmax(hard="yes")  # type: ignore[arg-type]
    kg.ops.gumbel_softmax([[0.0]], temprature=0.5)  # type: ignore[call-arg]
    _ = kg.ops.gumbel_sotfmax  # type: ignore[attr-defined]
