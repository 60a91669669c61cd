"""float64 stays float64, where torch or Keras would pass by way of float32."""

import numpy as np
import pytest
import torch

import keras_gumbel as kg
from keras_gumbel import backend
from keras_gumbel.ops.gumbel_sort import sample_order

ROWS, CLASSES = 6, 5


def double(*shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape)
    return torch.tensor(x, requires_grad=True)


def test_segments_are_summed_in_the_dtype_of_their_rows():
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int32):
        x = torch.tensor([[1.0], [2.0**-30], [4.0], [8.0]]).to(dtype)
        ids = torch.tensor([0, 0, -1, 2], dtype=torch.int32)
        found = backend.segment_sum(x, ids, 2)
        assert found.dtype == dtype
        assert found.tolist() == [[float(x[0] + x[1])], [0]]


def test_a_table_gets_a_gradient_of_every_digit():
    table = double(CLASSES, 3, seed=1)
    weights = double(ROWS, 3, seed=2).detach()
    y = kg.ops.sample_embedding(double(ROWS, CLASSES), table, seed=3)
    (found,) = torch.autograd.grad((y * weights).sum(), table)
    # y is linear in the table: its value, by the gradient.
    right = (y * weights).sum().item()
    assert (found * table).sum().item() == pytest.approx(right, rel=1e-14)


@pytest.mark.parametrize("trainable", [True, False])
def test_logits_before_a_table_get_a_gradient(trainable):
    """Also where nothing else asks for one."""
    layer = kg.GumbelEmbedding(
        CLASSES, 3, seed=1, dtype="float64", trainable=trainable
    )
    x = double(ROWS, CLASSES)
    y = layer(x, training=True)
    (gradient,) = torch.autograd.grad((y**2).sum(), x)
    assert gradient.dtype == torch.float64
    assert bool(torch.isfinite(gradient).all())
    assert bool(gradient.any())


@pytest.mark.parametrize("output", ["permutation", "sorted", "ranks"])
def test_an_order_of_nothing_gives_the_temperature_no_gradient(output):
    x, tau = double(2, CLASSES), torch.tensor(0.7, dtype=torch.float64)
    tau.requires_grad_()
    mask = torch.tensor([[True] * CLASSES, [False] * CLASSES])
    found = []
    for rows in (slice(0, 2), slice(0, 1)):
        y = sample_order(
            x[rows],
            tau,
            output=output,
            hard=False,
            descending=True,
            class_mask=mask[rows],
            noise_scale=0.5,
            seed=1,
        )
        y = y[0] if output == "permutation" else y
        found.append(torch.autograd.grad((y[0] ** 2).sum(), tau)[0].item())
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert found[0] != 0


def test_no_rows_within_rows():
    for estimator in ("st_gumbel", "reinmax"):
        x = torch.zeros((3, 0, 4), requires_grad=True)
        y = kg.ops.gumbel_softmax(x, hard=True, estimator=estimator, seed=1)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert y.shape == gradient.shape == (3, 0, 4)
