"""Inside a program of the user's, by `torch.compile`."""

import keras
import numpy as np
import pytest
import torch

import keras_gumbel as kg
from keras_gumbel.backend.torch.kernels import fused
from tests.conformance.registry import LAYERS, each_of
from tests.harness import tensor, to_numpy
from tests.variants import slow

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


TABLE = torch.linspace(-1, 1, 27).reshape(9, 3)

# Of logits (rows, 9) and a seed; written with loops, or searches.
OF_LOOPS = {
    "assignment": lambda x, _: kg.ops.linear_assignment(x.reshape(-1, 3, 3)),
    "nearest": lambda x, _: kg.ops.nearest_code(x, TABLE.T),
    "embedding": lambda x, seed: kg.ops.sample_embedding(x, TABLE, seed=seed),
    "hard_top_k": lambda x, seed: kg.ops.gumbel_top_k(
        x, 3, hard=True, seed=seed
    )[0],
    "top_k": lambda x, seed: kg.ops.gumbel_top_k(x, 3, seed=seed)[0],
    "sort": lambda x, seed: kg.ops.gumbel_sort(x, seed=seed)[0],
    "hard_sinkhorn": lambda x, seed: kg.ops.gumbel_sinkhorn(
        x.reshape(-1, 3, 3), hard=True, seed=seed
    ),
    "sinkhorn": lambda x, seed: kg.ops.gumbel_sinkhorn(
        x.reshape(-1, 3, 3), seed=seed
    ),
    "rao": lambda x, seed: kg.ops.gumbel_softmax(
        x, hard=True, estimator="gumbel_rao", seed=seed
    ),
    "subset": lambda x, seed: kg.ops.conditional_poisson_subset(
        x, 3, seed=seed
    )[0],
    "marginals": lambda x, _: kg.ops.conditional_poisson_marginals(x, 3),
}


@pytest.mark.parametrize(
    "name", [*list(OF_LOOPS)[:3], *slow(*list(OF_LOOPS)[3:])]
)
def test_loops_and_searches(name):
    """Samples and gradients of one program, for all numbers of rows."""
    function = OF_LOOPS[name]
    stream, same = (keras.random.SeedGenerator(2) for _ in range(2))
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    program = torch.compile(function, fullgraph=True, backend=counter)
    for rows in (6, 7, 12, 60):
        found = []
        for run, seed in ((program, stream), (function, same)):
            x = logits(rows, rows).requires_grad_()
            y = run(x, seed)
            if y.requires_grad:
                (y * torch.linspace(0, 1, y.shape[-1])).sum().backward()
            found.append((y.detach(), x.grad))
        np.testing.assert_allclose(found[0][0], found[1][0], atol=3e-6)
        if y.requires_grad:
            np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)
    assert counter.frame_count == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_LOOPS)
def test_compiling_ends(name):
    """By the compiler that users have, without a limit of our own."""
    stream, same = (keras.random.SeedGenerator(2) for _ in range(2))
    function = OF_LOOPS[name]
    program = torch.compile(function, fullgraph=True)
    x = logits(20)
    found, right = program(x, stream), function(x, same)
    np.testing.assert_allclose(found, right, atol=3e-6)


@each_of(LAYERS, gate=("GumbelQuantizer-hard", "FiniteScalarQuantizer-hard"))
def test_a_layer_in_a_program(row):
    """In training: one graph, the samples of eager code, and a gradient."""
    layer, eager = row.create(seed=3), row.create(seed=3)
    x = tensor(row.logits())
    for one in (layer, eager):
        one(x, training=True)  # It may look at values as it is built.
    eager.set_weights(layer.get_weights())
    program = torch.compile(
        lambda x: layer(x, training=True), fullgraph=True, backend="aot_eager"
    )
    found = program(x.requires_grad_())
    np.testing.assert_allclose(
        to_numpy(found), to_numpy(eager(x, training=True)), atol=3e-6
    )
    found.sum().backward()
    assert bool(torch.isfinite(x.grad).all())
