"""Several codebooks at once: one-hots times tables, and the codes."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.ops.codebook import codes_of, histogram, likeliest, look_up
from keras_gumbel.ops.sample_embedding import sample_codebooks
from tests.harness import (
    dtype_of,
    in_mode,
    modes,
    tensor,
    to_numpy,
    value_and_grad,
)
from tests.variants import slow, slow_rows

NAN, INF = np.nan, np.inf
# Logits of four codes, and the code that these have.
ROWS = [
    ([0, 3, 1, 3], 1),
    ([-INF, -INF, 2, -INF], 2),
    ([-INF, -INF, -INF, -INF], -1),
    ([NAN, 0, 0, 0], -1),
    ([0, 9, NAN, 0], -1),
    ([0, INF, 0, 0], -1),
]


def inputs(positions, groups, codes, dim, seed):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return tensor(rng.normal(size=shape), "float32")

    return (
        normal(positions, groups, codes),
        normal(groups, codes, dim),
        tensor(rng.uniform(0.4, 2, (positions, groups, 1)), "float32"),
        normal(positions, groups, dim),
    )


def by_product(logits, tables, temperature, **kwargs):
    """Of the same noise: that of all rows, one group after the other."""
    one_hot = kg.ops.gumbel_softmax(logits, temperature, hard=True, **kwargs)
    rows = keras.ops.einsum("ngv,gvd->ngd", one_hot, tables)
    return rows, keras.ops.argmax(one_hot, -1)


def value_and_gradients(op, logits, tables, temperature, weights, **kwargs):
    args = logits, tables, temperature
    rows, found = value_and_grad(
        lambda *args: op(*args, **kwargs)[0], *args, upstream=weights
    )
    return rows, op(*args, **kwargs)[1], *found


@pytest.mark.parametrize(
    ("shape", "estimator", "mode"),
    [
        # Blocks of an equal part of each group, the last reaching back.
        ((901, 2, 300, 3), "st_gumbel", "eager"),
        *slow_rows(
            ((901, 2, 300, 3), "st_gumbel", "compiled"),
            ((6, 1, 5, 2), "st_gumbel", "eager"),
            ((6, 3, 5, 2), "reinmax", "compiled"),
        ),
    ],
    ids=str,
)
def test_is_the_product_of_each_group(shape, estimator, mode, seed):
    args = inputs(*shape, seed)
    options = {"estimator": estimator, "noise_scale": 0.8, "seed": seed}
    run = in_mode(
        mode,
        lambda *args: value_and_gradients(sample_codebooks, *args, **options),
    )
    got = to_numpy(run(*args))
    wanted = to_numpy(value_and_gradients(by_product, *args, **options))
    for name, a, b in zip(
        ("rows", "codes", "to logits", "to tables", "to temperature"),
        got,
        wanted,
        strict=True,
    ):
        scale = max(1.0, float(np.abs(b).max()))
        np.testing.assert_allclose(a, b, atol=1e-4 * scale, err_msg=name)
    assert got[1].dtype == "int32"
    # A row of the table of its own group, bit for bit.
    groups, tables = np.arange(shape[1]), to_numpy(args[1])
    np.testing.assert_array_equal(got[0], tables[groups, got[1]])


@pytest.mark.parametrize("estimator", ["st_gumbel", *slow("st")])
def test_no_code_where_none_can_be(estimator):
    """In the second group; the first is as it would be."""
    logits = np.zeros((len(ROWS), 2, 4), "float32")
    logits[:, 1] = [row for row, _ in ROWS]
    tables = tensor(np.arange(8.0).reshape(2, 4, 1), "float32")
    rows, codes = sample_codebooks(
        tensor(logits), tables, noise_scale=0.0, estimator=estimator
    )
    np.testing.assert_array_equal(codes[:, 1], [code for _, code in ROWS])
    np.testing.assert_array_equal(codes[:, 0], 0)
    np.testing.assert_array_equal(rows[:, 0, 0], 0)
    np.testing.assert_array_equal(rows[:, 1, 0], [5, 6, 0, NAN, NAN, NAN])


@modes("compiled")
def test_codes_without_noise_and_of_relaxed_samples(mode):
    logits = tensor([row for row, _ in ROWS], "float32")
    expected = [code for _, code in ROWS]
    np.testing.assert_array_equal(in_mode(mode, likeliest)(logits), expected)
    y = kg.ops.gumbel_softmax(logits, noise_scale=0.0)
    np.testing.assert_array_equal(in_mode(mode, codes_of)(y), expected)


def test_looking_up_what_is_no_code(seed):
    tables = np.random.default_rng(seed).normal(size=(2, 4, 3))
    codes = np.array([[0, 3], [-1, 0], [4, 3], [2, 2**31]])
    rows = to_numpy(look_up(tensor(codes), tensor(tables)))
    assert np.isnan(rows).all(-1).tolist() == [
        [False, False],
        [True, False],
        [True, False],
        [False, True],
    ]
    np.testing.assert_array_equal(rows[0], tables[[0, 1], [0, 3]])
    np.testing.assert_array_equal(rows[2, 1], tables[1, 3])
    np.testing.assert_array_equal(
        look_up(tensor([[3, 3]], "uint8"), tensor(tables))[0],
        tables[:, 3],
    )


def test_histogram_of_groups():
    codes = tensor([[[0, 2], [1, 2]], [[-1, 0], [1, 1]]])
    counts = histogram(codes, None, 3)
    np.testing.assert_array_equal(counts, [1, 2, 0, 1, 1, 2])
    assert dtype_of(counts) == "float64"
    counted = tensor([[True, False], [True, True]])
    counts = histogram(codes, counted, 3)
    np.testing.assert_array_equal(counts, [1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(histogram(codes[:0], None, 3), np.zeros(6))
