"""Keras layers that make a discrete choice and still train."""

from keras_gumbel import (
    callbacks as callbacks,
    diagnostics as diagnostics,
    estimators as estimators,
    layers as layers,
    ops as ops,
    schedules as schedules,
)
from keras_gumbel._version import __version__ as __version__
from keras_gumbel.callbacks import TemperatureScheduler as TemperatureScheduler
from keras_gumbel.layers import (
    GumbelEmbedding as GumbelEmbedding,
    GumbelSinkhorn as GumbelSinkhorn,
    GumbelSoftmax as GumbelSoftmax,
    SampleArgmaxIndex as SampleArgmaxIndex,
)
