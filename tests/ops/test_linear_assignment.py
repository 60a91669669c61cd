"""The best assignment, beside SciPy's and beside every permutation."""

import itertools

import keras
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import keras_gumbel as kg
from keras_gumbel.numerics import assignment
from keras_gumbel.numerics.prices import Start
from tests.frameworks import tf
from tests.harness import to_numpy
from tests.variants import slow_rows

INF = np.inf


def solve(logits):
    return keras.ops.convert_to_numpy(kg.ops.linear_assignment(logits))


def total(matrix, columns):
    """How many pairs, and their sum in float64."""
    rows = np.flatnonzero(columns >= 0)
    taken = columns[rows]
    assert len(set(taken.tolist())) == len(taken), "a column twice"
    return len(rows), matrix.astype("float64")[rows, taken].sum()


def best(matrix):
    """The same of SciPy's optimum, whose forbidden pairs are far away."""
    matrix = matrix.astype("float64")
    allowed = matrix > -INF
    if not allowed.any():
        return 0, 0.0
    if not allowed.all():
        span = matrix[allowed].max() - matrix[allowed].min()
        far = matrix[allowed].min() - (matrix.shape[1] + 1) * span - 1
        matrix = np.where(allowed, matrix, far)
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    kept = allowed[rows, columns]
    return kept.sum(), matrix[rows[kept], columns[kept]].sum()


def brute_force(matrix):
    """Of all one-to-one choices: most pairs, then the largest sum."""
    matrix = matrix.astype("float64")
    n, m = matrix.shape
    every = np.array(list(itertools.permutations(range(m), n)))
    entries = matrix[np.arange(n), every]
    counts = (entries > -INF).sum(1)
    sums = np.where(entries > -INF, entries, 0).sum(1)
    return counts.max(), sums[counts == counts.max()].max()


def kinds(n, m, rng, count=6):
    """Matrices (count, n, m) of every kind that is hard in its own way."""
    shape = (count, n, m)
    normal = rng.normal(size=shape)
    rows, columns = rng.normal(size=(count, n, 1)), rng.normal(size=(count, m))
    block = np.full(shape, -INF)
    for one, values in zip(block, normal, strict=True):
        k = rng.integers(0, n + 1)
        one[:k, :k] = values[:k, :k]
    padded = np.where(np.arange(m) < max(1, n // 2), normal, -INF)
    return {
        "normal": normal,
        "tied": rng.integers(0, 2, size=shape),
        "integer": rng.integers(-9, 10, size=shape),
        "equal": np.full(shape, 3.0),
        "sorted": np.sort(normal.reshape(count, -1), -1).reshape(shape),
        # Every row prefers the same columns, in the same order.
        "product": np.arange(m) * np.arange(n)[:, None] + np.zeros(shape),
        # The two of these are sorted alike.
        "outer product": rows * columns[:, None],
        "outer product, with noise": 5 * rows * columns[:, None] + normal,
        "outer product, with gaps": np.where(
            rng.random(shape) < 0.1, -INF, rows * columns[:, None]
        ),
        "distance": -np.abs(rows - columns[:, None]),
        "huge": normal * 10.0 ** rng.uniform(-30, 30, size=shape),
        "offset": normal + 1e6 * rng.normal(size=(count, n, 1)),
        "offset of columns": normal + 9.0 * columns[:, None],
        "barred": np.where(rng.random(shape) < 0.3, -1e30, normal),
        "block": block,
        "half the columns": padded,
        "sparse": np.where(rng.random(shape) < 0.25, normal, -INF),
        "nothing": np.full(shape, -INF),
    }


@pytest.mark.parametrize(
    ("n", "m"),
    [
        (20, 20),
        (12, 20),
        *slow_rows(
            (1, 1), (2, 2), (3, 3), (6, 6), (64, 64), (1, 9), (20, 21), (9, 80)
        ),
    ],
)
def test_the_sum_is_that_of_scipy(n, m, seed):
    """And the matching, where only one is best."""
    found = kinds(n, m, np.random.default_rng([seed, n, m]))
    names = [name for name, matrices in found.items() for _ in matrices]
    logits = np.concatenate(list(found.values())).astype("float32")
    for name, matrix, columns in zip(names, logits, solve(logits), strict=True):
        count, value = total(matrix, columns)
        pairs, optimum = best(matrix)
        assert count == pairs, name
        scale = np.abs(matrix[matrix > -INF]).max(initial=0)
        assert abs(value - optimum) <= 1e-6 * abs(optimum) + 1e-14 * scale, name
        if name == "normal":
            unique = linear_sum_assignment(matrix, maximize=True)[1]
            np.testing.assert_array_equal(columns, unique)


@pytest.mark.parametrize("n", [5, 3])
def test_as_many_pairs_as_possible_and_then_the_largest_sum(n, seed):
    """Beside all choices of 5 columns, with whole numbers: exactly."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-9, 10, size=(200, n, 5)).astype("float32")
    density = rng.uniform(0, 1, size=(200, 1, 1))
    logits[rng.random(logits.shape) > density] = -INF
    counts = set()
    for matrix, columns in zip(logits, solve(logits), strict=True):
        assert total(matrix, columns) == brute_force(matrix)
        counts.add(int((columns >= 0).sum()))
    assert counts == {*range(n + 1)}


def test_pairs_that_are_far_away_take_no_digits_of_the_others(seed):
    """Where every row prefers the same columns, and some pairs are barred."""
    n = 40
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(8, n, 1)) * rng.normal(size=(8, 1, n))
    logits += 0.1 * rng.gumbel(size=logits.shape)
    logits[rng.random(logits.shape) < 0.1] = -1e30
    logits = logits.astype("float32")
    for matrix, columns in zip(logits, solve(logits), strict=True):
        count, value = total(matrix, columns)
        assert value > -1e29
        assert (count, value) == (n, pytest.approx(best(matrix)[1], rel=1e-12))


@pytest.mark.parametrize(("price", "taken"), [(900.0, 0), (9000.0, -1)])
def test_prices_that_take_digits_of_the_costs_are_not_begun_with(price, taken):
    """Beside prices of 1, by which no row has a column, and by these one."""
    costs = keras.ops.ones((1, 2, 2), "float64")
    none = keras.ops.full((1, 2), -1, "int32")
    before = Start(keras.ops.ones((1, 2), "float64"), none)
    owners = keras.ops.convert_to_tensor([[0, -1]], "int32")
    new = Start(keras.ops.full((1, 2), price, "float64"), owners)
    found = to_numpy(assignment._better(before, new, costs).owners)
    assert found.tolist() == [[taken, -1]]


def test_float64_keeps_its_digits():
    logits = np.array([[1.0, 1.0 + 1e-12], [1.0, 1.0]])
    assert solve(logits).tolist() == [1, 0]
    # Differences of these would be infinite.
    assert solve(np.where(np.eye(2), -1.7e308, 1.7e308)).tolist() == [1, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_matrix_that_is_none(bad):
    logits = np.eye(3, dtype="float32")[None].repeat(3, 0)
    logits[1, 0, 2] = bad
    assert solve(logits).tolist() == [[0, 1, 2], [-1, -1, -1], [0, 1, 2]]


@pytest.mark.slow
@pytest.mark.tensorflow
def test_any_batch_in_every_mode(seed):
    logits = np.random.default_rng(seed).normal(size=(2, 3, 5, 5))
    logits = logits.astype("float32")
    here = solve(logits)
    assert here.dtype == "int32"
    assert here.shape == (2, 3, 5)
    call = tf.function(
        kg.ops.linear_assignment,
        jit_compile=True,
        autograph=False,
        input_signature=[tf.TensorSpec([None] * 4)],
    )
    np.testing.assert_array_equal(call(logits), here)


@pytest.mark.slow
def test_a_matrix_alone_and_none(seed):
    logits = np.random.default_rng(seed).normal(size=(2, 3, 5, 5))
    logits = logits.astype("float32")
    np.testing.assert_array_equal(solve(logits[1, 2]), solve(logits)[1, 2])
    assert solve(logits[:, :0]).shape == (2, 0, 5)


@pytest.mark.slow
def test_half_precision(seed):
    logits = np.random.default_rng(seed).normal(size=(6, 6))
    logits = keras.ops.cast(logits, "bfloat16")
    wide = keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32"))
    assert total(wide, solve(logits)) == pytest.approx(best(wide))


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        ((3,), "must be matrices, of shape (..., n, m)"),
        ((2, 0, 0), "must be matrices, of shape (..., n, m)"),
        ((2, 0, 3), "must be matrices, of shape (..., n, m)"),
        ((4, 3, 2), "must not have more rows than columns"),
        ((2, 1), "transpose them"),
    ],
)
def test_refuses_what_has_no_column_for_each_row(shape, what):
    with pytest.raises(ValueError) as error:
        kg.ops.linear_assignment(np.zeros(shape, "float32"))
    assert what in str(error.value)
    assert f"Received: logits of shape {shape}" in str(error.value)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_refuses_more_rows_than_columns_once_they_are_known():
    call = tf.function(
        kg.ops.linear_assignment,
        autograph=False,
        input_signature=[tf.TensorSpec([None] * 3)],
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="transpose"):
        call(tf.zeros((4, 3, 2)))
    assert to_numpy(call(tf.zeros((4, 2, 3)))).shape == (4, 2)


def test_refuses_what_is_not_float():
    with pytest.raises(TypeError, match=r"`logits` must be a float tensor"):
        kg.ops.linear_assignment(np.zeros((2, 2), "int32"))


def test_the_largest_numbers_do_not_overflow():
    """Of float64, whose differences would be infinite."""
    far = np.finfo("float64").max
    logits = far * np.array([[1.0, 0.0], [-0.5, -1.0]])
    for rows in ([0, 1], [1, 0]):
        for columns in ([0, 1], [1, 0]):
            found = kg.ops.linear_assignment(logits[rows][:, columns])
            expected = np.argsort(columns)[rows]
            np.testing.assert_array_equal(found, expected)
