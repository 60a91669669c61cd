"""Keras layers, one public class per file."""

from keras_gumbel.layers.finite_scalar_quantizer import (
    FiniteScalarQuantizer as FiniteScalarQuantizer,
)
from keras_gumbel.layers.gumbel_embedding import (
    GumbelEmbedding as GumbelEmbedding,
)
from keras_gumbel.layers.gumbel_quantizer import (
    GumbelQuantizer as GumbelQuantizer,
)
from keras_gumbel.layers.gumbel_sigmoid import GumbelSigmoid as GumbelSigmoid
from keras_gumbel.layers.gumbel_sinkhorn import GumbelSinkhorn as GumbelSinkhorn
from keras_gumbel.layers.gumbel_softmax import GumbelSoftmax as GumbelSoftmax
from keras_gumbel.layers.gumbel_sort import GumbelSort as GumbelSort
from keras_gumbel.layers.gumbel_top_k import GumbelTopK as GumbelTopK
from keras_gumbel.layers.hard_concrete_gate import (
    HardConcreteGate as HardConcreteGate,
)
from keras_gumbel.layers.sample_argmax_index import (
    SampleArgmaxIndex as SampleArgmaxIndex,
)
from keras_gumbel.layers.vector_quantizer import (
    VectorQuantizer as VectorQuantizer,
)
