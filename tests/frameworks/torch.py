"""torch's part of `tests.harness`."""

import numpy as np
import torch


def _array(self, dtype=None, copy=None):
    """Of what a gradient is asked, and of bfloat16, as elsewhere."""
    x = self.detach().cpu()
    half = x.dtype == torch.bfloat16
    array = x.float().numpy() if half else x.numpy()
    if half and dtype is None:
        dtype = "bfloat16"
    return array if dtype is None else array.astype(np.dtype(dtype))


def _array_wrap(self, array, context=None, return_scalar=False):
    """An array: torch 2.13 predates these arguments, which NumPy 2 has."""
    return array[()] if return_scalar else array


# Tests give results to NumPy.
torch.Tensor.__array__ = _array
torch.Tensor.__array_wrap__ = _array_wrap


def slopes(function, tensors, upstream):
    """The value, and what comes back to each of the tensors."""
    tensors = [x.detach().clone().requires_grad_() for x in tensors]
    value = function(*tensors)
    if upstream is None:
        upstream = torch.ones_like(value)
    upstream = upstream.to(value.dtype).broadcast_to(value.shape)
    if not value.requires_grad:
        return value, (None,) * len(tensors)
    found = torch.autograd.grad(value, tensors, upstream, allow_unused=True)
    return value.detach(), found


def slopes_to(variables, function):
    """Of the sum of `function()`, to variables of Keras."""
    return torch.autograd.grad(
        function().sum(), [x.value for x in variables], allow_unused=True
    )


# How a function of tensors is run: mode -> (function -> function). A program of
# torch's holds neither NumPy nor a gradient that is asked for within it, as
# functions of these tests do: `tests/torch/test_compile.py` has programs.
MODES = {
    mode: lambda function: function for mode in ("eager", "graph", "compiled")
}
