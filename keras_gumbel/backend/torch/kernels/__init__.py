"""What `backend.native` runs by operations of torch's own, in eager code.

A kernel is given the function that it stands for, and its arguments: tensors
on the host of which no gradient is asked. Its results are the function's, to
the rounding of sums.
"""

from collections.abc import Callable
from typing import Any

from keras_gumbel.backend.torch.kernels import (
    choices,
    loops,
    noise,
    opaque,
    softmax,
)

BY_NAME: dict[str, Callable[..., Any]] = {
    "noise.gumbel": noise.drawn,
    "noise.exponential": noise.drawn,
    "noise.logistic": noise.drawn,
    "noise.random_unit": noise.drawn,
    "noise.random_half": noise.as_written,
    "draws.add_noise": noise.added,
    "categorical.first_argmax": choices.first_argmax,
    "categorical.one_hot": choices.one_hot,
    "sinkhorn.path": loops.sinkhorn_path,
    "assignment.search": loops.assignment_search,
    "softmax.softmax": softmax.softmax,
    "softmax.softmax_terms": softmax.softmax_terms,
    "softmax.softmax_vjp": softmax.softmax_vjp,
}

is_opaque = opaque.is_used
# What is one operation to a compiler, which would take minutes over it.
IN_PROGRAMS: dict[str, Callable[..., Any]] = {
    f"noise.{name}": opaque.noise
    for name in ("gumbel", "exponential", "logistic", "random_unit")
}
