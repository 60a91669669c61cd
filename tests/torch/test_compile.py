"""Inside a program of the user's, by `torch.compile`."""

import keras
import numpy as np
import pytest
import torch

import keras_gumbel as kg
from keras_gumbel.backend.torch.kernels import fused

WEIGHTS = torch.arange(9.0)
RULES = ("st_gumbel", "st", "reinmax", "gapped_st")


def logits(rows, seed=0):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(rows, 9)), dtype=torch.float32)


@pytest.fixture(autouse=True)
def _afresh(monkeypatch):
    if not fused._works():
        pytest.skip("inductor has no compiler here")
    # Small draws need no program of their own.
    monkeypatch.setenv(fused.SETTING, "0")
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "rule",
    [
        "st_gumbel",
        *(pytest.param(x, marks=pytest.mark.slow) for x in RULES[1:]),
    ],
)
def test_it_is_one_graph_with_the_same_samples(rule):
    def loss(x):
        y = kg.ops.gumbel_softmax(
            x, 0.5, hard=True, estimator=rule, seed=2**32 - 1
        )
        return (y * WEIGHTS).sum()

    program = torch.compile(loss, fullgraph=True)
    found = []
    for function in (loss, program):
        x = logits(6).requires_grad_()
        value = function(x)
        value.backward()
        found.append((value.detach(), x.grad))
    assert float(found[0][0]) == float(found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], atol=2e-6)


def test_one_program_serves_every_batch():
    """A stream moves on, and no number of it is baked in."""
    layer, eager = (kg.GumbelSoftmax(0.7, hard=True, seed=1) for _ in range(2))
    for one in (layer, eager):
        one.build((None, 9))
    # Keras makes something for all calls in the first of them.
    kg.GumbelSoftmax()(logits(2))
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    program = torch.compile(
        lambda x: layer(x, training=True),
        fullgraph=True,
        dynamic=True,
        backend=counter,
    )
    for rows in (6, 7, 7, 12):
        x = logits(rows, rows)
        np.testing.assert_array_equal(program(x), eager(x, training=True))
        if rows == 7:
            layer.temperature = 0.3
            eager.temperature = 0.3
    assert counter.frame_count == 1


@pytest.mark.parametrize("kernel", [False, True])
def test_no_key_is_a_constant(kernel, monkeypatch):
    """A program goes on with its stream, and so do kernels of the noise."""
    x = torch.zeros(600, 9)
    assert x.numel() > fused._SMALLEST
    if kernel:
        monkeypatch.delenv(fused.SETTING)
    stream, same = (keras.random.SeedGenerator(2) for _ in range(2))

    def draw(seed):
        return kg.ops.gumbel_softmax(x, 0.7, hard=True, seed=seed)

    program = torch.compile(lambda: draw(stream), fullgraph=True)
    found = [program() for _ in range(3)]
    monkeypatch.setenv(fused.SETTING, "0")
    for one in found:
        np.testing.assert_array_equal(one, draw(same))
    assert not torch.equal(found[0], found[1])
    assert stream.state.value.tolist() == [2, 3]


def test_sizes_that_come_are_compiled_for_once():
    """Told nothing, torch makes a program for one size, then one for all."""
    stream, same = (keras.random.SeedGenerator(2) for _ in range(2))
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, backend=counter)
    def program(x):
        return kg.ops.gumbel_softmax(x, 0.7, hard=True, seed=stream)

    for rows in (6, 7, 12, 5, 600):
        x = logits(rows, rows)
        right = kg.ops.gumbel_softmax(x, 0.7, hard=True, seed=same)
        np.testing.assert_array_equal(program(x), right)
    assert counter.frame_count == 2


# Each a function of logits (rows, 3, 3) and a seed.
OF_ANY_ROWS = {
    "gumbel": lambda x, seed: kg.ops.sample_gumbel(x.shape, seed=seed),
    "logistic": lambda x, seed: kg.ops.sample_logistic(x.shape, seed=seed),
    "cells": lambda x, seed: kg.ops.gumbel_softmax(
        x, hard=True, axis=(1, 2), seed=seed
    ),
    "coordinates": lambda x, seed: kg.ops.sample_argmax_index(
        x, hard=True, axis=(1, 2), seed=seed
    ),
    "samples": lambda x, seed: kg.ops.gumbel_softmax(
        x, hard=True, num_samples=4, seed=seed
    ),
    "indices": lambda x, seed: kg.ops.sample_argmax_index(
        x, hard=True, estimator="st", num_samples=4, seed=seed
    ),
    "gates": lambda x, seed: kg.ops.gumbel_sigmoid(x, hard=True, seed=seed),
    "hard_concrete": lambda x, seed: kg.ops.hard_concrete(x, seed=seed),
    "masked": lambda x, seed: kg.ops.gumbel_softmax(
        x, hard=True, axis=1, class_mask=x > -1, seed=seed
    ),
}


@pytest.mark.parametrize("name", OF_ANY_ROWS)
def test_rows_that_come(name):
    draw = OF_ANY_ROWS[name]
    stream, same = (keras.random.SeedGenerator(2) for _ in range(2))
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    program = torch.compile(draw, fullgraph=True, backend=counter)
    for rows in (6, 7, 12, 5, 60):
        x = logits(rows, rows).reshape(rows, 3, 3)
        found, right = program(x, stream), draw(x, same)
        np.testing.assert_allclose(found, right, atol=2e-6)
    assert counter.frame_count == 2
