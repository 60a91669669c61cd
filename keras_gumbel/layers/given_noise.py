"""Noise that is handed to the layers, in place of what they would draw."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from keras_gumbel._typing import Tensor

# From a layer and a tensor of the noise's shape to the noise.
Source = Callable[[Any, Tensor], Tensor]

_SOURCE: contextvars.ContextVar[Source | None] = contextvars.ContextVar(
    "source", default=None
)


@contextlib.contextmanager
def noise_from(source: Source) -> Iterator[None]:
    """In this context every sampling layer samples, with noise of `source`."""
    token = _SOURCE.set(source)
    try:
        yield
    finally:
        _SOURCE.reset(token)


def given_noise(layer: Any, like: Tensor) -> Tensor | None:
    """The noise for this call, or None where the layer is to draw its own."""
    source = _SOURCE.get()
    return None if source is None else source(layer, like)
