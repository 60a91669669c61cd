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

# The name of the stream in files, beside the weights.
KEY = "seed_generator_state"
# The name of a flag beside a generator in a configuration.
_APART = "is_set_apart"


def given(seed: Any, name: str) -> Any:
    """Return the seed of a layer of that `name`, as given or from its file.

    Layers of a Keras file may share a generator, and still share it when
    loaded. Layers that are copied one by one, as by `clone_model`, cannot:
    each gets a generator of its own, which its name sets apart from the others.
    """
    found = deserialized(seed)
    check_seed(found)
    if found is not seed and seed.get(_APART, not shares_objects()):
        set_apart(found, name)
    return integer_seed(found)


def generator(seed: Any) -> keras.random.SeedGenerator:
    """Return the generator itself, or one of a seed."""
    if isinstance(seed, keras.random.SeedGenerator):
        return seed
    return stream(None if seed is None else int(seed))


def config(seed: Any) -> Any:
    """Return the form that `given` takes back."""
    if not isinstance(seed, keras.random.SeedGenerator):
        return seed
    serialize = keras.saving.serialize_keras_object
    serialize(seed)
    # Keras marks an object as shared from the second time on.
    found = serialize(seed)
    apart = is_set_apart(seed) or not shares_objects()
    return {**found, _APART: apart}
