"""Kernels that go by blocks of rows give what the formula gives at once."""

import inspect

import numpy as np
import pytest
import torch

from keras_gumbel.backend.torch import kernels
from keras_gumbel.backend.torch.kernels.fused import BLOCK
from keras_gumbel.backend.torch.programs import (
    gradients_wanted,
    native_function,
)

# Name: the shape, the axis of the classes, the shape of the temperature.
SHAPES = {
    "a temperature for all": ((3, BLOCK // 2), -1, ()),
    "one per row": ((3, BLOCK // 2), 1, (3, 1)),
    "one row is a block": ((2, BLOCK), -1, (1, 1)),
    "of lower rank": ((5, 2**10, 2**7), 1, (2**7,)),
    "the first axis": ((2**10, 2**9), 0, (1, 2**9)),
}
NAMES = ("softmax.softmax", "softmax.softmax_vjp", "reinmax._heun")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_the_whole(name, shape):
    size, axis, of_temperature = SHAPES[shape]
    rng = np.random.default_rng(0)

    def normal(*shape):
        return torch.tensor(rng.normal(size=shape), dtype=torch.float32)

    x, dy, temperature = normal(*size), normal(*size), normal(*of_temperature)
    temperature = temperature.exp()
    peak = x.amax(axis, True)
    args = {
        "softmax.softmax": (x, temperature, axis),
        "softmax.softmax_vjp": (x, peak, temperature, dy, axis),
        "reinmax._heun": (
            temperature,
            torch.tensor(1.5),
            x,
            x.argmax(axis, True).int(),
            dy,
            axis,
        ),
    }[name]
    function = inspect.unwrap(native_function(name))
    with gradients_wanted(others=False):
        found = kernels.BY_NAME[name](function, *args)
    right = function(*args)
    if name == "softmax.softmax_vjp":
        found, right = found[0], right[0]
    scale = float(right.abs().max())
    np.testing.assert_allclose(found, right, rtol=0, atol=4e-6 * scale)
