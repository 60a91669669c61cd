"""Kernels of `backend.native`: torch's own operations, for eager code.

A kernel gets the function that it replaces and its arguments: tensors on the
host that need no gradient. Its results equal the function's, up to the rounding
of sums.
"""

from collections.abc import Callable
from typing import Any

from keras_gumbel.backend.torch.kernels import (
    blocks,
    choices,
    loops,
    noise,
    opaque,
    scales,
    softmax,
)

BY_NAME: dict[str, Callable[..., Any]] = {
    "noise.gumbel": noise.drawn,
    "noise.exponential": noise.drawn,
    "noise.logistic": noise.drawn,
    "noise.random_unit": noise.drawn,
    "noise.random_half": noise.as_written,
    "noise.add_noise": noise.added,
    "categorical.first_argmax": choices.first_argmax,
    "categorical.entry": choices.entry,
    "categorical.peak": choices.entry,
    "categorical.one_hot": choices.one_hot,
    "masking.positive_or_nan": scales.positive_or_nan,
    "masking.scale_or_nan": scales.scale_or_nan,
    "offsets._beyond": scales.beyond,
    "assignment.best_columns": noise.as_written,
    "sinkhorn.path": loops.sinkhorn_path,
    "assignment.search": loops.assignment_search,
    "reinmax._heun": blocks.in_blocks,
    "softmax.softmax": softmax.softmax,
    "softmax.softmax_terms": softmax.softmax_terms,
    "softmax.softmax_vjp": softmax.softmax_vjp,
}

is_opaque = opaque.is_used
# A compiler sees each as one operation: compiling it would take minutes.
IN_PROGRAMS: dict[str, Callable[..., Any]] = {
    f"noise.{name}": opaque.noise
    for name in ("gumbel", "exponential", "logistic", "random_unit")
} | {
    "categorical.peak": choices.peak,
    "assignment.best_columns": opaque.best_columns,
    "sinkhorn.path": opaque.sinkhorn_path,
}
