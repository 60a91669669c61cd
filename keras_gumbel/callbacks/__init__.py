"""Keras callbacks, one per file."""

from keras_gumbel.callbacks.exact_backup import ExactBackup as ExactBackup
from keras_gumbel.callbacks.temperature_scheduler import (
    TemperatureScheduler as TemperatureScheduler,
)
