"""The layer: affinities, masks in a model, a temperature for each matrix."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.harness import value_and_grad
from tests.variants import slow_rows

SHAPE = (3, 5, 5)


def logits(seed=0):
    return np.random.default_rng(seed).normal(size=SHAPE).astype("float32")


def array(x):
    return keras.ops.convert_to_numpy(x)


def test_affinities():
    """Their log; 0 forbids a pair, with no gradient to it."""
    affinities = np.exp(logits())
    affinities[:, 0, :3] = 0
    layer = kg.GumbelSinkhorn(0.5, from_logits=False)
    y, (gradient,) = value_and_grad(layer, affinities, upstream=logits(1))
    with np.errstate(divide="ignore"):
        expected = kg.GumbelSinkhorn(0.5)(np.log(affinities))
    np.testing.assert_allclose(array(y), array(expected), atol=1e-6)
    gradient = array(gradient)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_array_equal(gradient[:, 0, :3], 0)


@pytest.mark.parametrize(
    ("hard", "training"),
    [(False, True), *slow_rows((False, False), (True, True), (True, False))],
)
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
    for number, temperature in enumerate(tau.flat):
        alone = array(kg.GumbelSinkhorn(float(temperature))(logits()))
        np.testing.assert_allclose(y[number], alone[number], atol=1e-5)


def test_more_rows_than_columns_are_refused_when_built():
    layer = kg.GumbelSinkhorn()
    with pytest.raises(ValueError, match=r"transpose.*\(None, 5, 4\)"):
        layer(keras.Input((5, 4)))
    with pytest.raises(ValueError, match=r"at least 1.*num_iterations=0"):
        kg.GumbelSinkhorn(num_iterations=0)
