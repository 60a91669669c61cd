"""The stream of noise that a layer draws from, and how it is saved."""

from typing import Any

import keras

from keras_gumbel._validation import check_seed, deserialized
from keras_gumbel.ops.checkpoints import (
    integer_seed,
    is_set_apart,
    set_apart,
    shares_objects,
    stream,
)

# Under this name it is stored beside the weights.
KEY = "seed_generator_state"
# And this is said of a generator in a configuration.
_APART = "is_set_apart"


def given(seed: Any, name: str) -> Any:
    """Return the seed of a layer of that `name`, as given or from its file.

    In a file of Keras's a generator may be shared with other layers, and stays
    so. Copied one by one, as by `clone_model`, layers know nothing of each
    other: each gets one of its own, that its name sets apart from those
    which began alike.
    """
    found = deserialized(seed)
    check_seed(found)
    if found is not seed and seed.get(_APART, not shares_objects()):
        set_apart(found, name)
    return integer_seed(found)


def generator(seed: Any) -> keras.random.SeedGenerator:
    """The generator itself, or one of a seed."""
    if isinstance(seed, keras.random.SeedGenerator):
        return seed
    return stream(None if seed is None else int(seed))


def config(seed: Any) -> Any:
    """Return the form that `given` takes back."""
    if not isinstance(seed, keras.random.SeedGenerator):
        return seed
    serialize = keras.saving.serialize_keras_object
    serialize(seed)
    # Keras says that an object is shared from the second time on.
    found = serialize(seed)
    apart = is_set_apart(seed) or not shares_objects()
    return {**found, _APART: apart}
