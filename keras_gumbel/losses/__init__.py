"""Terms of a loss that are functions of the distribution, not of a sample."""

from keras_gumbel.losses.bernoulli import bernoulli_kl as bernoulli_kl
from keras_gumbel.losses.categorical import categorical_kl as categorical_kl
from keras_gumbel.losses.codes import (
    bit_entropy_gap as bit_entropy_gap,
    diversity_loss as diversity_loss,
)
