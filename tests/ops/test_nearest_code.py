"""nearest_code is the argmin of the distances in float64, first on ties."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.ops.nearest_code import nearest_codes
from tests.harness import grad, in_mode, modes, tensor, to_numpy
from tests.variants import slow

# One block; several of rows, the last reaching back; several of codes, too.
SHAPES = [(7, 5, 3), (1101, 1000, 8), (700, 2501, 4)]


def by_distances(vectors, table):
    """The first argmin of the distances themselves, in float64."""
    x, c = vectors.astype("float64"), table.astype("float64")
    # The sum of squares, and no expansion of them, which cancels.
    distances = np.stack([np.square(x - one).sum(axis=-1) for one in c])
    return distances.argmin(axis=0)


def inputs(shape, seed):
    rows, codes, dim = shape
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, dim)).astype("float32")
    table = rng.normal(size=(codes, dim)).astype("float32")
    return vectors, table


@modes()
@pytest.mark.parametrize("shape", [*SHAPES[1:], *slow(SHAPES[0])])
def test_is_the_argmin_in_float64(mode, shape, seed):
    vectors, table = inputs(shape, seed)
    run = in_mode(mode, kg.ops.nearest_code)
    found = to_numpy(run(tensor(vectors), tensor(table)))
    assert found.dtype == "int32"
    np.testing.assert_array_equal(found, by_distances(vectors, table))


@pytest.mark.parametrize("far", [0.0, 3e3])
def test_near_codes_are_told_apart(far, seed):
    """Float32 would not see by how little they differ."""
    rng = np.random.default_rng(seed)
    table = (rng.normal(size=(300, 6)) * 1e-2 + far).astype("float32")
    vectors = (rng.normal(size=(500, 6)) * 1e-2 + far).astype("float32")
    found = to_numpy(kg.ops.nearest_code(tensor(vectors), tensor(table)))
    np.testing.assert_array_equal(found, by_distances(vectors, table))


def test_of_ties_the_first(seed):
    vectors, table = inputs((400, 700, 5), seed)
    again = np.concatenate([table, table[::-1], table])
    found = to_numpy(kg.ops.nearest_code(tensor(vectors), tensor(again)))
    np.testing.assert_array_equal(found, by_distances(vectors, table))


def test_each_group_has_a_table_of_its_own(seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(3, 301, 4, 5)).astype("float32")
    tables = rng.normal(size=(4, 90, 5)).astype("float32")
    found = to_numpy(nearest_codes(tensor(vectors), tensor(tables)))
    for group in range(4):
        wanted = by_distances(vectors[:, :, group], tables[group])
        np.testing.assert_array_equal(found[..., group], wanted)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("codes", [5, 1500])
def test_what_is_not_finite_has_no_code(bad, codes, seed):
    vectors, table = inputs((6, codes, 3), seed)
    vectors[2, 1] = bad
    found = to_numpy(kg.ops.nearest_code(tensor(vectors), tensor(table)))
    assert (found == -1).tolist() == [False, False, True, False, False, False]
    vectors[2, 1] = 0.0
    table[codes - 1, 0] = float("nan")
    found = to_numpy(kg.ops.nearest_code(tensor(vectors), tensor(table)))
    assert (found == -1).all()


def test_has_no_gradient_and_stops_none(seed):
    vectors, table = inputs(SHAPES[0], seed)

    def loss(x, c):
        codes = kg.ops.nearest_code(x, c)
        return keras.ops.square(x - keras.ops.take(c, codes, axis=0))

    dx, dc = grad(loss, vectors, table)
    codes = by_distances(vectors, table)
    np.testing.assert_allclose(dx, 2 * (vectors - table[codes]), rtol=1e-6)
    wanted = np.zeros_like(table)
    np.add.at(wanted, codes, 2 * (table[codes] - vectors))
    np.testing.assert_allclose(dc, wanted, rtol=1e-5, atol=1e-6)


def test_half_precision_is_widened(seed):
    vectors, table = inputs(SHAPES[0], seed)
    halves = vectors.astype("float16"), table.astype("float16")
    found = to_numpy(kg.ops.nearest_code(*map(tensor, halves)))
    np.testing.assert_array_equal(found, by_distances(*halves))


def test_an_empty_batch():
    found = kg.ops.nearest_code(
        keras.ops.zeros((0, 3)), keras.ops.zeros((4, 3))
    )
    assert tuple(found.shape) == (0,)


@pytest.mark.parametrize(
    ("vectors", "table", "error", "message"),
    [
        ("int32", "float32", TypeError, "`vectors` must be a float tensor"),
        ("float32", "int32", TypeError, "`table` must be a float tensor"),
    ],
)
def test_integers_are_an_error(vectors, table, error, message):
    with pytest.raises(error, match=message):
        kg.ops.nearest_code(
            keras.ops.zeros((2, 3), vectors), keras.ops.zeros((4, 3), table)
        )


@pytest.mark.parametrize("shape", [(4, 2), (4,), (0, 3)])
def test_a_table_that_does_not_fit_is_an_error(shape):
    with pytest.raises(ValueError, match="`table` must have the shape"):
        kg.ops.nearest_code(keras.ops.zeros((2, 3)), keras.ops.zeros(shape))
