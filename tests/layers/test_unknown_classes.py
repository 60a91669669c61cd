"""`k` of a number of classes that only the running program knows."""

import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.harness import tensor, value_and_grad
from tests.variants import slow_rows

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
pytestmark = pytest.mark.tensorflow

UNKNOWN = [tf.TensorSpec([None, None], "float32")]
X = np.array([[1.0, 2.0, 3.0]], "float32")


def program(call, jit):
    return tf.function(call, input_signature=UNKNOWN, jit_compile=jit)


def refuses(call, jit):
    """By one error in every mode, which names the two numbers.

    XLA has no assertions: there it is a slice that finds too little.
    """
    run = program(call, jit)
    message = (
        r"Expected size\[1\] in \[0, 3\], but got 5(?s:.*)with_at_least"
        if jit
        else r"`k` must be at most the number of classes. Received: k=5.*\[3\]"
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(X)


@pytest.mark.parametrize(
    ("hard", "training", "jit"),
    [
        (False, False, True),
        (True, False, False),
        (False, True, False),
        *slow_rows(
            (False, False, False),
            (True, False, True),
            (True, True, False),
            (False, True, True),
            (True, True, True),
        ),
    ],
)
def test_of_a_layer(hard, training, jit):
    layer = kg.GumbelTopK(5, hard=hard, seed=1)
    refuses(lambda x: layer(x, training=training), jit)


@pytest.mark.parametrize(
    ("hard", "jit"), slow_rows((True, False), (False, True), (False, False))
)
def test_of_the_function(hard, jit):
    refuses(lambda x: kg.ops.gumbel_top_k(x, 5, hard=hard, seed=1), jit)


@pytest.mark.parametrize(
    ("axis", "jit"),
    slow_rows((0, True), (0, False), (-1, True), (-1, False)),
)
def test_where_there_are_enough_nothing_changes(axis, jit):
    """Value and gradient, on either axis."""
    layer = kg.GumbelTopK(2, axis=axis)
    x = tensor(np.random.default_rng(0).normal(size=(3, 2)), "float32")

    def squares(x):
        y, (gradient,) = value_and_grad(lambda x: layer(x) ** 2, x)
        return y, gradient

    found = program(squares, jit)(x)
    for one, other in zip(found, squares(x), strict=True):
        np.testing.assert_allclose(as_array(one), as_array(other), atol=1e-6)
