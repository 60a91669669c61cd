"""No call goes by way of NumPy, by which gradients, traces and devices end.

A tensor plus an array is such a call: torch leaves it to NumPy, and wraps the
result. Nothing shows, but that an exported program has it as a constant.
"""

import pytest
import torch

from tests.conformance.registry import LAYERS, each_of
from tests.harness import tensor


@pytest.fixture
def _no_arrays(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a tensor was made an array")

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)
    monkeypatch.setattr(torch.Tensor, "numpy", refuse)


@each_of(LAYERS)
def test_a_layer_is_of_tensors_alone(row, request):
    layer = row.create(seed=3)
    x = tensor(row.logits())
    layer(x, training=True)  # It may look at values as it is built.
    request.getfixturevalue("_no_arrays")
    for training in (True, False):
        layer(x, training=training)
    if hasattr(layer, "encode"):
        layer.encode(x)
