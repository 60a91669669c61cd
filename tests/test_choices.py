"""A class by inverting its distribution: exact, down to the rarest."""

import functools
from unittest import mock

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel import backend, numerics
from keras_gumbel.numerics import Draw, categorical
from tests import reference, statistics
from tests.frameworks import tf
from tests.harness import tensor, to_numpy
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

# In one run; in runs of a divisor; padded; in runs of runs, padded twice.
SIZES = [65, 1024, *slow(1, 7, 64, 509, 10007)]
# As many in most tests, which then share a program.
ROWS = 200
BELOW_ONE = 1 - 2.0**-53


def sample(logits, noise_scale=1.0, axis=-1, seed=0, first_row=0):
    axis %= logits.ndim
    run = program(axis, first_row, logits.shape)
    scale = tensor(noise_scale, logits.dtype.name)
    return to_numpy(run(tensor(logits), scale, backend.next_key(seed)))


@functools.cache
def program(axis, first_row, shape):
    """One of each shape: a second one would make the sizes unknown."""
    del shape

    @backend.compiled
    def run(logits, noise_scale, key):
        draw = Draw(lambda: logits, noise_scale, key, axis, first_row)
        return categorical.sample(draw)

    return run


def sample_at(u, logits):
    """The choice in each row, where the uniform number is `u`."""
    choice = program_at(logits.shape)(tensor(logits), tensor(u, "float64"))
    return to_numpy(choice)[..., 0]


@functools.cache
def program_at(shape):
    del shape

    @backend.compiled
    def run(logits, u):
        one = keras.ops.ones((), logits.dtype)
        draw = Draw(lambda: logits, one, backend.next_key(0), 1)
        with mock.patch.object(
            numerics, "random_unit", return_value=u[:, None]
        ):
            return categorical.sample(draw)

    return run


def inverse(logits, u, noise_scale=1.0):
    """The choice, and how near the threshold is to another, in float64."""
    p = reference.softmax(logits, noise_scale)
    sums = np.cumsum(p, -1)
    place = (sums <= u[:, None] * sums[:, -1:]).sum(-1)
    return place, np.abs(sums - u[:, None]).min(-1)


@pytest.mark.parametrize(
    ("dtype", "noise_scale"), [("float32", 0.5), *slow_rows(("float64", 0.5))]
)
@pytest.mark.parametrize("size", SIZES)
def test_is_the_inverse_of_the_cumulative(size, noise_scale, dtype, seed):
    rng = np.random.default_rng(seed)
    logits = (2 * rng.normal(size=(ROWS, size))).astype(dtype)
    u = reference.uniform(seed, 0, ROWS)
    expected, margin = inverse(logits, u, noise_scale)
    found = sample(logits, noise_scale, seed=seed)[:, 0]
    # Where rounding decides, either is right; exp is of the logits' dtype.
    clear = margin > (1e-6 if dtype == "float32" else 1e-13)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found[clear], expected[clear])


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("size", [4289, *slow(3, 64, 100)])
def test_a_rare_class_has_its_interval(size, place):
    """Probability 1e-12 among the others', to four digits of its own."""
    k = {"first": 0, "middle": size // 2, "last": size - 1}[place]
    logits = np.zeros((1, size), "float32")
    logits[0, k] = np.log(1e-12 * (size - 1))
    p = reference.softmax(logits, 1.0)[0]
    assert p[k] == pytest.approx(1e-12, rel=1e-5)
    start = p[:k].sum()
    steps = np.array([-0.01, 0.01, 0.5, 0.99, 1.01])
    u = np.clip(start + steps * p[k], 2.0**-65, BELOW_ONE)
    rows = np.repeat(logits, u.size, axis=0)
    found = sample_at(u, rows) == k
    outside = [place == "first", True, True, True, place == "last"]
    assert found.tolist() == outside


@pytest.mark.parametrize("size", [2, 4289, *slow(100, 64, 1024)])
def test_no_weight_is_never_chosen(size):
    """Whole runs of none, at both ends, and numbers at both ends of (0, 1)."""
    u = np.array([2.0**-65, 0.25, 0.5, 1 - 2.0**-30, BELOW_ONE])
    for allowed in (0, size // 2, size - 1):
        logits = np.full((u.size, size), -np.inf, "float32")
        logits[:, allowed] = -50.0
        logits[:, (allowed + 1) % size] = -50.0 if size > 2 else -np.inf
        found = sample_at(u, logits)
        assert set(found) <= {allowed, (allowed + 1) % size}
        weight = np.take_along_axis(logits, found[:, None], 1)
        assert np.all(weight > -np.inf)


def test_rounding_does_not_leave_a_run(seed):
    """Numbers at the ends of runs, to the last digits: sums differ by order.

    The next run begins with classes that are forbidden.
    """
    rows, size, run = 9000, 1024, 16
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, size))
    logits.reshape(rows, -1, run)[:, :, : run // 2] = -np.inf
    weight = np.exp(logits - logits.max(1, keepdims=True))
    ends = np.cumsum(weight.reshape(rows, -1, run).sum(-1), 1)
    end = ends[np.arange(rows), rng.integers(size // run, size=rows)]
    digits = rng.integers(-4, 5, size=rows) * 2.0**-53
    u = np.minimum(end / ends[:, -1] * (1 + digits), BELOW_ONE)
    found = sample_at(u, logits)
    assert found.max() < size
    assert np.all(np.take_along_axis(logits, found[:, None], 1) > -np.inf)


def test_a_threshold_at_the_end_of_a_run_is_of_the_next():
    """Exactly at it: and the next run begins with forbidden classes."""
    which = np.arange(1, 64)
    logits = np.zeros((which.size, 64, 16), "float32")
    logits[:, :, :8] = -np.inf
    logits = logits.reshape(which.size, 1024)
    found = sample_at(which / 64, logits)
    np.testing.assert_array_equal(found, which * 16 + 8)


def test_less_than_the_smallest_weight_is_never_chosen():
    """exp underflows: such a class is below 1e-38, and counts as none."""
    logits = np.array([[-200.0, 0.0, -200.0]] * 2, "float32")
    found = sample_at(np.array([2.0**-65, BELOW_ONE]), logits)
    assert found.tolist() == [1, 1]


@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_marks_what_is_no_choice(size, noise_scale):
    x = np.full((ROWS, size), -np.inf, "float32")
    x[1, size // 2] = -3e38
    x[2, size - 1] = np.inf
    x[3, 0] = np.nan
    x[4] = np.nan
    choice = sample(x, noise_scale)[:, 0]
    assert choice[:5].tolist() == [size, size // 2, -1, -1, -1]
    assert np.all(choice[5:] == size)


@pytest.mark.parametrize("size", SIZES)
def test_without_noise_it_is_the_first_of_the_likeliest(size, seed):
    x = np.random.default_rng(seed).integers(0, 3, (ROWS, size))
    x = x.astype("float32") * 1e-6
    np.testing.assert_array_equal(sample(x, 0.0)[:, 0], x.argmax(axis=1))


@pytest.mark.parametrize("size", [100, *slow(7)])
@pytest.mark.parametrize("axis", [1, *slow(0, 2)])
def test_along_each_axis(axis, size, seed):
    shape = [2, 3, 4]
    shape[axis] = size
    logits = np.random.default_rng(seed).normal(size=shape).astype("float32")
    last = np.moveaxis(logits, axis, -1)
    expected = np.moveaxis(sample(last, seed=seed), -1, axis)
    np.testing.assert_array_equal(
        sample(logits, axis=axis, seed=seed), expected
    )


def test_a_block_of_rows_continues_the_stream(seed):
    logits = np.random.default_rng(seed).normal(size=(50, 9))
    whole, block = (
        sample(logits, seed=seed),
        sample(logits[20:], seed=seed, first_row=20),
    )
    np.testing.assert_array_equal(block, whole[20:])


@pytest.mark.tensorflow
@pytest.mark.parametrize("size", [65, *slow(5)])
def test_an_unknown_number_of_classes(size, seed):
    logits = np.random.default_rng(seed).normal(size=(40, size))

    @tf.function(jit_compile=True, autograph=False)
    def run(logits):
        key = backend.next_key(seed)
        scale = tf.constant(1.0, "float64")
        return categorical.sample(Draw(lambda: logits, scale, key, 1))

    run = run.get_concrete_function(tf.TensorSpec((None, None), "float64"))
    found = run(tf.constant(logits)).numpy()
    np.testing.assert_array_equal(found, sample(logits, seed=seed))


@pytest.mark.slow
def test_the_law_over_many_classes(seed):
    """Chi-squared, rate 1e-6, 1e6 draws of 1024 classes.

    Detected: sum((q - p)**2 / p) above 5e-4. Planted: a run gone through
    backwards.
    """
    size = 1024
    logits = np.random.default_rng(seed).normal(size=size).astype("float32")
    p = reference.softmax(logits, 1.0)
    rows = np.tile(logits, (10**5, 1))
    counts = np.zeros(size)
    for part in range(10):
        found = kg.ops.sample_argmax_index(
            rows, hard=True, estimator="st", seed=seed + part
        )
        found = to_numpy(found).astype(int)
        counts += np.bincount(found, minlength=size)
    assert statistics.chi_squared_p(counts, p) > FALSE_FAIL_RATE
    wrong = counts.reshape(-1, 16)[:, ::-1].ravel()
    assert statistics.chi_squared_p(wrong, p) < FALSE_FAIL_RATE
