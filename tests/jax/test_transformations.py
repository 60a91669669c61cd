"""What JAX does with functions: jit, grad, vmap, scan, remat."""

import warnings

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import keras_gumbel as kg

RULES = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")
X = np.random.default_rng(0).normal(size=(8, 7)).astype("float32")
WEIGHTS = np.arange(7, dtype="float32")


@pytest.fixture(autouse=True)
def _no_warnings():
    """Such as of a number of 64 bits that is cut to 32."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def loss_of(rule, seed=3):
    def loss(x, seed=seed):
        y = kg.ops.gumbel_softmax(x, 0.5, hard=True, estimator=rule, seed=seed)
        return jnp.sum(y * WEIGHTS)

    return loss


@pytest.mark.parametrize("rule", RULES)
def test_under_jit_nothing_changes(rule):
    eager = jax.value_and_grad(loss_of(rule))(X)
    compiled = jax.jit(jax.value_and_grad(loss_of(rule)))(X)
    assert float(eager[0]) == float(compiled[0])
    np.testing.assert_allclose(eager[1], compiled[1], atol=1e-6)
    assert np.abs(eager[1]).max() > 1e-3


@pytest.mark.slow_ids("gumbel_rao", "st_gumbel")
@pytest.mark.parametrize("rule", RULES)
def test_vmap_is_a_loop(rule):
    """Over examples and their keys."""
    keys = jax.random.split(jax.random.key(0), len(X))
    mapped = jax.vmap(jax.value_and_grad(loss_of(rule)))(X, keys)
    for n, (x, key) in enumerate(zip(X, keys, strict=True)):
        value, slope = jax.value_and_grad(loss_of(rule))(x, key)
        assert float(mapped[0][n]) == float(value)
        np.testing.assert_allclose(mapped[1][n], slope, atol=1e-6)


def test_scan_is_a_loop():
    keys = jax.random.split(jax.random.key(0), 4)

    def step(carry, key):
        return carry, kg.ops.gumbel_softmax(carry, hard=True, seed=key)

    _, found = jax.lax.scan(step, X, keys)
    for key, y in zip(keys, found, strict=True):
        np.testing.assert_array_equal(
            y, kg.ops.gumbel_softmax(X, hard=True, seed=key)
        )


@pytest.mark.parametrize("rule", ["st_gumbel", "reinmax", "soft"])
def test_second_derivatives_are_differences_of_the_first(rule):
    def loss(x):
        options = {} if rule == "soft" else {"hard": True, "estimator": rule}
        y = kg.ops.gumbel_softmax(x, 0.9, seed=3, **options)
        return jnp.sum(y * WEIGHTS)

    slope = jax.grad(loss)
    # Central differences in float32, of a sample that stays.
    step = 2.0**-7
    found = jax.jacrev(slope)(X[0])
    for n in range(7):
        one = step * np.eye(7, dtype="float32")[n]
        right = (slope(X[0] + one) - slope(X[0] - one)) / (2 * step)
        np.testing.assert_allclose(found[:, n], right, atol=2e-3)


def test_a_key_is_an_integer_seed():
    right = kg.ops.gumbel_softmax(X, seed=7)
    for key in (jax.random.key(7), jax.random.PRNGKey(7)):
        np.testing.assert_array_equal(kg.ops.gumbel_softmax(X, seed=key), right)


def test_a_key_of_another_generator_is_refused():
    with pytest.raises(ValueError, match=r"`seed`.*Threefry"):
        kg.ops.gumbel_softmax(X, seed=jax.random.key(0, impl="rbg"))


@pytest.mark.parametrize("transform", ["jit", "scan"])
def test_a_stream_does_not_leak(transform):
    """And draws on as if nothing had been tried."""
    layer = kg.GumbelSoftmax(hard=True, seed=1)
    layer.build(X.shape)

    def call(x):
        return layer(x, training=True)

    def scan(x):
        return jax.lax.scan(lambda c, _: (c, call(c)), x, length=2)

    with pytest.raises(ValueError, match=r"(?s)stateless_call.*StatelessScope"):
        (jax.jit(call) if transform == "jit" else scan)(X)
    other = kg.GumbelSoftmax(hard=True, seed=1)
    np.testing.assert_array_equal(call(X), other(X, training=True))


def test_a_stateless_call_moves_the_stream():
    layer, eager = (kg.GumbelSoftmax(hard=True, seed=1) for _ in range(2))
    layer.build(X.shape)
    call = jax.jit(
        lambda state, x: layer.stateless_call([], state, x, training=True)
    )
    state = [x.value for x in layer.non_trainable_variables]
    for _ in range(3):
        y, state = call(state, X)
        np.testing.assert_array_equal(y, eager(X, training=True))


class Block(keras.layers.Layer):
    """A layer with weights, and one that samples."""

    def __init__(self, choice, again):
        super().__init__()
        self.dense = keras.layers.Dense(8, kernel_initializer="ones")
        self.choice = choice
        self.run = kg.remat(self.inner) if again else self.inner

    def inner(self, x, training=None):
        return self.choice(self.dense(x), training=training)

    def call(self, x, training=None):
        return self.run(x, training=training)


CHOICES = {
    "a sample": lambda: kg.GumbelSoftmax(hard=True, seed=0),
    # Its losses leave the block, as do the counts of its codes.
    "a penalty": lambda: kg.GumbelQuantizer(5, 8, kl_weight=0.1, seed=0),
}


@pytest.mark.slow_ids("a penalty")
@pytest.mark.parametrize("name", CHOICES)
def test_a_block_that_runs_again_draws_once(name):
    """By `kg.remat`, in `fit`, and learns what it learns without."""
    found = []
    for again in (True, False):
        keras.utils.set_random_seed(1)
        block = Block(CHOICES[name](), again)
        model = keras.Sequential([keras.Input((7,)), block])
        model.compile("sgd", "mse", metrics=["mse"])
        goal = np.eye(8, dtype="float32")
        logs = model.fit(X, goal, batch_size=4, epochs=2, verbose=0, shuffle=0)
        state = np.asarray(block.choice.seed_generator.state.value)
        # A draw a step, and for codes another, that of where they restart.
        draws = 4 if name == "a sample" else 8
        assert state.tolist() == [0, draws]
        logged = {name: np.array(x) for name, x in logs.history.items()}
        paid = logged["loss"] - logged["mse"]
        assert (paid > 1e-3).all() == (name == "a penalty")
        found.append([*logged.values(), *model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_codes_are_counted_in_fit():
    """As by the metric itself, of what the layer gave."""
    layer = kg.GumbelQuantizer(5, 4, 2, hard=True, seed=1)
    model = keras.Sequential([keras.Input((7,)), layer])
    model.compile("sgd", "mse")
    # No step: the codes of the epoch are those of these weights.
    model.optimizer.learning_rate = 0.0
    logs = model.fit(X, X[:, :4], batch_size=4, verbose=0).history
    usage = kg.metrics.CategoryUsage(10)
    perplexity = kg.metrics.CodePerplexity(5)
    values = model.evaluate(X, X[:, :4], verbose=0, return_dict=True)
    codes = np.asarray(layer.encode(X))
    usage.update_state(codes + 5 * np.arange(2))
    assert values[f"{layer.name}_usage"] == pytest.approx(float(usage.result()))
    groups = []
    for group in range(2):
        perplexity.reset_state()
        perplexity.update_state(codes[:, group])
        groups.append(float(perplexity.result()))
    assert values[f"{layer.name}_perplexity"] == pytest.approx(
        np.mean(groups), rel=1e-5
    )
    assert 0 < logs[f"{layer.name}_usage"][0] <= 1


def test_counts_go_beyond_what_float32_counts():
    """2**24 and one more, and one more."""
    metric = kg.metrics.CodePerplexity(2)
    metric.add(jnp.asarray([2.0**25, 0.0]))
    for _ in range(2**10):
        metric.add(jnp.asarray([1.0, 0.0]))
    total = sum(np.asarray(x.value, "float64") for x in metric._variables)
    assert total[0] == 2**25 + 2**10


def test_tensorflow_is_not_imported():
    import sys

    assert "tensorflow" not in sys.modules
