"""The layer: what happens at inference, affinities, masks in a model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg

SHAPE = (3, 5, 5)


def logits(seed=0):
    return np.random.default_rng(seed).normal(size=SHAPE).astype("float32")


def array(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize(
    ("hard", "inference", "same"),
    [
        (True, None, "argmax"),
        (False, None, "sinkhorn"),
        (False, "argmax", "argmax"),
        (True, "sinkhorn", "sinkhorn"),
    ],
)
def test_inference_is_the_sample_without_noise(hard, inference, same):
    layer = kg.GumbelSinkhorn(0.5, hard=hard, inference=inference, seed=1)
    assert layer.resolved_inference == same
    expected = kg.ops.gumbel_sinkhorn(
        logits(), 0.5, hard=same == "argmax", noise_scale=0.0
    )
    np.testing.assert_allclose(array(layer(logits())), expected, atol=1e-6)
    # No number of the stream is used up.
    assert array(layer.seed_generator.state).tolist() == [1, 0]


def test_the_first_draw_is_that_of_the_function():
    for hard in (True, False):
        layer = kg.GumbelSinkhorn(
            0.5, 10, hard, noise_scale=0.3, seed=1, inference="sample"
        )
        expected = kg.ops.gumbel_sinkhorn(
            logits(), 0.5, 10, hard=hard, noise_scale=0.3, seed=1
        )
        np.testing.assert_array_equal(array(layer(logits())), expected)


def test_gradient_at_inference_is_that_of_the_relaxation():
    found = []
    for inference in ("argmax", "sinkhorn"):
        layer = kg.GumbelSinkhorn(0.5, inference=inference)
        x = tf.constant(logits())
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) * logits(1))
        found.append(array(tape.gradient(loss, x)))
    assert np.abs(found[0]).max() > 0.01
    np.testing.assert_allclose(*found, atol=1e-6)


def test_affinities():
    """Their log; 0 forbids a pair, with no gradient to it."""
    affinities = np.exp(logits())
    affinities[:, 0, :3] = 0
    layer = kg.GumbelSinkhorn(0.5, from_logits=False)
    x = tf.constant(affinities)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        loss = tf.reduce_sum(y**2)
    with np.errstate(divide="ignore"):
        expected = kg.GumbelSinkhorn(0.5)(np.log(affinities))
    np.testing.assert_allclose(array(y), array(expected), atol=1e-6)
    gradient = array(tape.gradient(loss, x))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, 0, :3], 0)


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_mask_is_an_input_of_a_model(hard, training):
    """Sets of several sizes in one batch."""
    inputs = keras.Input((5, 5))
    allowed = keras.Input((5, 5), dtype="bool")
    layer = kg.GumbelSinkhorn(0.5, hard=hard, seed=1)
    model = keras.Model([inputs, allowed], layer(inputs, class_mask=allowed))
    sizes = np.array([2, 5, 0])
    inside = np.arange(5) < sizes[:, None]
    mask = inside[:, :, None] & inside[:, None, :]
    y = array(model([logits(), mask], training=training))
    np.testing.assert_array_equal(y[~mask], 0)
    np.testing.assert_allclose(y.sum(1), inside, atol=1e-6)
    np.testing.assert_allclose(y.sum(2), inside, atol=0.1)


def test_a_temperature_for_each_matrix():
    layer = kg.GumbelSinkhorn(9.0)
    tau = np.array([0.1, 1.0, 10.0], "float32")[:, None, None]
    y = array(layer(logits(), temperature=tau))
    for one, matrix, temperature in zip(y, logits(), tau, strict=True):
        alone = kg.GumbelSinkhorn(float(temperature[0, 0]))(matrix[None])
        np.testing.assert_allclose(one, array(alone)[0], atol=1e-5)


def test_what_is_not_square_is_refused_when_built():
    layer = kg.GumbelSinkhorn()
    with pytest.raises(ValueError, match=r"square .*\(None, 4, 5\)"):
        layer(keras.Input((4, 5)))
    with pytest.raises(ValueError, match=r"at least 1.*num_iterations=0"):
        kg.GumbelSinkhorn(num_iterations=0)
    with pytest.raises(ValueError, match=r"'sinkhorn'.*inference='softmax'"):
        kg.GumbelSinkhorn(inference="softmax")
