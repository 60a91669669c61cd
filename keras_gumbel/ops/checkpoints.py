"""The contents of files: a layer's state, and a generator that layers share."""

from keras_gumbel.backend import (
    checkpoint_with as checkpoint_with,
    integer_seed as integer_seed,
    is_set_apart as is_set_apart,
    set_apart as set_apart,
    shares_objects as shares_objects,
    state_of as state_of,
    stream as stream,
)
