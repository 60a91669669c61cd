"""The purpose of a call, which none of its arguments tells.

It is the format of the file that the call is traced for, and what a caller asks
of all sampling layers: to take its noise, or to sample. The caller asks by a
context, for its own thread alone.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from keras_gumbel import backend
from keras_gumbel._typing import Tensor

# Maps a layer and a tensor of the noise's shape to the noise.
Source = Callable[[Any, Tensor], Tensor]
# Maps a layer to the key of its draw: int32, shape (2,).
Keys = Callable[[Any], Tensor]


class _Asked(threading.local):
    source: Source | None = None
    keys: Keys | None = None
    sampling = False


_ASKED = _Asked()


@contextlib.contextmanager
def _asking(name: str, value: Any) -> Iterator[None]:
    before = getattr(_ASKED, name)
    setattr(_ASKED, name, value)
    try:
        yield
    finally:
        setattr(_ASKED, name, before)


def noise_from(source: Source) -> contextlib.AbstractContextManager[None]:
    """Open a context where sampling layers sample, with noise of `source`."""
    return _asking("source", source)


def keys_from(keys: Keys) -> contextlib.AbstractContextManager[None]:
    """Open a context where sampling layers sample, by a key for each draw."""
    return _asking("keys", keys)


def sampling() -> contextlib.AbstractContextManager[None]:
    """Open a context where sampling layers sample, whatever their setting."""
    return _asking("sampling", True)


def is_sampling() -> bool:
    """Return whether this call is within `sampling`."""
    return _ASKED.sampling


def given_noise(layer: Any, like: Tensor) -> Tensor | None:
    """Return the noise for this call, or None if the layer draws its own."""
    source = _ASKED.source
    return None if source is None else source(layer, like)


def has_keys() -> bool:
    """Return whether this call is within `keys_from`."""
    return _ASKED.keys is not None


def given_key(layer: Any) -> Tensor | None:
    """Return the key for this draw, or None if the layer has its own."""
    keys = _ASKED.keys
    return None if keys is None else keys(layer)


def mask_of(x: Tensor) -> Tensor | None:
    """Return the mask that a tensor carries for Keras; None without one."""
    return backend.mask_of(x)


def is_exported() -> bool:
    """Return whether this call is traced to be written to a file."""
    return backend.export_format() is not None


def portable_format() -> str | None:
    """Return that file's format; None for a SavedModel, which holds it all."""
    target = backend.export_format()
    return None if target == "saved_model" else target
