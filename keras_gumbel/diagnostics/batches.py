"""Batches of a user's data, the same for every training."""

from typing import Any

import keras
import numpy as np

from keras_gumbel._validation import check_batches
from keras_gumbel.diagnostics.trial import Batch


def batches(
    x: Any, y: Any, name: str, batch_size: int, number: int, seed: int
) -> list[Batch]:
    """Return `number` batches, in a new order each epoch."""
    examples = check_batches(x, y, name)
    size = min(batch_size, examples)
    rng = np.random.default_rng(seed)
    places: list[np.ndarray] = []
    while len(places) < number:
        order = rng.permutation(examples)[: examples // size * size]
        places += np.split(order, len(order) // size)

    def at(place: np.ndarray, data: Any) -> Any:
        return keras.tree.map_structure(lambda a: np.asarray(a)[place], data)

    return [
        (at(place, x), None if y is None else at(place, y))
        for place in places[:number]
    ]
