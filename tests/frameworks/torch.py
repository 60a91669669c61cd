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


# How a function of tensors is run: mode -> (function -> function). There is
# nothing between eager code and a compiled program.
MODES = {
    "eager": lambda function: function,
    "graph": lambda function: function,
    "compiled": lambda function: torch.compile(function, fullgraph=True),
}
