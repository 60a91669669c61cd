"""Pure functions of tensors and a seed."""

from keras_gumbel.ops.conditional_poisson_marginals import (
    conditional_poisson_marginals as conditional_poisson_marginals,
)
from keras_gumbel.ops.conditional_poisson_subset import (
    conditional_poisson_subset as conditional_poisson_subset,
)
from keras_gumbel.ops.gumbel_sigmoid import gumbel_sigmoid as gumbel_sigmoid
from keras_gumbel.ops.gumbel_sinkhorn import gumbel_sinkhorn as gumbel_sinkhorn
from keras_gumbel.ops.gumbel_softmax import gumbel_softmax as gumbel_softmax
from keras_gumbel.ops.gumbel_sort import gumbel_sort as gumbel_sort
from keras_gumbel.ops.gumbel_top_k import gumbel_top_k as gumbel_top_k
from keras_gumbel.ops.hard_concrete import hard_concrete as hard_concrete
from keras_gumbel.ops.linear_assignment import (
    linear_assignment as linear_assignment,
)
from keras_gumbel.ops.nearest_code import nearest_code as nearest_code
from keras_gumbel.ops.noise import (
    sample_gumbel as sample_gumbel,
    sample_logistic as sample_logistic,
)
from keras_gumbel.ops.sample_argmax_index import (
    sample_argmax_index as sample_argmax_index,
)
from keras_gumbel.ops.sample_embedding import (
    sample_embedding as sample_embedding,
)
from keras_gumbel.ops.straight_through import (
    straight_through as straight_through,
)
