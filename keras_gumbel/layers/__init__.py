"""Keras layers, one public class a file."""

from keras_gumbel.layers.gumbel_embedding import (
    GumbelEmbedding as GumbelEmbedding,
)
from keras_gumbel.layers.gumbel_sinkhorn import GumbelSinkhorn as GumbelSinkhorn
from keras_gumbel.layers.gumbel_softmax import GumbelSoftmax as GumbelSoftmax
from keras_gumbel.layers.sample_argmax_index import (
    SampleArgmaxIndex as SampleArgmaxIndex,
)
