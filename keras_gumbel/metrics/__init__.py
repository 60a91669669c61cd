"""Keras metrics of a codebook's use, one per file."""

from keras_gumbel.metrics.category_usage import CategoryUsage as CategoryUsage
from keras_gumbel.metrics.code_perplexity import (
    CodePerplexity as CodePerplexity,
)
