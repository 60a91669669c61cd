"""The best assignment, beside SciPy's and beside every permutation."""

import itertools

import keras
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import keras_gumbel as kg
from tests.frameworks import tf
from tests.variants import slow

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
        far = matrix[allowed].min() - (len(matrix) + 1) * span - 1
        matrix = np.where(allowed, matrix, far)
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    kept = allowed[rows, columns]
    return kept.sum(), matrix[rows[kept], columns[kept]].sum()


def brute_force(matrix):
    """Of all permutations: most pairs, then the largest sum."""
    matrix = matrix.astype("float64")
    every = np.array(list(itertools.permutations(range(len(matrix)))))
    entries = matrix[np.arange(len(matrix)), every]
    counts = (entries > -INF).sum(1)
    sums = np.where(entries > -INF, entries, 0).sum(1)
    return counts.max(), sums[counts == counts.max()].max()


def kinds(n, rng, m=6):
    """Matrices (m, n, n) of every kind that is hard in its own way."""
    normal = rng.normal(size=(m, n, n))
    block = np.full((m, n, n), -INF)
    for one, values in zip(block, normal, strict=True):
        k = rng.integers(0, n + 1)
        one[:k, :k] = values[:k, :k]
    padded = np.where(np.arange(n) < max(1, n // 2), normal, -INF)
    return {
        "normal": normal,
        "tied": rng.integers(0, 2, size=(m, n, n)),
        "integer": rng.integers(-9, 10, size=(m, n, n)),
        "equal": np.full((m, n, n), 3.0),
        "sorted": np.sort(normal.reshape(m, -1), -1).reshape(m, n, n),
        # Every row prefers the same columns, in the same order.
        "product": np.arange(n) * np.arange(n)[:, None] * np.ones((m, 1, 1)),
        "huge": normal * 10.0 ** rng.uniform(-30, 30, size=(m, n, n)),
        "offset": normal + 1e6 * rng.normal(size=(m, n, 1)),
        "barred": np.where(rng.random((m, n, n)) < 0.3, -1e30, normal),
        "block": block,
        "half the columns": padded,
        "sparse": np.where(rng.random((m, n, n)) < 0.25, normal, -INF),
        "nothing": np.full((m, n, n), -INF),
    }


@pytest.mark.parametrize("n", [20, *slow(1, 2, 3, 6, 64)])
def test_the_sum_is_that_of_scipy(n, seed):
    """And the permutation, where only one is best."""
    found = kinds(n, np.random.default_rng([seed, n]))
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


def test_as_many_pairs_as_possible_and_then_the_largest_sum(seed):
    """Beside all 120 permutations, with whole numbers: exactly."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-9, 10, size=(200, 5, 5)).astype("float32")
    density = rng.uniform(0, 1, size=(200, 1, 1))
    logits[rng.random(logits.shape) > density] = -INF
    counts = set()
    for matrix, columns in zip(logits, solve(logits), strict=True):
        assert total(matrix, columns) == brute_force(matrix)
        counts.add(int((columns >= 0).sum()))
    assert counts == {0, 1, 2, 3, 4, 5}


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


def test_half_precision(seed):
    logits = np.random.default_rng(seed).normal(size=(6, 6))
    logits = keras.ops.cast(logits, "bfloat16")
    wide = keras.ops.convert_to_numpy(keras.ops.cast(logits, "float32"))
    assert total(wide, solve(logits)) == pytest.approx(best(wide))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 3, 2), (2, 0, 0)])
def test_refuses_what_is_not_square(shape):
    with pytest.raises(ValueError) as error:
        kg.ops.linear_assignment(np.zeros(shape, "float32"))
    assert "`logits` must be square matrices" in str(error.value)
    assert f"Received: logits of shape {shape}" in str(error.value)


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
