"""The framework beneath, as tests speak to it.

A test that asks no more of it holds on every backend. What is TensorFlow's own
(SavedModels, `tf.data`, strategies, accumulators, tapes in tapes) is marked
`tensorflow`.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.backend.common.masking import set_keras_mask

from tests.variants import slow

if keras.config.backend() == "jax":
    from tests.frameworks.jax import MODES, slopes, slopes_to
elif keras.config.backend() == "torch":
    from tests.frameworks.torch import MODES, slopes, slopes_to
else:
    from tests.frameworks.tensorflow import MODES, slopes, slopes_to

Tensor = Any

# Whether in each of `MODES` tensors have values, so that what is wrong in them
# is an error: programs of torch's do not run in these.
ALWAYS_KNOWN = keras.config.backend() == "torch"
# By how much a number may differ where others in the tensor do: elsewhere not
# at all, but kernels of torch round by a number's place among eight or sixteen.
APART = 1e-6 if keras.config.backend() == "torch" else 0.0


def tensor(x: Any, dtype: str | None = None) -> Tensor:
    """`x` as a tensor; of an array the dtype stays, float64 too."""
    if dtype is None and isinstance(x, np.ndarray):
        dtype = x.dtype.name
    return keras.ops.convert_to_tensor(x, dtype)


def dtype_of(x: Any) -> str:
    """Its name, of a tensor of any framework."""
    return keras.backend.standardize_dtype(x.dtype)


def carrying(x: Tensor, mask: Any) -> Tensor:
    """`x` with a mask, as Keras hands it on."""
    set_keras_mask(x, tensor(mask))
    return x


def to_numpy(x: Any) -> Any:
    """A tensor, or a structure of them, as arrays; None stays."""
    return keras.tree.map_structure(
        lambda one: None if one is None else keras.ops.convert_to_numpy(one), x
    )


def value_and_grad(
    function: Callable[..., Tensor], *args: Any, upstream: Any = None
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """`function(*args)`, and what comes back to each of `args`.

    Args:
        function: Of tensors, to a tensor.
        *args: Arrays or tensors of floats.
        upstream: The gradient at the value; ones by default, so that it is
            the value's sum that is differentiated.

    Returns:
        The value, and a gradient for each argument: None where nothing
        connects it.
    """
    tensors = [tensor(x) for x in args]
    if upstream is not None:
        upstream = tensor(upstream)
    return slopes(function, tensors, upstream)


def gradients(
    function: Callable[..., Tensor], *args: Any, upstream: Any = None
) -> tuple[Any, ...]:
    """The same as arrays: the value, and after it each gradient."""
    value, found = value_and_grad(function, *args, upstream=upstream)
    return to_numpy(value), *to_numpy(found)


def grad(function: Callable[..., Tensor], *args: Any) -> Any:
    """The gradient to the one argument, or to each of several, as arrays."""
    found = to_numpy(value_and_grad(function, *args)[1])
    return found[0] if len(args) == 1 else found


def grad_to(variables: Any, function: Callable[[], Tensor]) -> Any:
    """The gradients of the sum of `function()` to Keras variables, as arrays.

    None where nothing connects one of them.
    """
    return to_numpy(slopes_to(variables, function))


def in_mode(mode: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, run in one of `MODES`."""
    return MODES[mode](function)


def modes(*gate: str) -> pytest.MarkDecorator:
    """Parametrised by `mode`: these in the gate, the others slow.

    All of them in the gate if none is named.
    """
    gate = gate or tuple(MODES)
    rest = [mode for mode in MODES if mode not in gate]
    return pytest.mark.parametrize("mode", [*gate, *slow(*rest)])
