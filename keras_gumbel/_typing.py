"""Names for the types that cross module borders."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras

# Keras tensors, NumPy arrays and Python numbers all pass where a tensor is
# asked for, and no class covers them; shapes are documented instead.
Tensor: TypeAlias = Any
Tensors: TypeAlias = tuple[Tensor, ...]
Shape: TypeAlias = tuple[int | None, ...]
# Maps one-hot states (m, ...) to a value for each, (m, *batch).
Objective: TypeAlias = Callable[[Tensor], Tensor]
Seed: TypeAlias = int | keras.random.SeedGenerator | None
LearningRateSchedule: TypeAlias = (
    keras.optimizers.schedules.LearningRateSchedule
)
Schedule: TypeAlias = (
    LearningRateSchedule
    | Callable[[int], float]
    | Callable[[int, float], float]
)
