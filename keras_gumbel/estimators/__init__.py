"""Backward rules for hard samples, by name or as small objects."""

from keras_gumbel.estimators.estimator import Estimator as Estimator
from keras_gumbel.estimators.estimator import get as get
from keras_gumbel.estimators.estimator import serialize as serialize
from keras_gumbel.estimators.gapped_straight_through import (
    GappedStraightThrough as GappedStraightThrough,
)
from keras_gumbel.estimators.gumbel_rao import GumbelRao as GumbelRao
from keras_gumbel.estimators.reinmax import ReinMax as ReinMax
from keras_gumbel.estimators.straight_through import (
    StraightThrough as StraightThrough,
)
from keras_gumbel.estimators.straight_through_gumbel import (
    StraightThroughGumbel as StraightThroughGumbel,
)
