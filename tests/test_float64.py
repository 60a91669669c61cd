"""What is given in float64 is computed in it, products of matrices too.

Each backend has operations that would round to float32 on the way, of which
nothing is seen but the last digits: rounded there, these are 1e-7 away.
"""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import reference
from tests.conformance.registry import LAYERS, as_array, each_of
from tests.harness import tensor, to_numpy

X = np.random.default_rng(0).normal(size=(40, 6))
EXACT = 1e-13


@each_of(LAYERS)
def test_a_layer_computes_in_it(row):
    """In training too, whatever it keeps in float32: codes, counts, streams."""
    layer = row.create(dtype="float64")
    x = tensor(row.logits(), "float64")
    for training in (True, False, True):
        y = layer(x, training=training)
        dtype = keras.backend.standardize_dtype(y.dtype)
        assert dtype == ("float32" if row.is_index else "float64")
        assert np.isfinite(as_array(y)).all()


def relaxed_rows():
    layer = kg.GumbelEmbedding(
        6, 3, temperature=0.5, inference="softmax", dtype="float64"
    )
    found = layer(tensor(X, "float64"))
    return found, reference.softmax(X, 0.5) @ to_numpy(layer.embeddings)


def mixed_codes():
    layer = kg.GumbelQuantizer(5, 4, 2, hard=False, dtype="float64")
    found = layer(tensor(X, "float64"))
    logits = to_numpy(layer.logits(tensor(X, "float64")))
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    tables = to_numpy(layer.embeddings)
    return found, np.einsum("rgk,gkd->rgd", weights, tables).reshape(-1, 4)


def projected():
    layer = kg.GumbelQuantizer(5, 4, 2, dtype="float64")
    layer(tensor(X, "float64"))
    right = X @ to_numpy(layer.kernel) + to_numpy(layer.bias)
    return layer.logits(tensor(X, "float64")), right.reshape(-1, 2, 5)


def sorted_scores():
    layer = kg.GumbelSort(0.5, output="sorted", dtype="float64")
    weights = reference.soft_sort(X, 0.5)
    return layer(tensor(X, "float64")), np.einsum("rij,rj->ri", weights, X)


@pytest.mark.parametrize(
    "case", [relaxed_rows, mixed_codes, projected, sorted_scores]
)
def test_a_product_keeps_its_digits(case):
    found, right = case()
    assert keras.backend.standardize_dtype(found.dtype) == "float64"
    np.testing.assert_allclose(to_numpy(found), right, rtol=0, atol=EXACT)


def test_the_nearest_of_codes_that_float32_cannot_tell_apart():
    """Two at distances of which float32 has but one."""
    rng = np.random.default_rng(1)
    far = rng.normal(size=(200, 8)).astype("float32")
    # Moved by their last digit in one entry.
    near = far.copy()
    near[:, 0] = np.nextafter(near[:, 0], np.float32(np.inf))
    x = rng.normal(size=(200, 8)).astype("float32")
    for row in range(200):
        table = np.stack([far[row], near[row]])
        wide = table.astype("float64")
        squares = ((x[row].astype("float64") - wide) ** 2).sum(-1)
        found = kg.ops.nearest_code(tensor(x[row : row + 1]), tensor(table))
        assert int(to_numpy(found)[0]) == squares.argmin()
