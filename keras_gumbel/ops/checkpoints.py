"""What files hold of a layer, and a generator that several of them share."""

from keras_gumbel.backend import (
    checkpoint_with as checkpoint_with,
    integer_seed as integer_seed,
    is_set_apart as is_set_apart,
    set_apart as set_apart,
    shares_objects as shares_objects,
    state_of as state_of,
    stream as stream,
)
