"""`GumbelSigmoid`: certain gates, temperature, probabilities, training."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import reference
from tests.conformance.registry import as_array
from tests.harness import grad, in_mode, tensor, to_numpy, value_and_grad
from tests.variants import slow_rows

LOGITS = np.random.default_rng(5).normal(size=(6, 4)).astype("float32")
LOGITS[0] = [0.0, np.inf, -np.inf, -0.0]


UPSTREAM = np.tile(np.arange(1.0, 5.0, dtype="float32"), (6, 1))


def gradient_of(function, x):
    return grad(lambda x: keras.ops.sum(function(x) * UPSTREAM[: len(x)]), x)


@pytest.mark.parametrize("inference", ["argmax", "sigmoid"])
def test_gradient_at_inference_of_certain_and_shut_gates(inference):
    """There is none, and no NaN; at logits of 0 it is that of the sigmoid."""
    layer = kg.GumbelSigmoid(inference=inference)
    mask = np.ones(4, bool)
    mask[3] = False
    y, (found, d_tau) = value_and_grad(
        lambda x, tau: layer(x, class_mask=mask, temperature=tau),
        LOGITS,
        np.float32(0.5),
        upstream=UPSTREAM,
    )
    live = np.isfinite(LOGITS) & mask
    expected, parts = reference.sigmoid_vjp(
        np.where(live, LOGITS, 0), 0.5, UPSTREAM
    )
    np.testing.assert_allclose(found, np.where(live, expected, 0), rtol=1e-5)
    np.testing.assert_allclose(d_tau, parts[live].sum(), rtol=1e-5)
    assert as_array(y)[0, :2].tolist() == [0.5 * (inference == "sigmoid"), 1]


def test_a_call_brings_its_temperature():
    """One for each gate, if it likes."""
    tau = np.linspace(0.1, 5, 24).reshape(LOGITS.shape).astype("float32")
    layer = kg.GumbelSigmoid(1.0, seed=3)
    y = as_array(layer(LOGITS, temperature=tau))
    np.testing.assert_allclose(y, reference.sigmoid(LOGITS / tau), rtol=1e-5)
    y = as_array(layer(LOGITS, temperature=tau, training=True))
    expected = kg.ops.gumbel_sigmoid(LOGITS, tau, seed=3)
    np.testing.assert_allclose(y, as_array(expected), atol=1e-6)


class TestProbabilities:
    PROBS = np.array(
        [[0.2, 0.0, 1.0, 0.9999999], [0.5, 1e-30, 0.75, 1e-3]], "float32"
    )

    @pytest.mark.parametrize(
        ("hard", "training"),
        [
            (True, True),
            (False, False),
            *slow_rows((True, False), (False, True)),
        ],
    )
    def test_are_the_logits_of_their_odds(self, hard, training):
        """0 is impossible and 1 certain, and the digits of 1 - p count.

        The gradient is that of the logits by p (1 - p); none at 0 and 1.
        """
        wide = self.PROBS.astype("float64")
        with np.errstate(divide="ignore"):
            logits = (np.log(wide) - np.log1p(-wide)).astype("float32")
        of_probs = kg.GumbelSigmoid(hard=hard, from_logits=False, seed=3)
        of_logits = kg.GumbelSigmoid(hard=hard, seed=3)
        (y, (found,)), (expected, (slope,)) = (
            value_and_grad(
                lambda x, f=layer: f(x, training=training),
                x,
                upstream=UPSTREAM[:2],
            )
            for layer, x in ((of_probs, self.PROBS), (of_logits, logits))
        )
        y = as_array(y)
        np.testing.assert_allclose(y, as_array(expected), atol=1e-6)
        assert y[0, 1:3].tolist() == [0, 1]
        np.testing.assert_array_equal(as_array(found)[0, 1:3], 0)
        inside = (wide > 0) & (wide < 1)
        expected = as_array(slope)[inside] / (wide * (1 - wide))[inside]
        np.testing.assert_allclose(as_array(found)[inside], expected, rtol=1e-5)

    @pytest.mark.parametrize("training", [True, False])
    def test_out_of_range_show(self, training):
        """And a NaN does, but not where it is forbidden."""
        layer = kg.GumbelSigmoid(from_logits=False, hard=True, seed=3)
        probs = np.array([[-0.1, 1.1, 0.5, 0.0], [np.nan] * 4], "float32")
        mask = np.array([[True] * 4, [True, True, True, False]])
        y = as_array(layer(probs, class_mask=mask, training=training))
        assert np.isnan(y[0]).tolist() == [True, True, False, False]
        assert np.isnan(y[1]).tolist() == [True, True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    ["gapped_st", kg.estimators.GumbelRao(3, backward_temperature=0.5)],
    ids=str,
)
def test_an_estimator_comes_back_from_a_file(estimator, tmp_path):
    layer = kg.GumbelSigmoid(hard=True, estimator=estimator, seed=3)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.save(tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras")
    assert found.layers[0].estimator == layer.estimator
    gradients = [
        gradient_of(lambda x, m=m: m(x, training=True), LOGITS)
        for m in (model, found)
    ]
    np.testing.assert_array_equal(*gradients)


def test_gates_learn_which_to_open():
    """Each costs 0.3 to open; two of them bring 1."""
    layer = kg.GumbelSigmoid(0.5, hard=True, estimator="reinmax", seed=3)
    logits = np.zeros((1, 4))
    value = np.array([1.0, 0.0, 1.0, 0.0], "float32")
    slope = in_mode(
        "graph",
        lambda x: value_and_grad(
            lambda x: layer(x, training=True) * tensor(0.3 - value), x
        )[1][0],
    )
    for _ in range(60):
        rows = np.tile(logits, (64, 1)).astype("float32")
        logits -= 2.0 * to_numpy(slope(rows)).mean(0, keepdims=True)
    logits = logits.astype("float32")
    np.testing.assert_array_equal(as_array(layer(logits)), [[1, 0, 1, 0]])
