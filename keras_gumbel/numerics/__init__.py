"""The mathematics of every sample, in `keras.ops`.

Each function takes float32 or float64 tensors in which a forbidden class is
-inf. Functions that draw noise work inside a compiled program only.
"""

from keras_gumbel.backend import matmul as matmul
from keras_gumbel.numerics.conditional import (
    conditional_gap as conditional_gap,
    conditional_logistic as conditional_logistic,
)
from keras_gumbel.numerics.dtypes import (
    lowest as lowest,
    smallest as smallest,
    wide_dtype as wide_dtype,
    widen as widen,
)
from keras_gumbel.numerics.elementwise import (
    scaled as scaled,
    select as select,
    sigmoid_vjp as sigmoid_vjp,
    step as step,
)
from keras_gumbel.numerics.masking import (
    FORBIDDEN as FORBIDDEN,
    allowed as allowed,
    log_odds as log_odds,
    log_or_forbidden as log_or_forbidden,
    moved as moved,
    nan_to_inf as nan_to_inf,
    nan_unless as nan_unless,
    pairs_of_items as pairs_of_items,
    positive_or_nan as positive_or_nan,
    scale_or_nan as scale_or_nan,
    temperature_gradient as temperature_gradient,
)
from keras_gumbel.numerics.noise import (
    Draw as Draw,
    add_noise as add_noise,
    draw_from as draw_from,
    exponential as exponential,
    gumbel as gumbel,
    logistic as logistic,
    perturb as perturb,
    random_half as random_half,
    random_unit as random_unit,
)
from keras_gumbel.numerics.offsets import (
    less as less,
    near_matrices as near_matrices,
    offset as offset,
)
from keras_gumbel.numerics.reductions import (
    classes as classes,
    exact_or_nan as exact_or_nan,
    maximum as maximum,
    mean_class as mean_class,
    sum_in_lanes as sum_in_lanes,
    with_axis_at as with_axis_at,
)
from keras_gumbel.numerics.softmax import (
    log_softmax as log_softmax,
    log_sum as log_sum,
    relaxed_vjp as relaxed_vjp,
    softmax as softmax,
    softmax_terms as softmax_terms,
    softmax_vjp as softmax_vjp,
    softmax_weights as softmax_weights,
    total_or_one as total_or_one,
)
