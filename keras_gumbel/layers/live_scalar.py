"""Numbers of a layer that may change as the model trains."""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import keras
from keras import ops

from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import (
    check_live_number,
    deserialized,
    is_schedule,
    live_value,
)


# Keras would make weights of the variables in a tuple.
@dataclasses.dataclass(eq=False)
class LiveScalar:
    """A number behind a variable, which may follow a schedule.

    Attributes:
        name: Name of the variable, and of the constructor's argument.
        initial: The first value.
        schedule: Schedule of the training calls that sets it, or None.
        check: Raises for a number that is not allowed.
        variable: Float32, made by the layer.
    """

    name: str
    initial: float
    schedule: LearningRateSchedule | None
    check: Callable[[Any], None]
    variable: keras.Variable = None

    @classmethod
    def of(cls, name: str, value: Any, check: Callable[[Any], None]) -> Self:
        """Make one of a number, a schedule, or a schedule's configuration."""
        value, schedule = deserialized(value), None
        if is_schedule(value):
            schedule = value
            value = float(ops.convert_to_numpy(schedule(0)))
        check_live_number(value, check)
        return cls(name, float(value), schedule, check)

    def assign(self, value: Any) -> None:
        """Set it to a number, or to the value of a tensor."""
        self.variable.assign(live_value(value, self.name, self.check))

    def follow(self, step: Tensor) -> None:
        """Set it by its schedule, if it has one."""
        if self.schedule is not None:
            self.variable.assign(ops.cast(self.schedule(step), "float32"))

    def config(self) -> Any:
        """Return the number or schedule that it was made with."""
        if self.schedule is None:
            return self.initial
        return keras.saving.serialize_keras_object(self.schedule)


def settings(name: str, initializer: Any, dtype: str) -> dict[str, Any]:
    """Return the settings of one number that no gradient changes."""
    return {
        "name": name,
        "shape": (),
        "initializer": initializer,
        "dtype": dtype,
        "trainable": False,
        "autocast": False,
    }
