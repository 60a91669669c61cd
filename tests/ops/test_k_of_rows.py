"""`gumbel_top_k` of rows that each have a k of their own.

A row of k is what the same seed gives for k in all rows: to that each value,
order and gradient is held, and so to its law.
"""

import itertools

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import reference, statistics
from tests.frameworks import tf
from tests.harness import (
    ALWAYS_KNOWN,
    gradients,
    in_mode,
    tensor,
    to_numpy,
    value_and_grad,
)
from tests.ops.test_gumbel_top_k import normal
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

MOST = 3
SHAPE = (4, 3, 5)
TAU = np.array(0.75)


def each(x, k, axis, **kwargs):
    """Row by row from samples with one k for all: value and gradients, order.

    Args:
        x: Logits.
        k: Integers, with size 1 along the axis.
        axis: That of the classes.
        **kwargs: `upstream`, and what the sample has besides.
    """
    upstream = kwargs.pop("upstream")
    kwargs = {"axis": axis, **kwargs}
    none = list(x.shape)
    none[axis] = MOST
    value, slope = np.zeros(x.shape), np.zeros(x.shape)
    order, d_tau = np.full(none, -1), 0.0
    for size in range(1, MOST + 1):
        here = np.broadcast_to(k == size, x.shape)
        y, d_x, d_t = gradients(
            lambda x, tau, size=size: kg.ops.gumbel_top_k(
                x, size, tau, **kwargs
            )[0],
            x,
            TAU,
            upstream=np.where(here, upstream, 0.0),
        )
        _, indices = kg.ops.gumbel_top_k(x, size, TAU, **kwargs)
        value, slope = np.where(here, y, value), slope + d_x
        d_tau += d_t
        rest = [(0, 0)] * x.ndim
        rest[axis] = (0, MOST - size)
        padded = np.pad(to_numpy(indices), rest, constant_values=-1)
        order = np.where(k == size, padded, order)
    return value, slope, d_tau, order


# Axis of the classes, and the shape of k.
PLACES = [
    (-1, (4, 3)),
    (-1, (4, 3, 1)),
    (-1, (3,)),
    (-1, (4, 1)),
    (1, (4, 5)),
    (1, (1, 1, 5)),
    (0, (3, 1)),
    (0, ()),
]


def of_rank(k, axis, shape):
    """`k` with size 1 along the axis, as NumPy would broadcast it."""
    if k.ndim in (0, len(shape)):
        return k.reshape(k.shape or (1,) * len(shape))
    k = k.reshape((1,) * (len(shape) - 1 - k.ndim) + k.shape)
    return np.expand_dims(k, axis)


@pytest.mark.slow_ids("-1-shape0-False")
@pytest.mark.parametrize(
    ("axis", "shape", "hard"),
    [
        (-1, (4, 3), False),
        (1, (4, 5), True),
        *slow_rows(
            *((*place, hard) for place in PLACES for hard in (False, True))
        ),
    ],
)
def test_a_row_is_that_of_its_k(axis, shape, hard, seed):
    x, upstream = normal((2, *SHAPE), seed, "float64")
    k = np.random.default_rng(seed).integers(0, MOST + 1, shape)
    kwargs = {"hard": hard, "noise_scale": 0.5, "seed": seed}
    found = gradients(
        lambda x, tau: kg.ops.gumbel_top_k(
            x, tensor(k), tau, max_k=MOST, axis=axis, **kwargs
        )[0],
        x,
        TAU,
        upstream=upstream,
    )
    _, order = kg.ops.gumbel_top_k(x, k, TAU, max_k=MOST, axis=axis, **kwargs)
    k = of_rank(k, axis, SHAPE)
    right = each(x, k, axis, upstream=upstream, **kwargs)
    for mine, expected in zip(found, right[:3], strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(order, right[3])
    sums = found[0].sum(axis, keepdims=True)
    np.testing.assert_allclose(sums, np.broadcast_to(k, sums.shape), rtol=1e-12)
    if hard:
        np.testing.assert_array_equal(found[0] % 1, 0)


LOGITS = np.array([0.5, 1.5, -1.0, 0.0], "float32")


def check_law(sampler, seed, n):
    """The ordered classes of rows of 0, 1, 2 and 3 that take turns.

    Detected with n = 1e5 rows of each, of 24 tuples: 2 % of the mass moved
    between halves of these.
    """
    k = np.tile(np.arange(4), n)
    k_hot, order = sampler(np.tile(LOGITS, (4 * n, 1)), k, seed)
    k_hot, order = to_numpy(k_hot), to_numpy(order)
    probs = reference.softmax(LOGITS, 1.0)
    for size in range(4):
        hot, drawn = k_hot[k == size], order[k == size]
        assert np.all(hot.sum(-1) == size), "not k classes"
        assert np.all(drawn[:, size:] == -1), "more than k"
        law = {}
        for chosen in itertools.permutations(range(4), size):
            left = 1 - np.cumsum([0.0, *probs[list(chosen)]])[:-1]
            law[chosen] = np.prod(probs[list(chosen)] / left)
        place = 5 ** np.arange(3)
        codes = (drawn + 1) @ place
        numbers = [
            int(np.array([*t, *[-1] * (3 - size)]) @ place + place.sum())
            for t in law
        ]
        counts = np.array([(codes == number).sum() for number in numbers])
        assert counts.sum() == n, "a class twice"
        if size:
            p = statistics.chi_squared_p(counts, np.array([*law.values()]))
            assert p > FALSE_FAIL_RATE


def test_the_law_of_each_size(seed):
    check_law(
        lambda x, k, seed: kg.ops.gumbel_top_k(
            x, k, max_k=3, hard=True, seed=seed
        ),
        seed,
        n=100_000,
    )


def in_numpy(x, k, seed, law=1.0, more=0):
    """A right sampler, and with other settings a wrong one."""
    noise = np.random.default_rng(seed).gumbel(size=x.shape)
    order = np.argsort(-(law * x + noise))[:, :3]
    taken = np.arange(3) < k[:, None] + more
    k_hot = np.zeros((len(x), 5))
    np.put_along_axis(k_hot, np.where(taken, order, 4), 1.0, -1)
    return k_hot[:, :4], np.where(taken, order, -1)


BUGS = {
    "one more": lambda *a: in_numpy(*a, more=1),
    "the k of the row before": lambda x, k, s: in_numpy(x, np.roll(k, 1), s),
    "a temperature in the law": lambda *a: in_numpy(*a, law=0.95),
}


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_planted_bug_fails(bug, seed):
    if bug is None:
        check_law(in_numpy, seed, n=100_000)
        return
    with pytest.raises(AssertionError):
        check_law(BUGS[bug], seed, n=100_000)


@pytest.mark.parametrize(
    "dtype", ["int32", *slow("int64", "uint8", "int8", "list")]
)
def test_integers_of_any_width(dtype):
    k = [0, 3, 1, 2]
    given = k if dtype == "list" else np.array(k, dtype)
    y, order = kg.ops.gumbel_top_k(
        normal((4, 5), 0), given, max_k=3, hard=True, seed=1
    )
    np.testing.assert_array_equal(np.sum(to_numpy(y), -1), k)
    np.testing.assert_array_equal(np.sum(to_numpy(order) >= 0, -1), k)
    assert keras.backend.standardize_dtype(order.dtype) == "int32"


def test_one_number_for_all_rows(seed):
    """As an integer: the places behind it are -1."""
    x = normal((4, 5), seed)
    y, order = kg.ops.gumbel_top_k(x, 2, max_k=4, hard=True, seed=seed)
    right, first = kg.ops.gumbel_top_k(x, 2, hard=True, seed=seed)
    np.testing.assert_array_equal(y, right)
    np.testing.assert_array_equal(order[:, :2], first)
    np.testing.assert_array_equal(order[:, 2:], -1)


@pytest.mark.skipif(ALWAYS_KNOWN, reason="known values are an error")
@pytest.mark.parametrize(
    ("dtype", "hard"), [("int32", False), *slow_rows(("uint8", True))]
)
def test_what_is_out_of_range_shows_in_its_row(dtype, hard, seed):
    """Where no value is known before the program runs: NaN, and -1."""
    x, upstream = normal((2, 4, 5), seed)
    k = np.array([3, 255 if dtype == "uint8" else -1, 4, 0], dtype)

    def sample(x, k):
        return kg.ops.gumbel_top_k(x, k, max_k=3, hard=hard, seed=seed)

    def run(x, k):
        y, (slope,) = value_and_grad(
            lambda x: sample(x, k)[0], x, upstream=upstream
        )
        return y, slope, sample(x, k)[1]

    y, slope, order = to_numpy(in_mode("graph", run)(tensor(x), tensor(k)))
    for bad in (1, 2):
        assert np.isnan(y[bad]).all()
        assert np.isnan(slope[bad]).all()
        np.testing.assert_array_equal(order[bad], -1)
    np.testing.assert_allclose(y[[0, 3]].sum(-1), [3, 0], rtol=1e-6)
    assert np.isfinite(slope[[0, 3]]).all()
    np.testing.assert_array_equal(slope[3], 0)


MASK = np.array(
    [
        [True, True, False, True, True],
        [False, True, False, True, False],
        [False, False, False, True, False],
        [False, False, False, False, False],
    ]
)


@pytest.mark.parametrize("hard", [True, *slow(False)])
def test_masks_that_allow_as_many(hard, seed):
    """Where a row has few, few are enough of them; a row of none is padding."""
    x = normal((4, 5), seed)
    k = [3, 2, 0, 3]
    y, order = kg.ops.gumbel_top_k(
        x, k, 0.5, max_k=3, hard=hard, class_mask=MASK, seed=seed
    )
    y, order = to_numpy(y), to_numpy(order)
    np.testing.assert_array_equal(y[~MASK], 0)
    np.testing.assert_allclose(y.sum(-1), [3, 2, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal((order >= 0).sum(-1), [3, 2, 0, 0])


@pytest.mark.skipif(ALWAYS_KNOWN, reason="known values are an error")
def test_masks_that_allow_fewer(seed):
    """All of them, where the mask is not known before; or minus infinity."""
    x = normal((4, 5), seed)

    def run(x, mask, k):
        return kg.ops.gumbel_top_k(
            x, k, max_k=3, hard=True, class_mask=mask, seed=seed
        )

    k = tensor(np.array([2, 3, 2, 1]))
    by_mask = in_mode("graph", run)(tensor(x), tensor(MASK), k)
    lower = np.where(MASK, x, -np.inf).astype("float32")
    by_logits = run(tensor(lower), None, k)
    for found in (by_mask, by_logits):
        y, order = to_numpy(found)
        np.testing.assert_array_equal(y.sum(-1), [2, 2, 1, 0])
        np.testing.assert_array_equal((order >= 0).sum(-1), [2, 2, 1, 0])
        np.testing.assert_array_equal(y[~MASK], 0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("jit", [False, *slow(True)])
def test_of_sizes_that_only_the_program_knows(jit, seed):
    """Rows, classes and the shape of k."""
    run = tf.function(
        lambda x, k: kg.ops.gumbel_top_k(x, k, max_k=3, hard=True, seed=seed),
        input_signature=[
            tf.TensorSpec([None, None, None]),
            tf.TensorSpec([None, None], tf.int64),
        ],
        autograph=False,
        jit_compile=jit,
    )
    x, k = normal((3, 5, 7), seed), np.arange(15).reshape(3, 5) % 4
    right = kg.ops.gumbel_top_k(x, k, max_k=3, hard=True, seed=seed)
    for mine, expected in zip(run(x, k), right, strict=True):
        np.testing.assert_array_equal(mine, expected)
    # One k for each row of the last axis but one, for all of the first.
    right = kg.ops.gumbel_top_k(x, k[:1], max_k=3, hard=True, seed=seed)
    for mine, expected in zip(run(x, k[:1]), right, strict=True):
        np.testing.assert_array_equal(mine, expected)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_in_a_map(seed):
    """A k for each example, as logits are."""
    x, k = normal((4, 5), seed), np.arange(4, dtype="int32")

    def sample(pair):
        return kg.ops.gumbel_top_k(pair[0], pair[1], max_k=3, seed=seed)[0]

    y = tf.vectorized_map(sample, (tensor(x), tensor(k)))
    right = [
        kg.ops.gumbel_top_k(row, size, max_k=3, seed=seed)[0]
        for row, size in zip(x, k, strict=True)
    ]
    np.testing.assert_allclose(y, right, atol=2e-6)


X = np.zeros((4, 5), "float32")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"k": np.array([1, 2, 3, 4]), "max_k": 3},
            ValueError,
            "`k` must be between 0 and 3, the most that any row was said to "
            "have (`max_k` of a function, `k` of a layer). "
            "Received: k of shape (4,), from 1 to 4",
        ),
        (
            {"k": [0, -1, 0, 0], "max_k": 3},
            ValueError,
            "Received: k of shape (4,), from -1 to 0",
        ),
        ({"k": 4, "max_k": 3}, ValueError, "Received: k of shape (), from 4"),
        (
            {"k": np.array([1, 2, 3, 3])},
            TypeError,
            "`k` must be an integer where there is no `max_k`. For a k of its "
            "own in each row, give `max_k` too",
        ),
        (
            {"k": np.ones(4, "float32"), "max_k": 3},
            TypeError,
            "`k` must be an integer, or a tensor of integers. "
            "Received: k of dtype float32",
        ),
        ({"k": True, "max_k": 3}, TypeError, "Received: k of dtype bool"),
        (
            {"k": [1, 2, 3], "max_k": 3},
            ValueError,
            "`k` must broadcast to the rows, which are the logits without the "
            "category axis (or with size 1 along it). Received: k of shape "
            "(3,), logits of shape (4, 5), axis=1",
        ),
        ({"k": [[1] * 5] * 4, "max_k": 3}, ValueError, "k of shape (4, 5)"),
        ({"k": [[[1]]], "max_k": 3}, ValueError, "k of shape (1, 1, 1)"),
        (
            {"k": [1, 2, 3, 3], "max_k": 6},
            ValueError,
            "`max_k` must be at most the number of classes. "
            "Received: max_k=6, logits of shape (4, 5), axis=1",
        ),
        ({"k": 1, "max_k": 0}, ValueError, "`max_k` must be at least 1"),
        ({"k": 1, "max_k": 2.0}, TypeError, "`max_k` must be an integer"),
        (
            {"k": [3, 3, 1, 0], "max_k": 3, "class_mask": MASK},
            ValueError,
            "`class_mask` must allow at least `k` classes in a row, or none. "
            "Received: k of shape (4, 1), and a class_mask of shape (4, 5) in "
            "which 1 of 4 rows allow fewer, the first 2",
        ),
    ],
)
def test_messages(kwargs, error, message):
    with pytest.raises(error) as caught:
        kg.ops.gumbel_top_k(X, **kwargs)
    assert message in str(caught.value)


def test_a_symbolic_k_is_for_layers():
    with pytest.raises(TypeError, match="`k` must be a tensor with values"):
        kg.ops.gumbel_top_k(X, keras.Input((), dtype="int32"), max_k=2)
