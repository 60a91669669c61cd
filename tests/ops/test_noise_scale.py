"""The noise scale of every op: a law, a tensor, and never a gradient.

The forward temperature of the decoupled straight-through (arXiv 2410.13331).
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.harness import in_mode, tensor
from tests.statistics import binomial_p, chi_squared_p
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
# Variables, and what is known too late.
pytestmark = pytest.mark.tensorflow

LOGITS = np.array([0.5, -1.0, 1.5, 0.0], "float32")
SQUARE = np.random.default_rng(0).normal(size=(2, 4, 4)).astype("float32")
TABLE = np.eye(4, dtype="float32")

OPS = {
    "gumbel_softmax": lambda x, s: kg.ops.gumbel_softmax(
        x, noise_scale=s, seed=1
    ),
    "hard": lambda x, s: kg.ops.gumbel_softmax(
        x, hard=True, noise_scale=s, seed=1
    ),
    "reinmax": lambda x, s: kg.ops.gumbel_softmax(
        x, hard=True, estimator="reinmax", noise_scale=s, seed=1
    ),
    "index": lambda x, s: kg.ops.sample_argmax_index(
        x, hard=True, noise_scale=s, seed=1
    ),
    "sigmoid": lambda x, s: kg.ops.gumbel_sigmoid(x, noise_scale=s, seed=1),
    "sigmoid hard": lambda x, s: kg.ops.gumbel_sigmoid(
        x, hard=True, noise_scale=s, seed=1
    ),
    "hard_concrete": lambda x, s: kg.ops.hard_concrete(
        x, noise_scale=s, seed=1
    ),
    "top_k": lambda x, s: kg.ops.gumbel_top_k(x, 2, noise_scale=s, seed=1)[0],
    "sinkhorn": lambda x, s: kg.ops.gumbel_sinkhorn(x, noise_scale=s, seed=1),
    "permutation": lambda x, s: kg.ops.gumbel_sinkhorn(
        x, hard=True, noise_scale=s, seed=1
    ),
    "embedding": lambda x, s: kg.ops.sample_embedding(
        x, TABLE, noise_scale=s, seed=1
    ),
}
GATE = ("hard", "hard_concrete")
each_op = pytest.mark.parametrize(
    "op", [*GATE, *slow(*(name for name in OPS if name not in GATE))]
)


@each_op
def test_a_tensor_or_a_variable_is_as_good_as_its_number(op):
    expected = as_array(OPS[op](SQUARE, 0.5))
    for scale in (
        *(tensor(0.5), tensor(0.5, "float64"), np.array(0.5)),
        *(keras.Variable(0.5, trainable=False), tf.Variable(0.5)),
    ):
        np.testing.assert_array_equal(
            as_array(OPS[op](SQUARE, scale)), expected
        )
    wide = as_array(OPS[op](SQUARE.astype("float64"), tensor(0.5)))
    assert wide.shape == expected.shape
    assert not np.array_equal(as_array(OPS[op](SQUARE, 0.0)), expected)


@each_op
def test_a_value_that_is_known_too_late_shows(op):
    run = in_mode("graph", lambda scale: OPS[op](SQUARE, scale))
    for scale in (-1.0, float("nan")):
        assert np.isnan(as_array(run(tensor(scale)))).all()
    assert np.isfinite(as_array(run(tensor(0.0)))).all()


@each_op
@pytest.mark.parametrize(
    "scale",
    [
        *(-1.0, float("nan"), True, "1", None),
        *(tf.constant(-1.0), tf.ones(2), tf.constant(1)),
    ],
    ids=["negative", "nan", "bool", "str", "none", "tensor", "two", "integer"],
)
def test_what_is_no_scale_is_refused(op, scale):
    with pytest.raises((TypeError, ValueError), match="`noise_scale`"):
        OPS[op](SQUARE, scale)


@each_op
def test_there_is_no_gradient_to_it(op):
    scale = tf.Variable(0.5)
    x = tf.Variable(SQUARE)
    with tf.GradientTape() as tape:
        y = OPS[op](x, scale)
        weight = np.arange(y.shape.num_elements(), dtype="float32")
        loss = tf.reduce_sum(y * weight.reshape(y.shape))
    d_scale, d_x = tape.gradient(loss, [scale, x])
    assert not np.any(d_scale)
    assert d_x is not None


# That of `st_gumbel` has a test of its op, with more samples.
@pytest.mark.parametrize("scale", [2.0, *slow(0.5)])
@pytest.mark.parametrize("estimator", ["st", *slow("st_gumbel", "gumbel_rao")])
def test_the_law_is_that_of_the_scaled_logits(scale, estimator):
    """softmax(logits / s), whatever the temperature; false fails at 1e-6."""
    layer = kg.GumbelSoftmax(0.3, hard=True, estimator=estimator, seed=3)
    layer.noise_scale = scale
    x = np.broadcast_to(LOGITS, (100_000, 4))
    counts = as_array(layer(x, training=True)).sum(axis=0)
    weights = np.exp(LOGITS.astype("float64") / scale)
    assert chi_squared_p(counts, weights / weights.sum()) > 1e-6


@pytest.mark.parametrize("scale", [0.0, 0.5, *slow(2.0)])
def test_gates_open_by_the_live_scale(scale):
    """P(z != 0) in closed form, as the layer says; false fails at 1e-6."""
    layer = kg.HardConcreteGate(seed=3, log_alpha_initializer="ones")
    layer.build((None, 1))
    layer.noise_scale = scale
    z = as_array(layer(np.ones((100_000, 1), "float32"), training=True))
    at = 1.0 - 2 / 3 * np.log(0.1 / 1.1)
    expected = 1 / (1 + np.exp(-at / scale)) if scale else 1.0
    found = in_mode("graph", layer.expected_active)()
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(layer.expected_active()) == pytest.approx(expected, rel=1e-5)
    if scale:
        assert binomial_p(int((z != 0).sum()), z.size, expected) > 1e-6
    else:
        assert (z != 0).all()
