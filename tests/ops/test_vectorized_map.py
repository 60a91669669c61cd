"""Inside `tf.vectorized_map` and Jacobians: no program, and the same bits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.harness import grad, grad_to, gradients, tensor, to_numpy
from tests.ops.test_any_size import OPS
from tests.variants import slow

pytestmark = pytest.mark.tensorflow

X = np.random.default_rng(0).normal(size=(4, 6, 6)).astype("float32")
GATE = ("st_gumbel", "reinmax", "hard concrete")
# The others have loops.
NAMES = ("st_gumbel", "st", "reinmax", "gapped_st", "soft", "gates")
NAMES += ("hard gates", "hard concrete")


def sample(name):
    return lambda x: OPS[name][0](x, 0.7, None)


@pytest.mark.parametrize(
    "name", [*GATE, *slow(*(name for name in NAMES if name not in GATE))]
)
def test_equals_one_by_one(name):
    mapped = tf.vectorized_map(
        sample(name), tensor(X), fallback_to_while_loop=False
    )
    one_by_one = [to_numpy(sample(name)(tensor(x))) for x in X]
    np.testing.assert_allclose(to_numpy(mapped), one_by_one, atol=2e-6)


@pytest.mark.parametrize("name", ["reinmax", *slow("st_gumbel", "soft")])
def test_the_gradient_of_a_map(name):
    weights = tensor(np.random.default_rng(1).normal(size=X.shape), "float32")

    def mapped(x):
        y = tf.vectorized_map(sample(name), x, fallback_to_while_loop=False)
        return y * weights

    def one_by_one(x):
        return tf.stack([sample(name)(one) for one in x]) * weights

    np.testing.assert_allclose(grad(mapped, X), grad(one_by_one, X), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    slow("gumbel_rao", "top k", "matrices", "permutations", "rows of a table"),
)
def test_loops_in_a_map(name):
    """Round by round, and their gradient around the map."""
    x, function = X[:2, :4, :4], OPS[name][0]
    if name == "rows of a table":
        x = np.random.default_rng(2).normal(size=(2, 3, 11)).astype("float32")

    def sample(x):
        y = function(x, 0.7, None)
        return y[0] if isinstance(y, tuple) else y

    def mapped(x):
        return tf.vectorized_map(sample, x) ** 2

    def one_by_one(x):
        return tf.stack([sample(one) for one in x]) ** 2

    found = [gradients(one, x) for one in (mapped, one_by_one)]
    for mapped_, one_by_one_ in zip(*found, strict=True):
        np.testing.assert_allclose(mapped_, one_by_one_, atol=1e-5)


@pytest.mark.parametrize("name", ["soft", *slow("reinmax")])
def test_a_jacobian_by_vectorised_rows(name):
    x = tensor(X[0, :2])
    found = []
    for pfor in (True, False):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = sample(name)(x)
        found.append(to_numpy(tape.jacobian(y, x, experimental_use_pfor=pfor)))
    assert np.abs(found[0]).max() > 1e-3
    np.testing.assert_allclose(*found, atol=1e-5)


def test_a_stream_moves_by_a_draw_for_each():
    """In some order; TensorFlow runs what it has vectorised once more."""
    layer = kg.GumbelSoftmax(hard=True, seed=3)
    x = tf.zeros((6, 50, 10))
    y = to_numpy(tf.vectorized_map(lambda x: layer(x, training=True), x))
    again = kg.GumbelSoftmax(hard=True, seed=3)
    calls = {to_numpy(again(x[0], training=True)).tobytes() for _ in range(7)}
    rows = {row.tobytes() for row in y}
    assert len(rows) == 6
    assert rows < calls
    after = [to_numpy(one(x[0], training=True)) for one in (layer, again)]
    np.testing.assert_array_equal(*after)


@pytest.mark.slow
def test_a_loss_in_a_map_learns_what_it_learns_outside():
    """Of a user's loss for each example, by gradients around the map."""
    dense = keras.layers.Dense(6)
    dense.build((None, 6))

    def loss(x):
        y = kg.ops.gumbel_softmax(dense(x), hard=True, seed=1)
        return tf.reduce_sum(y * x)

    found = [
        grad_to(dense.weights, lambda one=one: tf.reduce_sum(one(tensor(X))))
        for one in (
            lambda x: tf.vectorized_map(loss, x, fallback_to_while_loop=False),
            lambda x: tf.stack([loss(one) for one in x]),
        )
    ]
    for mapped, one_by_one in zip(*found, strict=True):
        assert np.abs(one_by_one).max() > 1e-3
        np.testing.assert_allclose(mapped, one_by_one, atol=1e-5)


@pytest.mark.parametrize("name", ["reinmax", "soft"])
def test_gradients_of_each_example_in_a_map(name):
    """A tape within, as for gradients by example."""

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(sample(name)(x) ** 2)
        return tape.gradient(y, x)

    mapped = tf.vectorized_map(
        gradient, tensor(X), fallback_to_while_loop=False
    )
    one_by_one = [to_numpy(gradient(tensor(x))) for x in X]
    np.testing.assert_allclose(to_numpy(mapped), one_by_one, atol=2e-6)
