"""The keys of a layer's variables in a file."""

import itertools
from collections.abc import Collection, Iterable
from typing import Any

import keras

from keras_gumbel._validation import check_stored

ITERATIONS = "iterations"
NOISE_SCALE = "noise_scale"


def keys(weights: Iterable[keras.Variable], names: dict[int, str]) -> list[str]:
    """Return the names of `weights`, and numbers for those without one.

    Args:
        weights: Weights in Keras's order.
        names: Names of live scalars, by variable id.
    """
    count = itertools.count()
    return [names.get(id(one)) or str(next(count)) for one in weights]


def named(
    stored: dict[str, Any],
    weights: dict[str, keras.Variable],
    scalars: Iterable[str],
) -> dict[str, Any]:
    """Return the contents of a file, by today's keys.

    Version 0.1 numbered live scalars among the other weights. If all match
    the layer's weights, the order tells which is which. Otherwise the kinds
    do: a count is an integer, and live scalars have no shape.

    Args:
        stored: The contents of the file.
        weights: The layer's weights, by key, in Keras's order.
        scalars: Names of the live scalars of such a layer, in that order.
    """
    if not all(key.isdecimal() for key in stored):
        return stored
    values = [stored[key] for key in sorted(stored, key=int)]
    if list(map(_kind, values)) == list(map(_kind, weights.values())):
        return dict(zip(weights, values, strict=True))
    count, scalars = itertools.count(), iter(scalars)
    found = {}
    for value in values:
        shape, is_integer = _kind(value)
        name = None
        if not shape:
            name = ITERATIONS if is_integer else next(scalars, None)
        found[name or str(next(count))] = value
    return found


def numbered(
    stored: dict[str, Any],
    weights: dict[str, keras.Variable],
    optional: Collection[str],
) -> dict[str, Any]:
    """Return the contents of a file, as Keras numbers the layer's weights.

    A missing optional weight stays as it is; one that the layer lacks is
    left out.
    """
    check_stored(stored, weights, optional)
    return {
        str(number): stored.get(key, weight)
        for number, (key, weight) in enumerate(weights.items())
    }


def _kind(x: Any) -> tuple[tuple[int, ...], bool]:
    return tuple(x.shape), "int" in str(x.dtype)
