"""Keras layers that make a discrete choice and still train."""

from keras_gumbel import (
    _framework as _framework,
    callbacks as callbacks,
    diagnostics as diagnostics,
    distributions as distributions,
    estimators as estimators,
    export as export,
    layers as layers,
    losses as losses,
    metrics as metrics,
    ops as ops,
    schedules as schedules,
)
from keras_gumbel._version import __version__ as __version__
from keras_gumbel.callbacks import TemperatureScheduler as TemperatureScheduler
from keras_gumbel.layers import (
    FiniteScalarQuantizer as FiniteScalarQuantizer,
    GumbelEmbedding as GumbelEmbedding,
    GumbelQuantizer as GumbelQuantizer,
    GumbelSigmoid as GumbelSigmoid,
    GumbelSinkhorn as GumbelSinkhorn,
    GumbelSoftmax as GumbelSoftmax,
    GumbelSort as GumbelSort,
    GumbelTopK as GumbelTopK,
    HardConcreteGate as HardConcreteGate,
    SampleArgmaxIndex as SampleArgmaxIndex,
    VectorQuantizer as VectorQuantizer,
)
from keras_gumbel.rematerialization import remat as remat
