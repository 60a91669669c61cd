"""The types that samples are computed in."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor


def widen(logits: Tensor) -> Tensor:
    """Widen half precision: it lacks the range and the digits for noise."""
    return ops.cast(logits, wide_dtype(logits))


def wide_dtype(logits: Tensor) -> str:
    """Return the type that `widen` gives."""
    return _wide_dtype(logits.dtype)


@backend.cached
def _wide_dtype(dtype: Any) -> str:
    name = keras.backend.standardize_dtype(dtype)
    return "float64" if name == "float64" else "float32"


def smallest(x: Tensor) -> float:
    """Return the smallest normal number of the dtype of `x`."""
    return float(np.finfo(keras.backend.standardize_dtype(x.dtype)).tiny)


def lowest(x: Tensor) -> float:
    """Return the lowest number of the dtype of `x`."""
    return float(np.finfo(keras.backend.standardize_dtype(x.dtype)).min)
