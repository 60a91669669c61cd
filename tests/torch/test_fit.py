"""Keras's own training, by a compiled step and by a plain one."""

import keras
import numpy as np
import pytest
import torch

import keras_gumbel as kg
from keras_gumbel.backend.torch.kernels import fused

X = np.random.default_rng(0).normal(size=(24, 7)).astype("float32")
TARGET = np.eye(5, dtype="float32")[np.argmax(X[:, :5], -1)]


def trained(jit_compile):
    """What `fit` reports, the weights, and the place in the stream."""
    keras.utils.set_random_seed(0)
    choice = kg.GumbelSoftmax(0.5, hard=True, seed=2**32 - 1)
    model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(5), choice])
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
    before = model.layers[0].kernel.numpy()
    history = model.fit(
        X, TARGET, batch_size=8, epochs=2, shuffle=False, verbose=0
    )
    weights = [x.numpy() for x in model.trainable_weights]
    assert np.abs(weights[0] - before).max() > 1e-3
    state = choice.seed_generator.state.value.tolist()
    return history.history, weights, state


def test_a_compiled_step_trains_as_a_plain_one(monkeypatch):
    """Six steps, whose hard samples differ if one draw does."""
    if not fused._works():
        pytest.skip("inductor has no compiler here")
    # Small draws need no program of their own.
    monkeypatch.setenv(fused.SETTING, "0")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    logs, weights, state = trained(False)
    assert not torch._dynamo.utils.counters["frames"]
    compiled_logs, compiled_weights, compiled_state = trained(True)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert state == compiled_state == [-1, 6]
    assert logs.keys() == compiled_logs.keys() == {"loss"}
    np.testing.assert_allclose(logs["loss"], compiled_logs["loss"], rtol=1e-6)
    for one, other in zip(weights, compiled_weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
