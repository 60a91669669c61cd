"""More columns than rows: relaxed, beside a padded square in float64; hard,
beside SciPy, every matching and the law of the noise."""

import itertools

import keras
import numpy as np
import pytest
from scipy import stats

import keras_gumbel as kg
from tests.frameworks import tf
from tests.harness import in_mode, modes, tensor, to_numpy
from tests.ops.test_gumbel_sinkhorn import (
    INF,
    draw,
    gradients,
    hard,
    noise,
    normal,
    soft,
)
from tests.statistics import FALSE_FAIL_RATE, chi_squared_p
from tests.variants import slow

SHAPE = (3, 3, 5)
TAU = np.array([0.2, 1.0, 5.0], "float32")[:, None, None]
COLD = np.full((3, 1, 1), 0.7, "float32")


# A soft sample.


def check_soft(sampler, seed):
    """As of the square matrix with rows of zeros, to 1e-5."""
    logits = normal(SHAPE, seed)
    y = sampler(logits, TAU, seed)
    expected = soft(logits + noise(SHAPE, seed), TAU)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_a_soft_sample_is_of_a_square_with_rows_of_zeros(seed):
    check_soft(lambda x, t, s: draw(x, s, temperature=t), seed)


def capped(x, temperature, iterations=20):
    """Another relaxation: columns are normalised only where they pass 1."""
    x = x.astype("float64") / temperature
    column = np.zeros((*x.shape[:-2], 1, x.shape[-1]))
    for _ in range(iterations):
        row = np.logaddexp.reduce(x - column, -1, keepdims=True)
        column = np.logaddexp.reduce(x - row, -2, keepdims=True).clip(0)
    return np.exp(x - row - column)


def one_row_of_zeros(x, temperature, iterations=20):
    """One for all columns that stay empty, however many do."""
    n, m = x.shape[-2:]
    zeros = np.zeros((*x.shape[:-2], 1, m))
    x = np.concatenate([x / temperature, zeros], -2).astype("float64")
    for _ in range(iterations):
        for axis in (-1, -2):
            x -= np.logaddexp.reduce(x, axis, keepdims=True)
    return np.exp(x[..., :n, :])


@pytest.mark.parametrize("wrong", [capped, one_row_of_zeros])
def test_the_check_of_soft_samples_can_fail(wrong, seed):
    def sampler(balance):
        return lambda x, t, s: balance(x + noise(x.shape, s), t)

    check_soft(sampler(soft), seed)
    with pytest.raises(AssertionError):
        check_soft(sampler(wrong), seed)


def test_columns_sum_to_at_most_one_and_rows_to_one(seed):
    logits = normal(SHAPE, seed)
    for iterations, off in ((20, 0.1), (200, 0.01)):
        y = draw(logits, seed, temperature=0.5, num_iterations=iterations)
        assert (y.sum(-2) <= 1 + 1e-6).all()
        np.testing.assert_allclose(y.sum(-1), 1, atol=off)


def test_with_many_iterations_it_has_the_largest_sum_and_entropy(seed):
    """Of the matching and of the places that stay empty: to second order.

    No way that keeps the sums of rows leads up.
    """
    x, tau = normal(SHAPE, seed), 2.0
    logits = np.float64(x)
    y = draw(logits, seed, temperature=tau, num_iterations=500, noise_scale=0.0)
    empty = 1 - y.sum(-2, keepdims=True)
    slope = logits - tau * (np.log(y) - np.log(empty))
    # The same in each row: its price.
    slope -= slope.mean(-1, keepdims=True)
    np.testing.assert_allclose(slope, 0, atol=1e-5)
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-7)


@pytest.mark.slow
def test_cold_and_patient_it_is_the_hard_sample(seed):
    logits = normal((20, 3, 5), seed)
    x = logits + noise(logits.shape, seed)
    every = np.array(list(itertools.permutations(range(5), 3)))
    sums = np.sort(x[:, np.arange(3), every].sum(-1), -1)
    clear = sums[:, -1] - sums[:, -2] > 0.5
    assert clear.sum() > 5
    y = draw(logits, seed, temperature=0.05, num_iterations=2000)
    z = draw(logits, seed, hard=True)
    np.testing.assert_allclose(y[clear], z[clear], atol=0.05)


# A hard one.


def test_a_hard_sample_is_the_best_matching_of_the_same_noise(seed):
    for number in range(seed, seed + 7):
        logits = normal(SHAPE, number)
        expected = hard(logits + noise(SHAPE, number))
        for temperature in (1e-3, 1e3):
            y = draw(logits, number, temperature=temperature, hard=True)
            np.testing.assert_array_equal(y, expected)
        quiet = draw(logits, number, hard=True, noise_scale=0.0)
        np.testing.assert_array_equal(quiet, hard(logits))


def test_it_is_that_of_a_square_whose_other_rows_are_forbidden(seed):
    logits = normal((3, 5, 5), seed)
    mask = np.ones((5, 5), bool)
    mask[3:] = False
    expected = draw(logits, seed, hard=True, class_mask=mask)
    # The noise of the first rows of one matrix is that of these alone.
    y = draw(logits[0, :3], seed, hard=True)
    np.testing.assert_array_equal(y, expected[0, :3])


LOGITS = np.array([[1.0, 0.0, 0.3], [0.5, 0.2, -0.4]], "float32")
MATCHINGS = list(itertools.permutations(range(3), 2))


def matchings(y):
    """How often each of the six came."""
    columns = y.argmax(-1)
    return [int((columns == matching).all(-1).sum()) for matching in MATCHINGS]


def by_enumeration(x):
    """The best of the six, as a matrix."""
    every = np.array(MATCHINGS)
    sums = x[..., np.arange(2), every].sum(-1)
    return np.eye(3)[every[sums.argmax(-1)]]


def check_law(sampler, seed, n=200_000):
    """The six are as frequent as with NumPy's own noise, by enumeration.

    Detected at a rate of 1e-6 with n = 2e5: a move of 1 % of the mass.
    """
    rows = np.tile(LOGITS, (n, 1, 1))
    own = np.random.default_rng(seed + 1).gumbel(size=(4 * n, 2, 3))
    table = [matchings(sampler(rows, seed))]
    table.append(matchings(by_enumeration(LOGITS + own)))
    assert np.sum(table[0]) == n
    p = stats.chi2_contingency(table).pvalue
    assert p > FALSE_FAIL_RATE, table


def test_the_law_of_two_rows_and_three_columns(seed):
    check_law(lambda x, s: draw(x, s, hard=True), seed)


def numpy_noise(x, seed, shape=None):
    return np.random.default_rng(seed).gumbel(size=shape or x.shape)


def noise_of_rows(x, seed):
    return by_enumeration(x + numpy_noise(x, seed, (len(x), 2, 1)))


def by_greed(x, seed):
    """The first row chooses first."""
    x = x + numpy_noise(x, seed)
    first = x[:, 0].argmax(-1)
    x[np.arange(len(x)), 1, first] = -INF
    return np.eye(3)[np.stack([first, x[:, 1].argmax(-1)], 1)]


def with_noise_in_empty_places(x, seed):
    """As of a square whose last row is noise, and not all zeros."""
    x = np.concatenate([x, np.zeros_like(x[:, :1])], 1)
    x = x + numpy_noise(x, seed)
    every = np.array(list(itertools.permutations(range(3))))
    best = x[:, np.arange(3), every].sum(-1).argmax(-1)
    return np.eye(3)[every[best]][:, :2]


@pytest.mark.parametrize(
    "wrong", [noise_of_rows, by_greed, with_noise_in_empty_places]
)
def test_the_check_of_the_law_can_fail(wrong, seed):
    check_law(lambda x, s: by_enumeration(x + numpy_noise(x, s)), seed)
    with pytest.raises(AssertionError):
        check_law(wrong, seed)


def test_one_row_is_a_softmax(seed):
    """Detected at a rate of 1e-6: a probability that is 0.006 off."""
    n = 200_000
    logits = np.array([[0.5, 0.0, -1.0, 1.0]], "float32")
    y = draw(np.tile(logits, (n, 1, 1)), seed, hard=True)
    prob = np.exp(logits[0]) / np.exp(logits).sum()
    counts = y.sum((0, 1)).astype(int)
    assert chi_squared_p(counts, prob) > FALSE_FAIL_RATE, counts / n


def test_a_row_far_from_zero_keeps_its_noise(seed):
    """An offset of a row changes no sample; one of a column does."""
    x = normal((8, 3, 5), seed)
    offset = np.array([2.0**27, 0.0, -(2.0**28)], "float32")[:, None]
    x = np.round(x * 4) * 32
    for is_hard in (True, False):
        plain, moved = (
            draw(each, seed, noise_scale=16.0, temperature=400.0, hard=is_hard)
            for each in (x, x + offset)
        )
        np.testing.assert_allclose(moved, plain, atol=2e-5)
    column = np.array([0.0, 2.0**27, 0.0, 0.0, 2.0**27], "float32")
    y = draw(x + column, seed, noise_scale=16.0, hard=True)
    np.testing.assert_array_equal(y[..., [1, 4]].sum(1), 1)


# Gradients.


def test_gradients_are_those_of_float64_differences(seed):
    """To logits, and to one temperature a matrix."""
    logits = normal(SHAPE, seed).astype("float64")
    tau = np.array([0.3, 1.0, 4.0])[:, None, None]
    dy = normal(SHAPE, seed + 1)
    g = to_numpy(kg.ops.sample_gumbel(SHAPE, dtype="float64", seed=seed))
    x = logits + g

    def loss(x, tau):
        return (soft(x, tau) * dy).sum((-2, -1))

    step, expected = 1e-6, np.zeros(SHAPE)
    for entry in np.ndindex(SHAPE[1:]):
        e = np.zeros(SHAPE[1:])
        e[entry] = step
        up, down = loss(x + e, tau), loss(x - e, tau)
        expected[:, *entry] = (up - down) / (2 * step)
    up, down = (loss(x, tau * (1 + s)) for s in (step, -step))
    d_tau = (up - down) / (2 * step * tau[:, 0, 0])
    for is_hard in (False, True):
        _, dx, dt = gradients(logits, tau, dy, hard=is_hard, seed=seed)
        np.testing.assert_allclose(dx, expected, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(dt[:, 0, 0], d_tau, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("m", [40, 33])
def test_wide_matrices_as_they_come(m, seed):
    """Those of more than 32 columns are laid out otherwise."""
    logits, dy = normal((2, 30, m), seed), normal((2, 30, m), seed + 1)
    tau = np.array([0.5, 2.0], "float32")[:, None, None]
    y, dx, _ = gradients(logits, tau, dy, seed=seed)
    x = np.float64(logits + noise(logits.shape, seed))
    np.testing.assert_allclose(y, soft(x, tau), atol=1e-5)
    direction = normal((2, 30, m), seed + 2).astype("float64")
    up, down = (
        (soft(x + s * direction, tau) * dy).sum((1, 2)) for s in (1e-6, -1e-6)
    )
    along = (dx * direction).sum((1, 2))
    np.testing.assert_allclose(along, (up - down) / 2e-6, rtol=1e-3)


# Masks, and what is no number.


@pytest.mark.parametrize("is_hard", [False, *slow(True)])
def test_padding_of_rows_and_of_columns(is_hard, seed):
    """A block is a matrix of its own: as many places of it stay empty."""
    sizes = ((2, 5), (3, 3), (1, 4))
    mask, logits = np.zeros(SHAPE, bool), normal(SHAPE, seed)
    for one, (n, m) in zip(mask, sizes, strict=True):
        one[:n, :m] = True
    dy, x = normal(SHAPE, seed + 1), logits + noise(SHAPE, seed)
    y, dx, dt = gradients(
        logits, COLD, dy, hard=is_hard, class_mask=mask, seed=seed
    )
    np.testing.assert_array_equal(y[~mask], 0)
    np.testing.assert_array_equal(dx[~mask], 0)
    assert np.isfinite(dt).all()
    for one, scores, (n, m) in zip(y, x, sizes, strict=True):
        block = scores[:n, :m]
        expected = hard(block) if is_hard else soft(block, 0.7)
        np.testing.assert_allclose(one[:n, :m], expected, atol=1e-5)
    by_logits = gradients(
        np.where(mask, logits, -INF), COLD, dy, hard=is_hard, seed=seed
    )
    for a, b in zip((y, dx, dt), by_logits, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("is_hard", [False, *slow(True)])
def test_rows_without_a_column_for_each(is_hard, seed):
    """Three rows have two columns between them."""
    mask = np.zeros(SHAPE, bool)
    mask[..., :2] = True
    y, dx, dt = gradients(
        normal(SHAPE, seed),
        COLD,
        normal(SHAPE, seed),
        hard=is_hard,
        class_mask=mask,
        seed=seed,
    )
    for array in (y, dx, dt):
        assert np.isfinite(array).all()
    np.testing.assert_array_equal(y[..., 2:], 0)
    np.testing.assert_allclose(y.sum(-2)[..., :2], 1, atol=1e-6)


@pytest.mark.parametrize("is_hard", [False, *slow(True)])
def test_what_is_no_number_spoils_its_matrix_alone(is_hard, seed):
    logits, dy = normal(SHAPE, seed), normal(SHAPE, seed + 1)
    clean = gradients(logits, COLD, dy, hard=is_hard, seed=seed)
    logits[1, 2, 3] = np.nan
    found = gradients(logits, COLD, dy, hard=is_hard, seed=seed)
    for a, b in zip(found, clean, strict=True):
        assert np.isnan(a[1]).all()
        np.testing.assert_array_equal(a[[0, 2]], b[[0, 2]])


# A mask of Keras, and sizes that are not known.


@pytest.mark.parametrize("n", [3, 5])
@modes("compiled")
def test_a_mask_of_items_is_of_places_if_there_are_as_many(n, mode, seed):
    """Padding of more places is told by `class_mask`; sizes may be unknown."""
    x, real = normal((4, n, 5), seed), np.arange(n) < [[2], [n], [0], [1]]
    layer = kg.GumbelSinkhorn(0.5)
    pairs = np.broadcast_to(real[..., None], x.shape)
    if n == 5:
        pairs = pairs & real[:, None]
    expected = to_numpy(layer(x, class_mask=pairs))

    def call(x, mask):
        return layer(x, mask=mask)

    y = to_numpy(in_mode(mode, call)(tensor(x), tensor(real)))
    np.testing.assert_allclose(y, expected, atol=5e-6)
    np.testing.assert_allclose(y.sum(-1), real, atol=0.02)


@pytest.mark.tensorflow
@pytest.mark.parametrize("n", [5, 3])
def test_a_graph_that_does_not_know_whether_it_is_square(n, seed):
    """Rows that are forbidden, and offsets, mean other things in a square."""
    x, real = normal((4, n, 5), seed), np.arange(n) < [[2], [n], [0], [1]]
    x[0] += 400 * np.arange(5, dtype="float32")
    layer, known = (kg.GumbelSinkhorn(0.5, seed=3) for _ in range(2))
    given = tensor(x), tensor(real), tensor(real[..., None])

    def passes(layer):
        def call(x, mask, class_mask):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, class_mask, training=True, mask=mask)
                loss = tf.reduce_sum(y * tf.cast(tf.range(5), "float32") ** 2)
            return y, tape.gradient(loss, x)

        return call

    expected = in_mode("graph", passes(known))(*given)
    graph = tf.function(
        passes(layer),
        autograph=False,
        input_signature=[
            tf.TensorSpec([None] * 3),
            tf.TensorSpec([None] * 2, "bool"),
            tf.TensorSpec([None] * 3, "bool"),
        ],
    )
    for mine, right in zip(graph(*given), expected, strict=True):
        scale = max(1.0, np.abs(right).max())
        np.testing.assert_allclose(mine, right, rtol=0, atol=8e-6 * scale)


@pytest.mark.slow
def test_half_precision_keeps_the_matching(seed):
    logits = keras.ops.cast(normal(SHAPE, seed), "bfloat16")
    y = kg.ops.gumbel_sinkhorn(logits, hard=True, seed=seed)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    wide = to_numpy(keras.ops.cast(logits, "float32"))
    found = to_numpy(keras.ops.cast(y, "float32"))
    np.testing.assert_array_equal(found, hard(wide + noise(SHAPE, seed)))
