"""`jax_debug_nans` raises for a NaN anywhere, and finds none in a sample."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import keras_gumbel as kg
from tests.golden import CASES, NAMES


@pytest.fixture(autouse=True)
def debugging():
    with jax.debug_nans(True):
        yield


def check_no_nan(function, dy, *arguments):
    """JAX raises for one within; what comes out is looked at besides."""

    def run(*arguments):
        value, back = jax.vjp(function, *arguments)
        return value, back(dy)

    for way in (run, jax.jit(run)):
        for found in jax.tree.leaves(way(*arguments)):
            if jnp.issubdtype(found.dtype, jnp.floating):
                assert not np.isnan(np.asarray(found, "float64")).any()


@pytest.mark.slow_ids(
    "orders False", "permutations", "rows gumbel_rao", "subsets False"
)
@pytest.mark.parametrize("name", [x for x in CASES if " of many" not in x])
def test_a_sample_and_its_gradient_have_none_inside(name):
    function, arguments, dy, _ = CASES[name]
    check_no_nan(function, dy, *arguments)


FORBIDDEN = np.float32([[0, -np.inf, 1, 2], [-np.inf, -np.inf, -np.inf, 0]])
OF_FORBIDDEN = {
    **{
        f"one-hot {name}": lambda x, name=name: kg.ops.gumbel_softmax(
            x, 0.1, hard=True, estimator=name, seed=1
        )
        for name in NAMES
    },
    "soft": lambda x: kg.ops.gumbel_softmax(x, 0.1, seed=1),
    "gates": lambda x: kg.ops.gumbel_sigmoid(x, 0.1, seed=1),
    "index": lambda x: kg.ops.sample_argmax_index(x, 0.1, seed=1),
    "subset": lambda x: kg.ops.gumbel_top_k(x, 1, 0.1, seed=1)[0],
}


@pytest.mark.parametrize("name", OF_FORBIDDEN)
def test_classes_that_are_forbidden_make_none(name):
    function = OF_FORBIDDEN[name]
    dy = jnp.ones_like(function(FORBIDDEN))
    check_no_nan(function, dy, FORBIDDEN)


@pytest.mark.parametrize("where", ["logits", "nowhere"])
def test_a_planted_nan_is_found(where):
    """So that the tests above look at something."""
    logits = FORBIDDEN.copy()
    expected = contextlib.nullcontext()
    if where == "logits":
        logits[0, 0] = np.nan
        expected = pytest.raises(FloatingPointError)
    with expected:
        kg.ops.gumbel_softmax(logits, 0.1, seed=1)
