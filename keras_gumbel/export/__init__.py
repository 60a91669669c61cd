"""Exported models that sample."""

from keras_gumbel.export.noise_input import with_noise_input as with_noise_input
from keras_gumbel.export.sampling_endpoint import (
    export_with_sampling as export_with_sampling,
)
from keras_gumbel.export.seed_input import with_seed_input as with_seed_input
