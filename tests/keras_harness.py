"""What differs from Keras to Keras, behind one door.

`keras.src.testing` is private: should Keras move it, this file alone changes.
"""

import warnings
from typing import Any

import keras
from keras.src.testing import TestCase


def run_layer_test(
    layer: type[keras.Layer], init_kwargs: dict[str, Any], **expected: Any
) -> None:
    """Config, build, symbolic call, eager call, `fit`, mixed precision.

    Args:
        layer: The class.
        init_kwargs: Arguments of its constructor.
        **expected: `input_shape`, `expected_output_shape`, and whatever else
            the harness of Keras takes.
    """
    case = TestCase()
    case.setUp()
    try:
        with warnings.catch_warnings():
            # The harness itself passes a generator to a shuffling `fit`, of
            # a model that is the layer alone.
            warnings.filterwarnings("ignore", "`shuffle=True` was passed")
            warnings.filterwarnings("ignore", ".* not have any trainable")
            case.run_layer_test(layer, init_kwargs, **expected)
    finally:
        case.doCleanups()


def restart(seed: int) -> None:
    """A new session, with the global generator where `seed` starts it.

    Before 3.13 Keras goes on with a generator that has been used, whatever
    seed is set.
    """
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
