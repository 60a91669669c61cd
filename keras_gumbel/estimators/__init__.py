"""Gradients of hard samples: backward rules by name, and the score function."""

from keras_gumbel.estimators.estimator import (
    Estimator as Estimator,
    get as get,
    serialize as serialize,
)
from keras_gumbel.estimators.gapped_straight_through import (
    GappedStraightThrough as GappedStraightThrough,
)
from keras_gumbel.estimators.gumbel_rao import GumbelRao as GumbelRao
from keras_gumbel.estimators.reinmax import ReinMax as ReinMax
from keras_gumbel.estimators.score_function import (
    score_function_loss as score_function_loss,
)
from keras_gumbel.estimators.straight_through import (
    StraightThrough as StraightThrough,
)
from keras_gumbel.estimators.straight_through_gumbel import (
    StraightThroughGumbel as StraightThroughGumbel,
)
from keras_gumbel.estimators.without_replacement import (
    without_replacement_loss as without_replacement_loss,
)
