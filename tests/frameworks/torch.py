"""torch's part of `tests.harness`."""

import torch


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
