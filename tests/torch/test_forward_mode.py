"""No forward mode: rules here are of backward passes, and torch says so."""

import functools

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

import keras_gumbel as kg

# torch's own, as it first runs in forward mode.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

RULES = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")
X, TANGENT = torch.tensor(
    np.random.default_rng(0).normal(size=(2, 4, 4)), dtype=torch.float32
)
TABLE = torch.ones(4, 3)
OPS = {
    **{
        f"{name}-{rule}": functools.partial(
            op, hard=True, estimator=rule, seed=1
        )
        for name, op in (
            ("softmax", kg.ops.gumbel_softmax),
            ("index", kg.ops.sample_argmax_index),
            ("sigmoid", kg.ops.gumbel_sigmoid),
        )
        for rule in RULES
    },
    "softmax": functools.partial(kg.ops.gumbel_softmax, seed=1),
    "sigmoid": functools.partial(kg.ops.gumbel_sigmoid, seed=1),
    "gate": functools.partial(kg.ops.hard_concrete, seed=1),
    "subset": lambda x: kg.ops.gumbel_top_k(x, 2, seed=1)[0],
    "order": lambda x: kg.ops.gumbel_sort(x, seed=1)[0],
    "square": lambda x: kg.ops.gumbel_sinkhorn(x, num_iterations=2, seed=1),
    "table": lambda x: kg.ops.sample_embedding(x, TABLE, seed=1),
    "pair": lambda x: kg.ops.straight_through(3 * x, x),
    "divergence": kg.losses.categorical_kl,
}


def by_transform(function):
    return torch.func.jvp(function, (X,), (TANGENT,))


def by_dual_numbers(function):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(
            function(forward_ad.make_dual(X, TANGENT))
        )


@pytest.mark.parametrize("run", [by_transform, by_dual_numbers])
@pytest.mark.parametrize("name", OPS)
def test_an_error_in_place_of_a_tangent(name, run):
    """A tangent of 0 would be wrong, and say nothing."""
    with pytest.raises(NotImplementedError, match="forward mode"):
        run(OPS[name])


@pytest.mark.parametrize("name", OPS)
def test_what_has_no_tangent_is_as_elsewhere(name):
    """In its gradient too."""
    found = []
    for around in (forward_ad.dual_level, torch.enable_grad):
        x = X.clone().requires_grad_()
        with around():
            y = OPS[name](x)
            y.square().sum().backward()
        found.append((y.detach(), x.grad))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6)


def test_hessians_are_of_reverse_mode_twice():
    """`torch.func.hessian` is forward mode over reverse mode."""

    def loss(x):
        return (kg.ops.gumbel_softmax(x, seed=1) * X[0]).sum()

    with pytest.raises(NotImplementedError, match="forward mode"):
        torch.func.hessian(loss)(X[1])
    found = torch.func.jacrev(torch.func.jacrev(loss))(X[1])
    step = 1e-2
    ahead, behind = (
        torch.func.grad(loss)(X[1] + sign * step * TANGENT[1])
        for sign in (1, -1)
    )
    right = (ahead - behind) / (2 * step)
    np.testing.assert_allclose((found * TANGENT[1]).sum(-1), right, atol=1e-3)
    assert right.abs().max() > 0.02
