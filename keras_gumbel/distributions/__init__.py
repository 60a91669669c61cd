"""The layers' distributions, in TensorFlow Probability.

This needs Keras on TensorFlow and `pip install 'keras-gumbel[probability]'`.
TensorFlow Probability takes seconds to import, so it is imported when the first
name is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from keras_gumbel.backend import NAME

if TYPE_CHECKING:
    from keras_gumbel.distributions.layer_laws import (
        from_layer as from_layer,
        log_from_layer as log_from_layer,
    )
    from keras_gumbel.distributions.straight_through import (
        StraightThroughOneHotCategorical as StraightThroughOneHotCategorical,
    )

_FILES = {
    "StraightThroughOneHotCategorical": "straight_through",
    "from_layer": "layer_laws",
    "log_from_layer": "layer_laws",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if NAME != "tensorflow":
        # Its tensors would be TensorFlow's, through which no gradient flows.
        raise ImportError(
            "`keras_gumbel.distributions` needs the TensorFlow backend of "
            "Keras: TensorFlow Probability runs on no current version of "
            "another framework. Set KERAS_BACKEND=tensorflow. "
            f"Received: a Keras backend of {NAME!r}"
        )
    try:
        file = importlib.import_module(f"{__name__}.{_FILES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("tensorflow_probability", "tf_keras"):
            raise
        raise ImportError(
            f"`keras_gumbel.distributions` needs {error.name}: "
            "pip install 'keras-gumbel[probability]'",
            name=error.name,
        ) from error
    return getattr(file, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES})
