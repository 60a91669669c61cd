"""Backward rules for hard samples, by name or as small objects."""

from keras_gumbel.estimators.estimator import Estimator as Estimator
from keras_gumbel.estimators.estimator import get as get
from keras_gumbel.estimators.estimator import serialize as serialize
from keras_gumbel.estimators.straight_through_gumbel import (
    StraightThroughGumbel as StraightThroughGumbel,
)
