"""Keras layers that make a discrete choice and still train."""

from keras_gumbel import callbacks as callbacks
from keras_gumbel import diagnostics as diagnostics
from keras_gumbel import estimators as estimators
from keras_gumbel import layers as layers
from keras_gumbel import ops as ops
from keras_gumbel import schedules as schedules
from keras_gumbel._version import __version__ as __version__
from keras_gumbel.callbacks import TemperatureScheduler as TemperatureScheduler
from keras_gumbel.layers import GumbelEmbedding as GumbelEmbedding
from keras_gumbel.layers import GumbelSoftmax as GumbelSoftmax
from keras_gumbel.layers import SampleArgmaxIndex as SampleArgmaxIndex
