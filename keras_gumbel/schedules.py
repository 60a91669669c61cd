"""Temperature schedules that Keras lacks.

A temperature schedule is any `keras.optimizers.schedules` object; this module
adds the schedule of Jang et al.
"""

from typing import Any, Self

import keras
from keras import ops

from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    check_config,
    check_integer,
    check_is_whole,
    check_not_negative,
    check_positive,
)


@keras.saving.register_keras_serializable(package="keras_gumbel")
class ExponentialAnnealing(keras.optimizers.schedules.LearningRateSchedule):
    """Lower the temperature exponentially, in steps, to a floor.

        temperature(step) = max(
            minimum,
            initial_temperature * exp(-decay_rate * every * floor(step / every))
        )

    Args:
        initial_temperature: Positive number, the temperature at step 0.
        decay_rate: Number >= 0, for each step (batch, or epoch).
        minimum: Positive number at most `initial_temperature`, the floor.
        every: Positive integer; the temperature changes at each multiple of
            it. Defaults to `1`.

    Returns:
        When called with a step, a float32 tensor.

    Raises:
        ValueError: For a number out of range.
        TypeError: For an argument of another type.

    Example:

    >>> import keras_gumbel as kg
    >>> schedule = kg.schedules.ExponentialAnnealing(1.0, 1e-3, 0.5, every=100)
    >>> [round(float(schedule(step)), 4) for step in (0, 99, 100, 10000)]
    [1.0, 1.0, 0.9048, 0.5]

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, section 4.2, https://arxiv.org/abs/1611.01144
    """

    def __init__(
        self,
        initial_temperature: float,
        decay_rate: float,
        minimum: float,
        every: int = 1,
    ) -> None:
        super().__init__()
        check_positive(initial_temperature, "initial_temperature")
        check_not_negative(decay_rate, "decay_rate")
        check_positive(minimum, "minimum")
        check_integer(every, "every", minimum=1)
        if minimum > initial_temperature:
            raise ValueError(
                "`minimum` must be at most `initial_temperature`. Received: "
                f"minimum={minimum}, initial_temperature={initial_temperature}"
            )
        self.initial_temperature = float(initial_temperature)
        self.decay_rate = float(decay_rate)
        self.minimum = float(minimum)
        self.every = int(every)

    def __call__(self, step: Tensor) -> Tensor:
        """Return the temperature at `step`, an integer counted from 0."""
        # Integers until the end: float32 skips steps beyond 2**24.
        stage = ops.floor_divide(ops.cast(step, "int"), self.every)
        elapsed = ops.cast(stage * self.every, "float32")
        decay = ops.exp(-self.decay_rate * elapsed)
        return ops.maximum(self.minimum, self.initial_temperature * decay)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create the schedule from a configuration without missing entries."""
        check_config(cls, config)
        schedule = cls(**config)
        check_is_whole(schedule, config)
        return schedule

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            "initial_temperature": self.initial_temperature,
            "decay_rate": self.decay_rate,
            "minimum": self.minimum,
            "every": self.every,
        }
