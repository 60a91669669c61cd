"""`conditional_poisson_subset` and its marginals, held to enumeration."""

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
    modes,
    tensor,
    to_numpy,
)
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow

CLASSES, K = 6, 3
LOGITS = np.array([0.5, 1.5, -1.0, 0.0, -0.5, 2.0], "float32")


def normal(shape, seed, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def law_of(logits, k):
    """All subsets of k as rows of 0 and 1, and their probabilities."""
    number = range(logits.size)
    chosen = [
        np.isin(number, some) for some in itertools.combinations(number, k)
    ]
    subsets = np.array(chosen, "float64").reshape(-1, logits.size)
    log = subsets @ logits.astype("float64")
    probs = np.exp(log - log.max())
    return subsets, probs / probs.sum()


def moments(logits, k):
    """Marginals and covariance of one row."""
    subsets, probs = law_of(logits, k)
    mean = probs @ subsets
    second = (subsets * probs[:, None]).T @ subsets
    return mean, second - np.outer(mean, mean)


def one_after_another(logits, k):
    """The law of `gumbel_top_k`, of the subsets in the same order."""
    subsets, _ = law_of(logits, k)
    p = reference.softmax(logits.astype("float64"), 1.0)
    found = []
    for subset in subsets:
        total = 0.0
        for order in itertools.permutations(np.flatnonzero(subset)):
            left = 1 - np.cumsum([0.0, *p[list(order)]])[:-1]
            total += np.prod(p[list(order)] / left)
        found.append(total)
    return np.array(found)


def check_law(sampler, seed, n):
    """Of the 20 subsets, and of neighbouring rows.

    Detected with n = 1e6: a move of 0.6 % of the mass between halves of them;
    and the law of `gumbel_top_k` with n = 1e4.
    """
    y = to_numpy(sampler(np.tile(LOGITS, (n, 1)), K, seed))
    assert np.isin(y, (0, 1)).all()
    assert np.all(y.sum(-1) == K), "not k classes"
    subsets, probs = law_of(LOGITS, K)
    place = 2 ** np.arange(CLASSES)
    number = np.full(2**CLASSES, -1)
    number[(subsets @ place).astype(int)] = np.arange(len(subsets))
    drawn = number[(y @ place).astype(int)]
    counts = np.bincount(drawn, minlength=len(probs))
    assert statistics.chi_squared_p(counts, probs) > FALSE_FAIL_RATE
    pairs = np.bincount(
        drawn[0::2] * len(probs) + drawn[1::2], minlength=len(probs) ** 2
    )
    p = statistics.chi_squared_p(pairs, np.outer(probs, probs))
    assert p > FALSE_FAIL_RATE, "one row tells of the next"


def test_the_law(seed):
    check_law(
        lambda x, k, seed: kg.ops.conditional_poisson_subset(x, k, seed=seed),
        seed,
        n=10**6,
    )


def in_numpy(x, k, seed, scale=1.0, rows=1):
    """A right sampler, which draws a subset's number; or a wrong one."""
    subsets, probs = law_of(scale * x[0], k)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(probs), size=len(x) // rows, p=probs)
    return subsets[drawn.repeat(rows)]


def by_gumbel_top_k(x, k, seed):
    return kg.ops.gumbel_top_k(x, k, hard=True, seed=seed)[0]


BUGS = {
    "one after another": by_gumbel_top_k,
    "a temperature in the law": lambda *a: in_numpy(*a, scale=0.95),
    "one sample for two rows": lambda *a: in_numpy(*a, rows=2),
}


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_planted_bug_fails(bug, seed):
    if bug is None:
        check_law(in_numpy, seed, n=100_000)
        return
    with pytest.raises(AssertionError):
        check_law(BUGS[bug], seed, n=100_000)


def in_order(logits, k, unit):
    """What uniform numbers give, from the last class on, by enumeration."""
    subsets, probs = law_of(logits, k)
    alive = np.ones(len(probs), bool)
    taken = np.zeros(logits.size)
    for i in reversed(range(logits.size)):
        with_it = alive & (subsets[:, i] == 1)
        taken[i] = unit[i] < probs[with_it].sum() / probs[alive].sum()
        alive &= subsets[:, i] == taken[i]
    return taken


@modes("eager", "graph")
def test_a_seed_is_a_subset(mode, seed):
    """The same on every backend, by the bits that the others draw from."""
    x = normal((200, CLASSES), seed)
    run = in_mode(
        mode, lambda x: kg.ops.conditional_poisson_subset(x, K, seed=seed)
    )
    unit = reference.uniform(seed, 0, x.size).reshape(x.shape)
    right = [in_order(*pair) for pair in zip(x, [K] * 200, unit, strict=True)]
    np.testing.assert_array_equal(to_numpy(run(tensor(x))), right)


@pytest.mark.parametrize("k", [None, K, *slow(0, 1, CLASSES)])
def test_marginals_and_their_gradient(k, seed):
    """Of every size, none and all too; a sample's gradient is the same."""
    x, upstream = normal((2, 14, CLASSES), seed, "float64")
    x = 2 * x
    sizes = {"k": np.arange(14) % 7, "max_k": 6} if k is None else {"k": k}
    each = np.broadcast_to(sizes["k"], (14,))
    right = [moments(*row) for row in zip(x, each, strict=True)]
    mean = np.array([one for one, _ in right])
    slope = np.array(
        [one @ dy for (_, one), dy in zip(right, upstream, strict=True)]
    )
    for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-13)):
        p, found = gradients(
            lambda x: kg.ops.conditional_poisson_marginals(x, **sizes),
            x.astype(dtype),
            upstream=upstream,
        )
        # The logits too are rounded.
        np.testing.assert_allclose(p, mean, rtol=0, atol=tolerance)
        np.testing.assert_allclose(found, slope, rtol=0, atol=5 * tolerance)
        assert p.dtype == dtype
    y, found = gradients(
        lambda x: kg.ops.conditional_poisson_subset(x, seed=seed, **sizes),
        x,
        upstream=upstream,
    )
    np.testing.assert_array_equal(y.sum(-1), each)
    np.testing.assert_allclose(found, slope, rtol=0, atol=1e-13)


def test_the_gradient_of_a_linear_loss_is_exact(seed):
    """That of its mean, which is enumerated here, by finite differences."""
    x, cost = normal((2, CLASSES), seed, "float64")

    def mean(x):
        subsets, probs = law_of(x, K)
        return probs @ subsets @ cost

    _, found = gradients(
        lambda x: (
            kg.ops.conditional_poisson_subset(x, K, seed=seed) * tensor(cost)
        ),
        x,
    )
    step = 1e-5 * np.eye(CLASSES)
    slope = [(mean(x + s) - mean(x - s)) / 2e-5 for s in step]
    np.testing.assert_allclose(found, slope, rtol=0, atol=1e-9)
    # Of a product of two classes it is not, which is the bias that is stated:
    # its mean is the gradient of the product of their marginals.
    _, found = gradients(
        lambda x: keras.ops.prod(
            kg.ops.conditional_poisson_marginals(x, K)[:2]
        ),
        x,
    )
    subsets, probs = law_of(x, K)
    both = subsets[:, 0] * subsets[:, 1]
    exact = (probs * both) @ subsets - (probs @ both) * (probs @ subsets)
    assert np.abs(found - exact).max() > 1e-3


def test_the_numbers_of_the_docstrings():
    logits = np.log([1.0, 2.0, 4.0])
    _, probs = law_of(logits, 2)
    np.testing.assert_allclose(probs, [0.143, 0.286, 0.571], atol=5e-4)
    other = one_after_another(logits, 2)
    np.testing.assert_allclose(other, [0.105, 0.286, 0.610], atol=5e-4)
    subsets, _ = law_of(logits, 2)
    np.testing.assert_allclose(
        probs @ subsets, [0.429, 0.714, 0.857], atol=5e-4
    )
    np.testing.assert_allclose(
        other @ subsets, [0.390, 0.714, 0.895], atol=5e-4
    )


def test_one_of_all_is_a_softmax(seed):
    x = normal((4, 50), seed, "float64")
    p = to_numpy(kg.ops.conditional_poisson_marginals(x, 1))
    np.testing.assert_allclose(p, reference.softmax(x, 1.0), atol=1e-14)


@pytest.mark.slow
def test_many_classes_of_which_many(seed):
    """By the products that the polynomials are the coefficients of."""
    x = normal((2, 400), seed, "float64")
    for k in (1, 37, 399):
        p = to_numpy(kg.ops.conditional_poisson_marginals(x, k))
        np.testing.assert_allclose(p.sum(-1), k, rtol=1e-12)
        # Without i, and with it: P(N = k and z_i = 1) / P(N = k), of gates
        # whose mean is near k.
        for row, found in zip(x, p, strict=True):
            low, high = -40.0, 40.0
            for _ in range(80):
                middle = (low + high) / 2
                many = (1 / (1 + np.exp(middle - row))).sum() > k
                low, high = (middle, high) if many else (low, middle)
            q = 1 / (1 + np.exp(low - row))
            for i in (0, 123):
                pmf = np.ones(1)
                for one in np.delete(q, i):
                    pmf = np.convolve(pmf, [1 - one, one])
                inside = q[i] * pmf[k - 1]
                outside = (1 - q[i]) * (pmf[k] if k < pmf.size else 0.0)
                right = inside / (inside + outside)
                assert found[i] == pytest.approx(right, rel=1e-10)


@pytest.mark.parametrize("scale", [1e4, 1e30, *slow(1e38)])
def test_logits_of_any_size(scale, seed):
    """Far apart, and near each other far from 0."""
    near = normal((5,), seed)
    apart = np.repeat(np.array([1, 0, -1], "float32") * scale, (3, 4, 3))
    apart = apart.astype("float32")
    drawn = np.clip(normal((10,), seed + 1), -3, 3) * np.float32(scale)
    k = np.arange(11)
    for row in (apart, drawn):
        x = np.tile(row, (11, 1))
        p, slope = gradients(
            lambda x: kg.ops.conditional_poisson_marginals(x, k, max_k=10),
            x,
            upstream=normal(x.shape, seed + 2),
        )
        np.testing.assert_allclose(p.sum(-1), k, rtol=1e-6)
        assert np.isfinite(slope).all()
        y = kg.ops.conditional_poisson_subset(x, k, max_k=10, seed=seed)
        np.testing.assert_array_equal(to_numpy(y).sum(-1), k)
        if row is apart:
            first, last = np.minimum(k, 3) / 3, np.maximum(k - 7, 0) / 3
            tiers = [first, np.clip(k - 3, 0, 4) / 4, last]
            right = np.repeat(np.stack(tiers, 1), (3, 4, 3), axis=1)
            np.testing.assert_allclose(p, right, atol=1e-6)
    # What is added to a row changes nothing, to what its logits are rounded.
    moved = near.astype("float64") + scale
    p = to_numpy(kg.ops.conditional_poisson_marginals(moved[None], 2))
    mean, _ = moments(moved - scale, 2)
    np.testing.assert_allclose(p[0], mean, atol=1e-11 if scale < 1e5 else 1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", *slow("float16")])
def test_half_precision(dtype, seed):
    """Exactly 0 and 1, from float64 within."""
    x = keras.ops.cast(tensor(normal((50, 40), seed)), dtype)
    wide = keras.ops.cast(x, "float32")
    y = kg.ops.conditional_poisson_subset(x, 17, seed=seed)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    right = kg.ops.conditional_poisson_subset(wide, 17, seed=seed)
    np.testing.assert_array_equal(
        to_numpy(keras.ops.cast(y, "float32")), to_numpy(right)
    )
    p = kg.ops.conditional_poisson_marginals(x, 17)
    right = kg.ops.conditional_poisson_marginals(wide, 17)
    np.testing.assert_array_equal(
        to_numpy(keras.ops.cast(p, "float32")),
        to_numpy(keras.ops.cast(keras.ops.cast(right, dtype), "float32")),
    )


MASK = np.array(
    [
        [True, True, False, True, True],
        [False, True, False, True, False],
        [False, False, False, True, False],
        [False, False, False, False, False],
    ]
)


@pytest.mark.parametrize("by", ["mask", "logits"])
def test_forbidden_classes(by, seed):
    """0 and without a gradient, even by an infinite one; rows of few."""
    x, upstream = normal((2, 4, 5), seed)
    upstream = np.where(MASK, upstream, np.inf).astype("float32")
    given = x if by == "mask" else np.where(MASK, x, -np.inf).astype("float32")
    mask = tensor(MASK) if by == "mask" else None
    k, sums = ([2, 2, 1, 2], [2, 2, 1, 0])
    if by == "logits":
        k = [3, 3, 2, 1]
        sums = [3, 2, 1, 0]
    for function in (
        lambda x: kg.ops.conditional_poisson_marginals(
            x, k, max_k=3, class_mask=mask
        ),
        lambda x: kg.ops.conditional_poisson_subset(
            x, k, max_k=3, class_mask=mask, seed=seed
        ),
    ):
        y, slope = gradients(function, given, upstream=upstream)
        np.testing.assert_allclose(y.sum(-1), sums, rtol=1e-6)
        np.testing.assert_array_equal(y[~MASK], 0)
        np.testing.assert_array_equal(slope[~MASK], 0)
        _, covariance = moments(x[0][MASK[0]], sums[0])
        np.testing.assert_allclose(
            slope[0][MASK[0]], covariance @ upstream[0][MASK[0]], atol=1e-5
        )


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_what_is_not_a_number_shows_in_its_row(what, seed):
    x = normal((3, 5), seed)
    x[1, 2] = what
    for function in (
        lambda x: kg.ops.conditional_poisson_marginals(x, 2),
        lambda x: kg.ops.conditional_poisson_subset(x, 2, seed=seed),
    ):
        y, slope = gradients(function, x)
        assert np.isnan(y[1]).all()
        assert np.isnan(slope[1]).all()
        assert np.isfinite(y[[0, 2]]).all()
        assert np.isfinite(slope[[0, 2]]).all()


@pytest.mark.skipif(ALWAYS_KNOWN, reason="known values are an error")
def test_a_k_out_of_range_shows_in_its_row(seed):
    run = in_mode(
        "graph",
        lambda x, k: kg.ops.conditional_poisson_subset(
            x, k, max_k=3, seed=seed
        ),
    )
    k = np.array([3, -1, 4, 0], "int32")
    y = to_numpy(run(tensor(normal((4, 5), seed)), tensor(k)))
    assert np.isnan(y[1:3]).all()
    np.testing.assert_array_equal(y[[0, 3]].sum(-1), [3, 0])


@pytest.mark.parametrize(("axis", "shape"), [(1, (2, 5, 3)), (0, (4,))])
def test_along_any_axis(axis, shape, seed):
    """And with a k for each row."""
    x, upstream = normal((2, *shape), seed, "float64")
    rows = np.moveaxis(x, axis, -1)
    k = np.random.default_rng(seed).integers(0, 4, rows.shape[:-1])
    p, slope = gradients(
        lambda x: kg.ops.conditional_poisson_marginals(
            x, tensor(k), max_k=3, axis=axis
        ),
        x,
        upstream=upstream,
    )
    p, slope = np.moveaxis(p, axis, -1), np.moveaxis(slope, axis, -1)
    upstream = np.moveaxis(upstream, axis, -1)
    for at in np.ndindex(*k.shape):
        mean, covariance = moments(rows[at], k[at])
        np.testing.assert_allclose(p[at], mean, atol=1e-13)
        np.testing.assert_allclose(
            slope[at], covariance @ upstream[at], atol=1e-13
        )
    y = kg.ops.conditional_poisson_subset(x, k, max_k=3, axis=axis, seed=seed)
    np.testing.assert_array_equal(to_numpy(y).sum(axis), k)


def test_a_stream_moves(seed):
    generator = keras.random.SeedGenerator(seed)
    x = np.zeros((50, 10), "float32")
    first, second = (
        to_numpy(kg.ops.conditional_poisson_subset(x, 4, seed=generator))
        for _ in range(2)
    )
    assert not np.array_equal(first, second)


def test_empty_batch():
    x = np.zeros((0, 5), "float32")
    assert kg.ops.conditional_poisson_subset(x, 2).shape == (0, 5)
    assert kg.ops.conditional_poisson_marginals(x, 2).shape == (0, 5)


@pytest.mark.tensorflow
def test_of_sizes_that_only_the_program_knows(seed):
    run = tf.function(
        lambda x, k: kg.ops.conditional_poisson_subset(
            x, k, max_k=3, seed=seed
        ),
        input_signature=[
            tf.TensorSpec([None, None]),
            tf.TensorSpec([None], tf.int32),
        ],
        autograph=False,
    )
    for rows, classes in ((5, 7), (9, 11)):
        x = normal((rows, classes), seed)
        k = (np.arange(rows) % 4).astype("int32")
        unit = reference.uniform(seed, 0, x.size).reshape(x.shape)
        right = [in_order(*one) for one in zip(x, k, unit, strict=True)]
        np.testing.assert_array_equal(run(x, k), right)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_second_derivatives_are_refused():
    x = tf.ones((2, 4))
    for function, name in (
        (kg.ops.conditional_poisson_subset, "conditional_poisson_subset"),
        (kg.ops.conditional_poisson_marginals, "conditional_poisson_marg"),
    ):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(function(x, 2) ** 2)
            first = inner.gradient(loss, x)
        with pytest.raises(LookupError, match=f"{name}.* has first deriv"):
            outer.gradient(first, x)


X = np.zeros((4, 5), "float32")


@pytest.mark.parametrize(
    "function",
    [kg.ops.conditional_poisson_subset, kg.ops.conditional_poisson_marginals],
)
@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"k": -1}, ValueError, "`k` must be at least 0. Received: k=-1"),
        ({"k": 2.0}, TypeError, "`k` must be an integer. Received: k=2.0"),
        (
            {"k": 6},
            ValueError,
            "`k` must be at most the number of classes. "
            "Received: k=6, logits of shape (4, 5), axis=1",
        ),
        ({"k": np.array([1] * 4)}, TypeError, "there is no `max_k`"),
        ({"k": [4] * 4, "max_k": 3}, ValueError, "between 0 and 3"),
        (
            {"k": 2, "class_mask": MASK},
            ValueError,
            "`class_mask` must allow at least `k` classes in a row, or none. "
            "Received: k=2, and a class_mask of shape (4, 5) in which 1 of 4 "
            "rows allow fewer, the first 1",
        ),
        ({"k": 2, "axis": 2}, ValueError, "`axis` must be in [-2, 2)"),
        ({"k": 1, "logits": X > 0}, TypeError, "must be a float"),
    ],
)
def test_messages(function, kwargs, error, message):
    with pytest.raises(error) as caught:
        function(**{"logits": X, **kwargs})
    assert message in str(caught.value)
