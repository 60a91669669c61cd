"""New tensors, whose memory NumPy asks for.

For a large array NumPy asks the system for large pages. torch does not, so that
the system clears a page of 4 KiB at a time, for longer than most operations
take; and its zeros are written, where NumPy's are pages that are zero.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from keras_gumbel._typing import Tensor


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return a tensor to fill in."""
    return _of_numpy(np.empty, shape, dtype)


def zeros(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return a tensor of zeros."""
    return _of_numpy(np.zeros, shape, dtype)


def _of_numpy(
    create: Callable[..., Any], shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    # NumPy lacks some of torch's types, but has integers of their size.
    array = create(tuple(shape), f"i{dtype.itemsize}")
    return torch.from_numpy(array).view(dtype)
