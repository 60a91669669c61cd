"""What torch does with functions: autograd, `torch.func`, checkpoints."""

import keras
import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

import keras_gumbel as kg

RULES = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")
X = torch.tensor(
    np.random.default_rng(0).normal(size=(8, 7)), dtype=torch.float32
)
WEIGHTS = torch.arange(7.0)


def loss_of(rule, seed=3):
    options = {} if rule == "soft" else {"hard": True, "estimator": rule}

    def loss(x):
        y = kg.ops.gumbel_softmax(x, 0.5, seed=seed, **options)
        return (y * WEIGHTS).sum()

    return loss


def value_and_slope(loss, x=X):
    x = x.detach().clone().requires_grad_()
    value = loss(x)
    value.backward()
    return value.detach(), x.grad


@pytest.mark.parametrize("rule", [*RULES, "soft"])
def test_func_grad_is_autograd(rule):
    """By formulas that torch differentiates, in place of kernels."""
    loss = loss_of(rule)
    _, right = value_and_slope(loss)
    np.testing.assert_allclose(torch.func.grad(loss)(X), right, atol=5e-6)
    assert right.abs().max() > 1e-3


@pytest.mark.parametrize("rule", [*RULES, "soft"])
def test_vmap_is_a_loop(rule):
    """Of an integer seed, which is one for all examples."""
    loss = loss_of(rule)
    mapped = torch.vmap(torch.func.grad_and_value(loss))(X)
    for slope, value, x in zip(*mapped, X, strict=True):
        right = value_and_slope(loss, x)
        np.testing.assert_allclose(value, right[0], rtol=1e-6)
        np.testing.assert_allclose(slope, right[1], atol=5e-6)


@pytest.mark.parametrize("transform", ["value", "gradient"])
def test_vmap_of_a_stream_does_what_it_is_told(transform):
    """One draw for all examples, another for each, or an error.

    40 rows of 7 equal classes are alike with probability 7**-39.
    """
    x = torch.zeros(40, 7)

    def draw(randomness):
        stream = keras.random.SeedGenerator(1)

        def one(x):
            return kg.ops.gumbel_softmax(x, hard=True, seed=stream)

        if transform == "gradient":
            slope = torch.func.grad(lambda x: (one(x) * WEIGHTS).sum())
            found = torch.vmap(slope, randomness=randomness)(x)
        else:
            found = torch.vmap(one, randomness=randomness)(x)
        assert stream.state.value.tolist() == [1, 1]
        return len(torch.unique(found, dim=0))

    assert draw("same") == 1
    assert draw("different") > 1
    with pytest.raises(ValueError, match=r"randomness='same'"):
        draw("error")


@pytest.mark.parametrize("rule", ["st_gumbel", "reinmax", "soft"])
def test_second_derivatives_are_differences_of_the_first(rule):
    loss = loss_of(rule)
    x = X[0].double().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x), x, create_graph=True)
    found = torch.stack(
        [
            torch.autograd.grad(slope[n], x, retain_graph=True)[0]
            for n in range(7)
        ]
    )
    step = 1e-5
    for n, one in enumerate(step * torch.eye(7, dtype=torch.float64)):
        right = value_and_slope(loss, x + one)[1]
        right = (right - value_and_slope(loss, x - one)[1]) / (2 * step)
        # A rule may be no derivative of anything, and its own not symmetric.
        np.testing.assert_allclose(found[:, n], right, atol=1e-7)


def test_rows_of_a_table_are_trained_once():
    x = X.clone().requires_grad_()
    table = torch.ones(7, 3)
    y = kg.ops.sample_embedding(x, table * WEIGHTS[:, None], seed=3)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(LookupError, match="first derivatives only"):
        torch.autograd.grad(slope.square().sum(), x)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_block_that_runs_again_draws_once(reentrant, nested):
    """And learns what it learns without, bit for bit."""

    def run(again):
        layer = kg.GumbelSoftmax(0.7, seed=1)

        def block(x):
            return layer(2.0 * layer(x, training=True), training=True)

        def outer(x):
            y = inner(x)
            return layer(1.5 * y, training=True)

        def inner(x):
            if not again:
                return block(x)
            return checkpoint(block, x, use_reentrant=reentrant)

        function = outer if nested else block
        x = X.clone().requires_grad_()
        if again:
            y = checkpoint(function, x, use_reentrant=reentrant)
        else:
            y = function(x)
        (y * WEIGHTS).sum().backward()
        state = layer.seed_generator.state.value.tolist()
        return y.detach(), x.grad, state

    for one, other in zip(run(True), run(False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_block_of_remat_is_such_a_block():
    """It holds in `fit` too, with the losses that it adds."""
    found = []
    for again in (True, False):
        choice = kg.GumbelQuantizer(5, 4, 2, hard=True, seed=0, kl_weight=0.1)

        class Block(keras.layers.Layer):
            def __init__(self, inside, run):
                super().__init__()
                self.inside, self.run = inside, run

            def call(self, x, training=None):
                return self.run(x, training=training)

        block = Block(choice, kg.remat(choice) if again else choice)
        model = keras.Sequential([keras.Input((7,)), block])
        model.compile("sgd", "mse")
        if not found:
            begin = model.get_weights()
        model.set_weights(begin)
        goal = np.ones((8, 4), "float32")
        history = model.fit(
            X.numpy(), goal, batch_size=4, epochs=2, verbose=0, shuffle=False
        )
        # Two draws a step: of the codes, and of where they restart.
        assert choice.seed_generator.state.value.tolist() == [0, 8]
        found.append([*history.history["loss"], *model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_of_ties_the_first_are_in_a_subset():
    """As elsewhere: `torch.topk` has no such order."""
    x = torch.zeros(3, 100)
    x[1, 50:] = 1.0
    hot, classes = kg.ops.gumbel_top_k(x, 4, hard=True, noise_scale=0.0, seed=0)
    np.testing.assert_array_equal(classes[0], [0, 1, 2, 3])
    np.testing.assert_array_equal(classes[1], [50, 51, 52, 53])
    np.testing.assert_array_equal(hot.nonzero()[:4, 1], [0, 1, 2, 3])


def test_a_sample_to_which_nothing_comes_back():
    """A rule above may have no gradient, and then this has none."""

    class Deaf(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, dz):
            return None, dz

    x, other = X.clone().requires_grad_(), X.clone().requires_grad_()
    y = kg.ops.gumbel_softmax(x, hard=True, seed=3)
    Deaf.apply(y, other).sum().backward()
    assert x.grad is None
    np.testing.assert_array_equal(other.grad, torch.ones_like(X))
