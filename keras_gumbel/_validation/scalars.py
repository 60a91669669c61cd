"""Arguments that are Python values."""

import math
import numbers
from typing import Any

import keras

from keras_gumbel import backend

_MAX_SEED = 2**32


def is_number(value: Any) -> bool:
    """Return whether it is a real number, and not a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _check_is_number(value: Any, name: str) -> None:
    if not is_number(value):
        raise TypeError(
            f"`{name}` must be a number. Received: {name}={value!r} "
            f"(of type {type(value).__name__})"
        )


def check_not_negative(value: Any, name: str) -> None:
    """Raise unless it is a finite number, zero or more."""
    _check_is_number(value, name)
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(
            f"`{name}` must be finite and not negative. "
            f"Received: {name}={value}"
        )


def check_positive(value: Any, name: str) -> None:
    """Raise unless it is a finite number above zero."""
    _check_is_number(value, name)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f"`{name}` must be positive and finite. Received: {name}={value}"
        )


def check_sequence(value: Any, name: str) -> None:
    """Raise unless it is a sequence: no string, and no single number."""
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise TypeError(
            f"`{name}` must be a sequence. Received: {name}={value!r} "
            f"(of type {type(value).__name__})"
        )


def check_integer(value: Any, name: str, minimum: int | None = None) -> None:
    """Raise unless it is an integer, no bool, and at least `minimum`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(
            f"`{name}` must be an integer. Received: {name}={value!r} "
            f"(of type {type(value).__name__})"
        )
    if minimum is not None and int(value) < minimum:
        raise ValueError(
            f"`{name}` must be at least {minimum}. Received: {name}={value}"
        )


def check_seed(seed: Any) -> None:
    """Raise unless it is None, a generator, or an integer in [0, 2**32)."""
    if seed is None or isinstance(seed, keras.random.SeedGenerator):
        return
    if backend.is_key(seed):
        return
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool):
        raise TypeError(
            "`seed` must be None, an integer or a "
            "`keras.random.SeedGenerator`. "
            f"Received: seed={seed!r} (of type {type(seed).__name__})"
        )
    if not 0 <= int(seed) < _MAX_SEED:
        raise ValueError(
            f"`seed` must be at least 0 and below 2**32. Received: seed={seed}"
        )


def check_choice(value: Any, name: str, choices: tuple[Any, ...]) -> None:
    """Raise unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {choices}. Received: {name}={value!r}"
        )


def check_noise_dtype(dtype: Any) -> str:
    """Return the name of a float dtype."""
    try:
        name: str = keras.backend.standardize_dtype(dtype)
    except (ValueError, TypeError):
        name = repr(dtype)
    if name not in ("float16", "bfloat16", "float32", "float64"):
        raise ValueError(
            "`dtype` must be a float dtype: 'float16', 'bfloat16', "
            f"'float32' or 'float64'. Received: dtype={dtype!r}"
        )
    return name


def check_num_samples(num_samples: Any) -> None:
    """Raise unless the samples per distribution are a positive integer."""
    check_integer(num_samples, "num_samples", minimum=1)
