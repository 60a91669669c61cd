"""Arithmetic of sizes: of integers, where they are known.

A framework whose shapes are always known takes nothing else for a shape.
"""

import math
from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_gumbel._typing import Tensor

Size = Tensor | int


def is_name(size: object) -> bool:
    """Whether it stands for any number: of a dimension to be exported."""
    return not isinstance(size, int | np.integer) and not hasattr(size, "dtype")


def whole(size: Size) -> Size:
    """An integer as it is, any other size as a tensor, int32."""
    if isinstance(size, int | np.integer):
        return size
    return ops.cast(ops.convert_to_tensor(size), "int32")


def larger(a: Size, b: Size) -> Size:
    """The larger of two."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return ops.maximum(whole(a), whole(b))


def product(sizes: Sequence[Size]) -> Size:
    """Return all sizes, int32 where one is not known."""
    if any(hasattr(size, "dtype") for size in sizes):
        return ops.prod(ops.cast(sizes, "int32"))
    return math.prod(sizes)
