"""Numbers that a type cannot hold: halves for counts, float32 for indices."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel import numerics
from keras_gumbel.numerics import categorical
from tests.conformance.registry import LAYERS, each_of
from tests.frameworks import tf
from tests.harness import grad, to_numpy
from tests.variants import slow

HALVES = pytest.mark.parametrize("floatx", ["float16", *slow("bfloat16")])
MOST = 2**24


@HALVES
@pytest.mark.parametrize("num_codes", [7, 70_000, *slow(321)])
def test_metrics_where_floats_are_halves(floatx, num_codes):
    """A count, a perplexity and a share, to the digits of float32."""
    set_floatx(floatx)
    perplexity = kg.metrics.CodePerplexity(num_codes)
    usage = kg.metrics.CategoryUsage(num_codes)
    for metric in (perplexity, usage):
        metric.update_state(np.arange(num_codes - 2))
        assert keras.backend.standardize_dtype(metric.result().dtype) == (
            "float32"
        )
    assert float(perplexity.result()) == pytest.approx(num_codes - 2, rel=1e-6)
    share = (num_codes - 2) / num_codes
    assert float(usage.result()) == pytest.approx(share, rel=1e-6)
    rows = kg.metrics.CodePerplexity(4)
    rows.update_state(np.full((70_000, 4), 0.25, floatx_or_float32(floatx)))
    assert float(rows.result()) == pytest.approx(4)


def set_floatx(floatx):
    """Where Keras works with it; `tests/jax/test_keras.py` says where not."""
    if floatx == "bfloat16" and keras.config.backend() == "jax":
        pytest.skip("Keras on JAX then makes floats of integers")
    keras.config.set_floatx(floatx)


def floatx_or_float32(floatx):
    """NumPy has no bfloat16 of its own."""
    return floatx if floatx == "float16" else "float32"


def test_a_half_that_is_asked_for_holds_the_number_of_codes():
    for num_codes, dtype in ((1000, "float16"), (70_000, "float32")):
        metric = kg.metrics.CodePerplexity(num_codes, dtype="float16")
        metric.update_state(np.arange(num_codes))
        assert keras.backend.standardize_dtype(metric.result().dtype) == dtype
        assert float(metric.result()) == pytest.approx(num_codes, rel=1e-3)
    metric = kg.metrics.CodePerplexity(70_000, dtype="bfloat16")
    metric.update_state(np.arange(70_000))
    assert float(metric.result()) == pytest.approx(70_000, rel=1e-2)


@HALVES
@each_of(LAYERS, gate=("GumbelEmbedding-hard",))
def test_layers_where_floats_are_halves(floatx, row):
    """Of Python's integers Keras makes an int16 there."""
    set_floatx(floatx)
    layer = row.create(dtype="float32")
    y = to_numpy(layer(row.logits(), training=True))
    assert row.is_sample(y.astype("float64"))
    gradient = grad(lambda x: layer(x, training=True), row.logits())
    assert gradient is None or np.all(np.isfinite(gradient))


# An index in float32.


def too_many():
    return np.zeros((1, MOST + 1), "float32")


@pytest.mark.parametrize("hard", [True, False])
def test_more_classes_than_float32_can_number_are_refused(hard):
    message = r"at most 2\*\*24 classes.*Received: logits of shape \(1, 16777"
    with pytest.raises(ValueError, match=message):
        kg.ops.sample_argmax_index(too_many(), hard=hard)
    layer = kg.SampleArgmaxIndex(hard=hard)
    with pytest.raises(ValueError, match=message):
        layer(keras.Input((MOST + 1,), batch_size=1))


@pytest.mark.tensorflow
def test_a_law_of_more_is_refused():
    with pytest.raises(ValueError, match=r"at most 2\*\*24 classes"):
        kg.distributions.from_layer(kg.SampleArgmaxIndex(hard=True), too_many())


@pytest.mark.tensorflow
def test_where_their_number_is_not_known_the_index_is_nan():
    @tf.function(input_signature=[tf.TensorSpec((1, None))])
    def numbers(x):
        last = tf.fill((1, 1), tf.shape(x)[1] - 1)
        one_hot = tf.one_hot(last[:, 0], tf.shape(x)[1])
        return categorical.class_number(last, x, 1), numerics.mean_class(
            one_hot, 1
        )

    for number in numbers(too_many()):
        assert np.isnan(number)
    for number in numbers(too_many()[:, 1:]):
        assert number == MOST - 1


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_of_unknown_size(training):
    layer = kg.SampleArgmaxIndex(hard=True)

    @tf.function(input_signature=[tf.TensorSpec((1, None))])
    def call(x):
        return layer(x, training=training)

    assert np.isnan(call(too_many()))
    assert call(np.float32([[0, 0, 99]])) == 2
