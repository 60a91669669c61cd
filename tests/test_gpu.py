"""TensorFlow's own GPU path. Runs wherever TensorFlow sees a GPU."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not tf.config.list_physical_devices("GPU"),
        reason="TensorFlow sees no GPU",
    ),
]
LOGITS = np.random.default_rng(0).normal(size=(64, 512)).astype("float32")
WEIGHTS = np.random.default_rng(1).normal(size=(64, 512)).astype("float32")
MODES = {"eager": None, "graph": False, "XLA": True}


def on(device, mode, hard):
    """A sample and its gradient, computed on a device."""

    def step(logits, weights):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = kg.ops.gumbel_softmax(logits, 0.5, hard=hard, seed=7)
            loss = tf.reduce_sum(y * weights)
        return y, tape.gradient(loss, logits)

    if MODES[mode] is not None:
        step = tf.function(step, jit_compile=MODES[mode])
    with tf.device(device):
        return step(tf.constant(LOGITS), tf.constant(WEIGHTS))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
def test_same_sample_and_gradient_as_on_the_cpu(mode, hard):
    sample, gradient = on("GPU:0", mode, hard)
    assert "GPU" in sample.device
    expected, d_expected = on("CPU:0", mode, hard)
    np.testing.assert_allclose(sample, expected, atol=1e-5)
    np.testing.assert_allclose(gradient, d_expected, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [True, False, "auto"])
def test_fit(jit_compile):
    model = keras.Sequential(
        [
            keras.layers.Dense(512),
            kg.GumbelSoftmax(0.5, hard=True, seed=1),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse", jit_compile=jit_compile)
    targets = LOGITS[:, :1]
    history = model.fit(LOGITS, targets, epochs=3, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_embedding_is_the_product_with_the_one_hot():
    table = tf.constant(WEIGHTS.T[:, :16])
    with tf.device("GPU:0"):
        rows = kg.ops.sample_embedding(LOGITS, table, seed=7)
        one_hot = kg.ops.gumbel_softmax(LOGITS, hard=True, seed=7)
    np.testing.assert_allclose(rows, one_hot @ table, atol=1e-5)
