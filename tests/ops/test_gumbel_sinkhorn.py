"""Soft permutations beside float64, hard ones beside their law and SciPy."""

import itertools

import keras
import numpy as np
import pytest
from scipy import special, stats
from scipy.optimize import linear_sum_assignment

import keras_gumbel as kg
from tests.frameworks import tf
from tests.harness import to_numpy, value_and_grad
from tests.statistics import FALSE_FAIL_RATE, binomial_p
from tests.variants import slow

SHAPE = (3, 5, 5)
INF = np.inf


def soft(x, temperature, iterations=20):
    """The definition in NumPy float64, of perturbed logits.

    With more columns than rows, of a square matrix with rows of zeros.
    """
    x = np.asarray(x, "float64") / temperature
    n, m = x.shape[-2:]
    x = np.concatenate([x, np.zeros((*x.shape[:-2], m - n, m))], -2)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(iterations):
            for axis in (-1, -2):
                log = np.logaddexp.reduce(x, axis, keepdims=True)
                x = np.where(log > -INF, x - log, -INF)
    return np.exp(x[..., :n, :])


def greedy(matrix):
    """The largest entry, then the largest of what is left, and so on."""
    x, result = matrix.copy(), np.zeros(matrix.shape)
    for _ in matrix:
        i, j = np.unravel_index(x.argmax(), x.shape)
        result[i, j], x[i], x[:, j] = 1, -INF, -INF
    return result


def hard(x):
    """The best permutation matrices, by SciPy."""
    result = np.zeros(x.shape)
    flat = result.reshape(-1, *x.shape[-2:])
    for matrix, one in zip(x.reshape(flat.shape), flat, strict=True):
        one[linear_sum_assignment(matrix, maximize=True)] = 1
    return result


def noise(shape, seed):
    return to_numpy(kg.ops.sample_gumbel(shape, seed=seed))


def normal(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def draw(logits, seed, temperature=1.0, **arguments):
    """Of a temperature for each matrix, as all tests have it.

    To others there are other programs, and each takes seconds to compile.
    """
    each = np.empty((*np.shape(logits)[:-2], 1, 1), "float32")
    each[...] = temperature
    return to_numpy(
        kg.ops.gumbel_sinkhorn(logits, each, seed=seed, **arguments)
    )


def gradients(logits, temperature, dy, **arguments):
    """The sample, and the gradients to logits and temperature."""
    y, found = value_and_grad(
        lambda x, tau: kg.ops.gumbel_sinkhorn(x, tau, **arguments),
        logits,
        temperature,
        upstream=dy,
    )
    return [to_numpy(one) for one in (y, *found)]


# What a soft sample is, and how it can go wrong.


def check_soft(sampler, seed):
    """As of the definition, to 1e-5, from the same noise."""
    logits = normal(SHAPE, seed)
    temperature = np.array([0.2, 1.0, 5.0], "float32")[:, None, None]
    x = logits + noise(SHAPE, seed)
    y = sampler(logits, temperature, seed)
    np.testing.assert_allclose(y, soft(x, temperature), atol=1e-5)


def test_a_soft_sample_is_what_it_should_be(seed):
    check_soft(lambda x, t, s: draw(x, s, temperature=t), seed)


def wrong_soft(**change):
    """A sampler with one thing changed, in NumPy."""

    def sample(x, temperature, seed):
        g = noise(x.shape, seed)
        g = change.get("noise", lambda g: g)(g)
        x = change.get("logits", lambda x: x)(x + g)
        return change.get("balance", soft)(x, temperature)

    return sample


@pytest.mark.parametrize(
    "change",
    [
        {"noise": lambda g: g[:, :1]},
        {"noise": lambda g: 0.99 * g},
        {"balance": lambda x, t: soft(x, t, 19)},
        {"balance": lambda x, t: soft(x, t).swapaxes(1, 2)},
        {
            "balance": lambda x, t: np.swapaxes(
                soft(np.swapaxes(x, 1, 2), t), 1, 2
            )
        },
        {"balance": lambda x, t: special.softmax(x / t, -1)},
        {"balance": lambda x, t: soft(x, 1.0)},
    ],
    ids=[
        "noise shared",
        "noise scaled",
        "an iteration too few",
        "transposed",
        "columns first",
        "rows only",
        "temperature",
    ],
)
def test_the_check_of_soft_samples_can_fail(change, seed):
    check_soft(wrong_soft(), seed)
    with pytest.raises(AssertionError):
        check_soft(wrong_soft(**change), seed)


def test_columns_sum_to_one_and_rows_the_nearer_the_more_iterations(seed):
    logits = normal(SHAPE, seed)
    off = []
    for iterations in (20, 200):
        y = draw(logits, seed, temperature=0.5, num_iterations=iterations)
        np.testing.assert_allclose(y.sum(-2), 1, atol=1e-6)
        off.append(np.abs(y.sum(-1) - 1).max())
    assert off[1] < off[0] / 10
    assert off[1] < 1e-4


@pytest.mark.slow
def test_cold_and_patient_it_is_the_hard_sample(seed):
    logits = normal((20, 5, 5), seed)
    x = logits + noise(logits.shape, seed)
    every = np.array(list(itertools.permutations(range(5))))
    sums = np.sort(x[:, np.arange(5), every].sum(-1), -1)
    clear = sums[:, -1] - sums[:, -2] > 0.5
    assert clear.sum() > 5
    y = draw(logits, seed, temperature=0.05, num_iterations=2000)
    z = draw(logits, seed, hard=True)
    np.testing.assert_allclose(y[clear], z[clear], atol=0.05)


def test_a_hard_sample_is_the_best_permutation_of_the_same_noise(seed):
    for number in range(seed, seed + 7):
        logits = normal(SHAPE, number)
        expected = hard(logits + noise(SHAPE, number))
        for temperature in (1e-3, 1.0, 1e3):
            y = draw(logits, number, temperature=temperature, hard=True)
            np.testing.assert_array_equal(y, expected)
        quiet = draw(logits, number, hard=True, noise_scale=0.0)
        np.testing.assert_array_equal(quiet, hard(logits))


@pytest.mark.parametrize("is_hard", [True, *slow(False)])
def test_rows_and_columns_in_another_order(is_hard, seed):
    """Without noise: the sample in that order."""
    logits, rng = normal(SHAPE, seed), np.random.default_rng(seed)
    i, j = rng.permutation(5), rng.permutation(5)
    y, z = (
        draw(x, seed, hard=is_hard, noise_scale=0.0)
        for x in (logits, logits[:, i][:, :, j])
    )
    np.testing.assert_allclose(z, y[:, i][:, :, j], atol=1e-6)


# The law of hard samples.


def sum_of_two_logistics_cdf(x):
    """By convolution: e^x (e^x - 1 - x) / (e^x - 1)**2."""
    return np.exp(x) * (np.expm1(x) - x) / np.expm1(x) ** 2


def check_two(sampler, seed, n=200_000):
    """n = 2: the identity if the diagonal, with its noise, sums to more.

    Detected at a rate of 1e-6: a probability that is 0.005 off.
    """
    logits = np.array([[0.3, -0.4], [0.5, 0.2]], "float32")
    gap = logits[0, 0] + logits[1, 1] - logits[0, 1] - logits[1, 0]
    prob = 1 - sum_of_two_logistics_cdf(-float(gap))
    y = sampler(np.tile(logits, (n, 1, 1)), seed)
    count = int(y[:, 0, 0].sum())
    assert binomial_p(count, n, prob) > FALSE_FAIL_RATE, (count / n, prob)


def numbers(y):
    """Each permutation matrix as a number."""
    columns = y.argmax(-1)
    return (columns * 3 ** np.arange(columns.shape[-1])).sum(-1)


def check_three(sampler, seed, n=200_000):
    """n = 3: the frequencies of the six are those of NumPy's own noise.

    Detected at a rate of 1e-6 with n = 2e5: a move of 1 % of the mass.
    """
    logits = np.array([[1.0, 0.0, 0.5], [0.0, 0.3, 0.0], [0.8, 0.0, -0.5]])
    rows = np.tile(logits, (n, 1, 1)).astype("float32")
    g = np.random.default_rng(seed + 1).gumbel(size=(4 * n, 3, 3))
    every = np.array(list(itertools.permutations(range(3))))
    x = (logits + g)[:, np.arange(3), every].sum(-1)
    reference = every[x.argmax(-1)]
    found = numbers(sampler(rows, seed)), numbers(np.eye(3)[reference])
    table = [np.bincount(each, minlength=27) for each in found]
    table = np.array(table)[:, np.sum(table, 0) > 0]
    assert table.shape[1] == 6
    p = stats.chi2_contingency(table).pvalue
    assert p > FALSE_FAIL_RATE, table


# A transposed or greedy sample, which the first does not see, is none of the
# best permutations above.
@pytest.mark.parametrize("check", [check_two, *slow(check_three)])
def test_the_law_of_hard_samples(check, seed):
    check(lambda x, s: draw(x, s, hard=True), seed)


def best_of(x):
    """`hard` for many small matrices, over every permutation."""
    n = x.shape[-1]
    every = np.array(list(itertools.permutations(range(n))))
    return np.eye(n)[every[x[:, np.arange(n), every].sum(-1).argmax(-1)]]


def numpy_noise(x, seed, shape=None):
    return np.random.default_rng(seed).gumbel(size=shape or x.shape)


def by_rows(x, seed):
    shape = (*x.shape[:2], 1)
    return best_of(x + numpy_noise(x, seed, shape))


def by_batch(x, seed):
    return best_of(x + numpy_noise(x, seed, (1, *x.shape[1:])))


def by_normal_noise(x, seed):
    return best_of(x + np.random.default_rng(seed).normal(size=x.shape))


def transposed(x, seed):
    return np.swapaxes(best_of(x + numpy_noise(x, seed)), 1, 2)


def by_greed(x, seed):
    x = x + numpy_noise(x, seed)
    return np.array([greedy(matrix) for matrix in x])


@pytest.mark.parametrize("wrong", [by_rows, by_batch, by_normal_noise])
def test_the_check_of_two_can_fail(wrong, seed):
    check_two(lambda x, s: best_of(x + numpy_noise(x, s)), seed)
    with pytest.raises(AssertionError):
        check_two(wrong, seed)
    with pytest.raises(AssertionError):
        check_three(wrong, seed)


@pytest.mark.parametrize("wrong", [transposed, by_greed])
def test_the_check_of_three_can_fail(wrong, seed):
    with pytest.raises(AssertionError):
        check_three(wrong, seed, n=50_000)


# Gradients.


@pytest.mark.parametrize("dtype", ["float32", *slow("float64")])
def test_gradients_are_those_of_float64_differences(dtype, seed):
    """To logits, and to one temperature a matrix."""
    logits = normal(SHAPE, seed).astype(dtype)
    temperature = np.array([0.3, 1.0, 4.0], dtype)[:, None, None]
    dy = normal(SHAPE, seed + 1)
    g = to_numpy(kg.ops.sample_gumbel(SHAPE, dtype=dtype, seed=seed))
    x = (logits + g).astype("float64")

    def loss(x, temperature):
        return (soft(x, temperature) * dy).sum((-2, -1))

    # A difference in one entry of each matrix at once.
    step, expected = 1e-6, np.zeros(SHAPE)
    exact = temperature.astype("float64")
    for entry in np.ndindex(5, 5):
        e = np.zeros((5, 5))
        e[entry] = step
        up, down = loss(x + e, exact), loss(x - e, exact)
        expected[:, *entry] = (up - down) / (2 * step)
    up, down = (loss(x, exact * (1 + s)) for s in (step, -step))
    d_temperature = (up - down) / (2 * step * exact[:, 0, 0])
    tolerance = {"rtol": 1e-3, "atol": 1e-5}
    if dtype == "float64":
        tolerance = {"rtol": 1e-6, "atol": 1e-8}
    for is_hard in (False, True):
        _, dx, dt = gradients(logits, temperature, dy, hard=is_hard, seed=seed)
        np.testing.assert_allclose(dx, expected, **tolerance)
        np.testing.assert_allclose(dt[:, 0, 0], d_temperature, **tolerance)


@pytest.mark.slow
def test_a_scalar_temperature_gets_the_sum(seed):
    logits, dy = normal(SHAPE, seed), normal(SHAPE, seed + 1)
    _, _, each = gradients(logits, np.ones((3, 1, 1), "f"), dy, seed=seed)
    _, _, one = gradients(logits, np.float32(1), dy, seed=seed)
    assert one == pytest.approx(each.sum(), rel=1e-5)


@pytest.mark.parametrize("scale", [3e38, *slow(1.0, 1e4, 1e30)])
def test_finite_at_every_temperature(scale, seed):
    logits = normal(SHAPE, seed) * np.float32(scale / 4)
    for temperature in (1e-6, 1e-3, 1.0, 1e6):
        tau = np.full((3, 1, 1), temperature, "float32")
        for is_hard in (False, True):
            y, dx, dt = gradients(
                logits, tau, np.ones(SHAPE), hard=is_hard, seed=seed
            )
            assert np.isfinite(y).all()
            assert np.isfinite(dx).all()
            assert np.isfinite(dt).all()
            np.testing.assert_allclose(y.sum(-2), 1, atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_second_derivatives_are_refused():
    """And only they: an outer tape that is not asked is no matter."""
    x = tf.constant(normal(SHAPE, 0))
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = kg.ops.gumbel_sinkhorn(x, seed=1)
            loss = tf.reduce_sum(y**2)
        first = inner.gradient(loss, x)
    assert np.abs(outer.gradient(loss, x)).max() > 0
    with pytest.raises(LookupError, match="gumbel_sinkhorn has first deriv"):
        outer.gradient(first, x)


# Masks, and what is not a number.


def padded(sizes, n=5):
    """For each size m, a mask of the first m rows and columns."""
    inside = np.arange(n) < np.array(sizes)[:, None]
    return inside[:, :, None] & inside[:, None, :]


@pytest.mark.parametrize("is_hard", [True, *slow(False)])
def test_padded_sets(is_hard, seed):
    """A block is a matrix of its own, all else is zeros without gradient."""
    sizes, logits = (3, 5, 0), normal(SHAPE, seed)
    mask, dy = padded(sizes), normal(SHAPE, seed + 1)
    tau = np.full((3, 1, 1), 0.7, "float32")
    y, dx, dt = gradients(
        logits, tau, dy, hard=is_hard, class_mask=mask, seed=seed
    )
    np.testing.assert_array_equal(y[~mask], 0)
    np.testing.assert_array_equal(dx[~mask], 0)
    x = logits + noise(SHAPE, seed)
    assert np.isfinite(dt).all()
    assert dt[2] == 0
    for matrix, one, d, m in zip(x, y, dx, sizes, strict=True):
        block = matrix[None, :m, :m]
        if m == 0:
            continue
        expected = hard(block) if is_hard else soft(block, 0.7)
        np.testing.assert_allclose(one[:m, :m], expected[0], atol=1e-5)
        assert np.abs(d[:m, :m]).max() > 1e-3
    by_logits = gradients(
        np.where(mask, logits, -INF), tau, dy, hard=is_hard, seed=seed
    )
    for a, b in zip((y, dx, dt), by_logits, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("is_hard", [True, *slow(False)])
def test_pairs_that_hold_no_permutation(is_hard, seed):
    """Two rows have one column between them."""
    mask = np.ones((5, 5), bool)
    mask[:2, 1:] = False
    logits, dy = normal(SHAPE, seed), normal(SHAPE, seed + 1)
    tau = np.full((3, 1, 1), 0.7, "float32")
    many = np.tile(mask, (3, 1, 1))
    y, dx, _ = gradients(
        logits, tau, dy, hard=is_hard, class_mask=many, seed=seed
    )
    assert np.isfinite(dx).all()
    for array in (y, dx):
        np.testing.assert_array_equal(array[~many], 0)
    if not is_hard:
        x = np.where(mask, logits + noise(SHAPE, seed), -INF)
        np.testing.assert_allclose(y, soft(x, 0.7), atol=1e-5)
        return
    assert np.isin(y, (0, 1)).all()
    np.testing.assert_array_equal(y.sum((1, 2)), 4)
    np.testing.assert_array_equal(y[:, :2, 0].sum(1), 1)


@pytest.mark.parametrize("is_hard", [True, *slow(False)])
def test_an_infinite_gradient_at_a_forbidden_pair(is_hard, seed):
    """Such as that of log(y) at 0."""
    mask = padded((3, 4, 5))
    dy = np.where(mask, 1.0 * normal(SHAPE, seed), INF)
    _, dx, dt = gradients(
        normal(SHAPE, seed),
        np.ones((3, 1, 1), "float32"),
        dy,
        hard=is_hard,
        class_mask=mask,
        seed=seed,
    )
    assert np.isfinite(dx).all()
    assert np.isfinite(dt).all()


@pytest.mark.parametrize("is_hard", [True, False])
def test_what_is_no_number_spoils_its_matrix_alone(is_hard, seed):
    logits, dy = normal(SHAPE, seed), normal(SHAPE, seed + 1)
    tau = np.full((3, 1, 1), 0.7, "float32")
    clean = gradients(logits, tau, dy, hard=is_hard, seed=seed)
    for bad in (np.nan, INF):
        logits[1, 2, 3] = bad
        found = gradients(logits, tau, dy, hard=is_hard, seed=seed)
        for a, b in zip(found, clean, strict=True):
            assert np.isnan(a[1]).all()
            np.testing.assert_array_equal(a[[0, 2]], b[[0, 2]])


@pytest.mark.tensorflow
@pytest.mark.parametrize("is_hard", [True, *slow(False)])
def test_a_temperature_that_turns_out_wrong(is_hard):
    # The value of a variable is read when the program runs.
    temperature = tf.Variable(-np.ones((3, 1, 1), "float32"))
    x = tf.constant(normal(SHAPE, 0))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = kg.ops.gumbel_sinkhorn(x, temperature, hard=is_hard, seed=1)
    dx = tape.gradient(y, x)
    assert np.isnan(y).all() != is_hard
    assert np.isnan(dx).all()


# Shapes, dtypes and modes.


@pytest.mark.parametrize("is_hard", [False, *slow(True)])
def test_any_batch(is_hard, seed):
    logits = normal((2, 3, 4, 4), seed)
    tau = np.linspace(0.5, 2, 6, dtype="float32").reshape(2, 3, 1, 1)
    here = draw(logits, seed, temperature=tau, hard=is_hard)
    x = logits + noise(logits.shape, seed)
    expected = hard(x) if is_hard else soft(x, tau)
    np.testing.assert_allclose(here, expected, atol=1e-5)
    alone = draw(logits[0, 0], seed, temperature=0.5, hard=is_hard)
    np.testing.assert_allclose(alone, here[0, 0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, *slow(32)])
def test_both_layouts_of_matrices(n, seed):
    """Wide matrices are laid out as they come, narrow ones are not."""
    logits, dy = normal((2, n, n), seed), normal((2, n, n), seed + 1)
    mask = np.random.default_rng(seed).random((n, n)) < 0.8
    tau = np.array([0.5, 2.0])[:, None, None]
    y, dx, dt = gradients(
        logits, tau.astype("f"), dy, class_mask=mask, seed=seed
    )
    x = np.where(mask, logits + noise(logits.shape, seed), -INF)
    np.testing.assert_allclose(y, soft(x, tau), atol=1e-5)
    direction = mask * normal((2, n, n), seed + 2).astype("float64")
    step = 1e-6
    up, down = (
        (soft(np.where(mask, x + s * direction, -INF), tau) * dy).sum((1, 2))
        for s in (step, -step)
    )
    along = (dx * direction).sum((1, 2))
    np.testing.assert_allclose(along, (up - down) / (2 * step), rtol=1e-3)
    up, down = (
        (soft(x, tau * np.float64(1 + s)) * dy).sum((1, 2))
        for s in (step, -step)
    )
    np.testing.assert_allclose(
        dt * tau, ((up - down) / (2 * step))[:, None, None], rtol=2e-3
    )


def test_seeds(seed):
    logits = normal(SHAPE, seed)
    np.testing.assert_array_equal(draw(logits, 3), draw(logits, 3))
    assert not np.array_equal(draw(logits, 3), draw(logits, 4))
    stream = keras.random.SeedGenerator(3)
    first, second = draw(logits, stream), draw(logits, stream)
    np.testing.assert_array_equal(first, draw(logits, 3))
    assert not np.array_equal(first, second)


# What is refused.


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"logits": zeros(3)}, ValueError, r"matrices.*shape \(3,\)"),
        ({"logits": zeros(3, 2)}, ValueError, r"transpose.*shape \(3, 2\)"),
        ({"logits": zeros(2, 0, 0)}, ValueError, r"at least 1.*\(2, 0, 0\)"),
        ({"logits": zeros(2, 2, dtype="int32")}, TypeError, "float tensor"),
        ({"num_iterations": 0}, ValueError, "at least 1.*num_iterations=0"),
        ({"num_iterations": 2.0}, TypeError, "integer.*num_iterations=2.0"),
        ({"num_iterations": True}, TypeError, "integer.*num_iterations=True"),
        ({"temperature": 0.0}, ValueError, "positive.*temperature=0.0"),
        (
            {"temperature": np.ones((2, 1), "float32")},
            ValueError,
            r"one temperature for each matrix.*\(2, 1\).*\(4, 2, 2\)",
        ),
        (
            {"temperature": np.ones((3, 1, 1), "float32")},
            ValueError,
            r"temperature of shape \(3, 1, 1\), logits of shape \(4, 2, 2\)",
        ),
        ({"noise_scale": -1.0}, ValueError, "noise_scale=-1.0"),
        ({"class_mask": zeros(2, 2)}, TypeError, "dtype float32"),
        (
            {"class_mask": zeros(3, 2, dtype=bool)},
            ValueError,
            r"class_mask of shape \(3, 2\), logits of shape \(4, 2, 2\)",
        ),
        ({"seed": -1}, ValueError, "seed=-1"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=f"(?s)`.*{message}"):
        kg.ops.gumbel_sinkhorn(**{"logits": zeros(4, 2, 2), **arguments})
