"""What XLA says a step needs beside what goes in and comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import keras_gumbel as kg

X = np.zeros((64, 3072), "float32")
# In tensors of the logits' size, by estimator; None is a soft sample.
NEEDED = {None: 1.05, "st_gumbel": 1.05, "st": 1.2}


def needed(sample):
    """By a compiled step, in tensors of the logits' size."""

    def loss(x, weights, key):
        return jnp.sum(sample(x, key) * weights)

    step = jax.jit(jax.value_and_grad(loss))
    compiled = step.lower(X, X, jax.random.PRNGKey(0)).compile()
    return compiled.memory_analysis().temp_size_in_bytes / X.nbytes


@pytest.mark.parametrize("estimator", NEEDED)
def test_one_tensor_of_the_logits_size_is_kept(estimator):
    options = {"hard": True, "estimator": estimator} if estimator else {}

    def sample(x, key):
        return kg.ops.gumbel_softmax(x, 0.5, seed=key, **options)

    assert needed(sample) <= NEEDED[estimator]


def test_one_more_would_show():
    """A sample whose noise is an array of its own, as it is written often."""

    def sample(x, key):
        y = jax.nn.softmax((x + jax.random.gumbel(key, x.shape)) / 0.5)
        hard = jax.nn.one_hot(jnp.argmax(y, -1), y.shape[-1])
        return hard + y - jax.lax.stop_gradient(y)

    assert needed(sample) > 1.5
