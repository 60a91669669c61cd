"""The value of one tensor, the gradient of another."""

import keras
import numpy as np
import pytest

from keras_gumbel.ops import straight_through
from tests.frameworks import tf
from tests.harness import grad, in_mode, modes, tensor, value_and_grad

FLOATS = {
    "float16": "uint16",
    "bfloat16": "uint16",
    "float32": "uint32",
    "float64": "uint64",
}


@pytest.mark.tensorflow
@modes("eager", "compiled")
@pytest.mark.parametrize("dtype", FLOATS)
def test_value_is_hard_bit_for_bit(mode, dtype):
    """Where soft + (hard - soft) would round, overflow or give NaN."""
    hard = [0.0, -0.0, 1.0, 1 / 3, np.inf, -np.inf, np.nan, 6e4, 1e-7, 2.0]
    soft = [0.1, 0.2, 0.3, 6e4, 0.0, np.inf, 1.0, -6e4, 1.0, np.nan]
    hard, soft = tf.constant(hard, dtype), tf.constant(soft, dtype)
    y = in_mode(mode, straight_through)(hard, soft)
    assert y.dtype == hard.dtype
    bits = FLOATS[dtype]
    assert np.array_equal(tf.bitcast(y, bits), tf.bitcast(hard, bits))


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_value_need_not_be_a_float(dtype):
    hard = tensor([0, 1, 1, 0], dtype)
    y = straight_through(hard, tensor([0.3] * 4))
    assert y.dtype == hard.dtype
    assert np.array_equal(y, hard)


@modes("compiled")
def test_gradient_is_the_identity_to_soft_alone(mode, seed):
    rng = np.random.default_rng(seed)
    hard, soft, upstream = rng.normal(size=(3, 4, 5)).astype("float32")

    def run(hard, soft):
        return value_and_grad(straight_through, hard, soft, upstream=upstream)

    y, (to_hard, to_soft) = in_mode(mode, run)(tensor(hard), tensor(soft))
    assert np.array_equal(y, hard)
    assert np.array_equal(to_soft, upstream)
    assert to_hard is None or not np.any(to_hard)


def test_gradient_passes_through_what_soft_came_from():
    x = np.array([0.2, 1.7, -0.4], "float32")
    gradient = grad(
        lambda x: straight_through(keras.ops.round(x), x * x) ** 2, x
    )
    # d y = 2 round(x) * d soft, and d soft = 2 x dx.
    np.testing.assert_allclose(gradient, 4 * np.round(x) * x)


@pytest.mark.parametrize("hard_dtype", FLOATS)
@pytest.mark.parametrize("soft_dtype", FLOATS)
def test_gradient_comes_in_the_dtype_of_soft(hard_dtype, soft_dtype):
    hard = tensor([0.0, 1.0], hard_dtype)
    soft = tensor([0.3, 0.7], soft_dtype)
    y, (_, to_soft) = value_and_grad(
        straight_through, hard, soft, upstream=[2.0, -0.5]
    )
    assert keras.backend.standardize_dtype(y.dtype) == hard_dtype
    assert keras.backend.standardize_dtype(to_soft.dtype) == soft_dtype
    assert np.array_equal(keras.ops.cast(to_soft, "float32"), [2.0, -0.5])


@pytest.mark.tensorflow
def test_second_derivative_is_that_of_soft():
    x = tf.constant([0.2, 1.7])
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = straight_through(tf.round(x), x**3)
        first = inner.gradient(y, x)
    np.testing.assert_allclose(first, 3 * x.numpy() ** 2, rtol=1e-6)
    np.testing.assert_allclose(
        outer.gradient(first, x), 6 * x.numpy(), rtol=1e-6
    )


def test_arrays_and_lists_are_tensors():
    y = straight_through([1.0, 0.0], np.array([0.6, 0.4], "float32"))
    assert np.array_equal(y, [1.0, 0.0])


@pytest.mark.parametrize(
    ("hard", "soft"),
    [
        ((2, 3), (3, 2)),
        ((2, 3), (1, 3)),
        ((2, 3), (3,)),
        ((), (1,)),
        ((3,), (0,)),
    ],
    ids=str,
)
def test_shapes_must_be_the_same(hard, soft):
    with pytest.raises(ValueError) as error:
        straight_through(np.zeros(hard, "f"), np.zeros(soft, "f"))
    assert str(error.value) == (
        "`hard` and `soft` must have the same shape. Received: hard of shape "
        f"{hard}, soft of shape {soft}"
    )


@pytest.mark.tensorflow
def test_unknown_dimensions_may_be_the_same():
    signature = [
        tf.TensorSpec((None, 3), "float32"),
        tf.TensorSpec((2, None), "float32"),
    ]
    run = tf.function(straight_through, input_signature=signature)
    y = run(tf.ones((2, 3)), tf.zeros((2, 3)))
    assert np.array_equal(y, np.ones((2, 3)))
