"""Arithmetic of sizes, in integers where they are known.

If a framework always knows its shapes, it takes only integers for a shape.
"""

import numpy as np
from keras import ops

from keras_gumbel._typing import Tensor

Size = Tensor | int


def is_name(size: object) -> bool:
    """Return whether it stands for any size of a dimension to be exported."""
    return not isinstance(size, int | np.integer) and not _is_tensor(size)


def _is_tensor(size: object) -> bool:
    # torch can trace the second question of a tensor alone.
    return not isinstance(size, int | np.integer) and hasattr(size, "dtype")


def whole(size: Size) -> Size:
    """Return an integer as it is, any other size as an int32 tensor."""
    if isinstance(size, int | np.integer):
        return size
    return ops.cast(ops.convert_to_tensor(size), "int32")


def larger(a: Size, b: Size) -> Size:
    """Return the larger of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return ops.maximum(whole(a), whole(b))
