"""Gradients that are sums keep every term, in half precision too.

Of equal terms float16 loses all but the first 2**11, bfloat16 all but the
first 2**8. What is right is found in float64.
"""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, STAYING, as_array, each_of
from tests.frameworks import tf
from tests.harness import dtype_of, tensor, value_and_grad
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

MANY = 5000  # more than 2**12
HALF = ("float16", "bfloat16")
MIXED = ("mixed_float16", "mixed_bfloat16")

each_policy = pytest.mark.parametrize(
    "policy",
    [
        "mixed_bfloat16",
        *(
            pytest.param(policy, marks=pytest.mark.slow)
            for policy in ("mixed_float16", *HALF)
        ),
    ],
)


def _rounded(x, dtype):
    """What the dtype can hold of what is right."""
    return as_array(keras.ops.cast(tensor(x, "float64"), dtype))


@pytest.mark.parametrize("dtype", ["bfloat16", *slow("float16", "float32")])
def test_a_table(dtype):
    logits = tensor(np.tile([50.0, 0.0, 0.0], (MANY, 1)), "float32")
    y, (found,) = value_and_grad(
        lambda table: kg.ops.sample_embedding(logits, table, seed=1),
        keras.ops.ones((3, 2), dtype),
    )
    assert dtype_of(found) == dtype_of(y) == dtype
    expected = _rounded([[MANY, MANY], [0, 0], [0, 0]], dtype)
    np.testing.assert_array_equal(as_array(found), expected)


@pytest.mark.parametrize("dtype", ["float16", *slow("bfloat16")])
def test_the_logits_of_a_wide_table(dtype):
    """Each is a sum over the entries of a row, 5000 too."""
    table = tensor(np.stack([np.ones(MANY), np.zeros(MANY)]), dtype)
    _, (found,) = value_and_grad(
        lambda logits: kg.ops.sample_embedding(
            logits, table, estimator="st", seed=1
        ),
        np.zeros((1, 2), "float32"),
    )
    np.testing.assert_allclose(found, [[MANY / 4, -MANY / 4]])


_HOW = {
    "training": {"training": True},
    "argmax": {"inference": "argmax"},
    "softmax": {"inference": "softmax"},
}


def _each_way(*gate):
    return pytest.mark.parametrize(
        "how", [*gate, *slow(*(how for how in _HOW if how not in gate))]
    )


@pytest.mark.tensorflow
@each_policy
@_each_way("softmax")
@pytest.mark.parametrize(
    "within",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["in a model", "alone"],
)
def test_the_table_of_an_embedding(policy, how, within):
    options = dict(_HOW[how])
    training = options.pop("training", False)
    layer = kg.GumbelEmbedding(
        3, 2, "ones", dtype=policy, seed=1, name="choice", **options
    )
    _check_equal_terms(layer, policy, training, within)


@pytest.mark.slow_ids("hard-training-mixed_bfloat16")
@pytest.mark.tensorflow
@each_policy
@_each_way("training", "argmax")
@pytest.mark.parametrize(
    "hard",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["soft", "hard"],
)
def test_the_codebooks_of_a_quantizer(policy, how, hard):
    options = dict(_HOW[how])
    training = options.pop("training", False)
    layer = kg.GumbelQuantizer(
        3,
        2,
        hard=hard,
        kernel_initializer="identity",
        embeddings_initializer="ones",
        temperature=0.1,
        dtype=policy,
        seed=1,
        **STAYING,
        **options,
    )
    _check_equal_terms(layer, policy, training)


def _check_equal_terms(layer, policy, training, within=False):
    """Every row is of the first class: the gradient is their number."""
    logits = tf.constant(np.tile([50.0, 0.0, 0.0], (MANY, 1)), "float32")
    model = layer
    if within:
        inputs = keras.Input((3,))
        model = keras.Model(inputs, layer(inputs))
    model(logits[:1])  # to be built
    with tf.GradientTape() as tape:
        y = model(logits, training=training)
        loss = tf.reduce_sum(tf.cast(y, "float32"))
    found = tape.gradient(loss, layer.embeddings.value)
    expected = _rounded([[MANY, MANY], [0, 0], [0, 0]], layer.variable_dtype)
    assert dtype_of(found) == layer.variable_dtype
    assert dtype_of(y) == layer.compute_dtype
    # The other classes have a share of 1e-20.
    np.testing.assert_allclose(
        np.reshape(as_array(found), (3, 2)), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.tensorflow
@pytest.mark.parametrize("policy", [MIXED[1], *slow(MIXED[0], *HALF)])
def test_codebooks_by_decode(policy):
    layer = kg.GumbelQuantizer(
        3, 2, embeddings_initializer="ones", dtype=policy
    )
    layer.build((None, 3))
    with tf.GradientTape() as tape:
        y = layer.decode(tf.zeros((MANY, 1), "int32"))
        loss = tf.reduce_sum(tf.cast(y, "float32"))
    found = tf.convert_to_tensor(tape.gradient(loss, layer.embeddings.value))
    expected = _rounded([[[MANY, MANY], [0, 0], [0, 0]]], layer.variable_dtype)
    np.testing.assert_array_equal(as_array(found), expected)


def _cost(shape):
    """Numbers that every dtype holds, few of them: nothing cancels."""
    return np.resize(np.array([1.0, 2.0, 0.5, 1.5, 0.25]), shape)


def _gradients(row, dtype, policy):
    """To the weights, and to a temperature of all and of each place."""
    options = {"trainable": True, "dtype": policy, "seed": 3}
    layer = row.create(**options)
    logits = tf.cast(tf.cast(row.logits(MANY // 3), "bfloat16"), dtype)
    wide = "float64" if policy == "float64" else "float32"
    tau = tf.constant(0.75, wide)
    layer(logits[:1])  # to be built
    weights = [weight.value for weight in layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(tau)
        y = layer(logits, temperature=tau, training=True)
        loss = tf.reduce_sum(tf.cast(y, wide) * _cost(y.shape))
    return [as_array(x) for x in tape.gradient(loss, [tau, *weights])]


@pytest.mark.slow_ids("mixed_bfloat16-GumbelQuantizer-soft")
@pytest.mark.tensorflow
@each_of(
    LAYERS,
    gate=("HardConcreteGate-soft", "GumbelQuantizer-soft"),
)
@pytest.mark.parametrize(
    "policy",
    [pytest.param(MIXED[0], marks=pytest.mark.slow), MIXED[1]],
)
def test_every_weight_and_temperature_of_a_layer(row, policy):
    half = policy.removeprefix("mixed_")
    expected = _gradients(row, "float64", "float64")
    found = _gradients(row, half, policy)
    for one, right in zip(found, expected, strict=True):
        # Float32 tells other classes apart once in a million rows. Where terms
        # cancel, their rounding is left.
        largest = max(np.abs(right).max(), 0.1)
        np.testing.assert_allclose(one, right, atol=1e-4 * largest)


@pytest.mark.parametrize("dtype", ["bfloat16", *slow("float16", "float32")])
@pytest.mark.parametrize("shape", [(1, 1, 4), *slow((), (2, 1, 1))], ids=str)
def test_a_temperature_of_many_gates(dtype, shape):
    logits = np.tile(_cost(4), (2, MANY, 1))

    def gradient(dtype, shape):
        _, (found,) = value_and_grad(
            lambda tau: kg.ops.gumbel_sigmoid(
                tensor(logits, dtype),
                tau,
                hard=True,
                estimator="st",
                noise_scale=0.0,
                seed=1,
            ),
            keras.ops.full(shape, 0.75, dtype),
        )
        return found

    found, expected = gradient(dtype, shape), gradient("float64", shape)
    assert dtype_of(found) == dtype
    # One step of the dtype, and what a long sum in float32 rounds.
    step = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(as_array(found), expected, rtol=step)


@pytest.mark.parametrize("dtype", ["bfloat16", *slow("float16")])
def test_a_prior_that_broadcasts(dtype):
    def gradient(dtype):
        logits = keras.ops.zeros((MANY, 2), dtype)
        _, (found,) = value_and_grad(
            lambda prior: kg.losses.categorical_kl(logits, prior),
            tensor([1.0, 0.0], dtype),
        )
        return found

    expected = _rounded(as_array(gradient("float64")), dtype)
    np.testing.assert_allclose(as_array(gradient(dtype)), expected, rtol=1e-5)
