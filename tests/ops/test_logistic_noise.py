"""Logistic noise: its bits, the transform of every bit pattern, its law."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel import backend, numerics
from keras_gumbel.numerics import noise as noise_of_bits
from tests import gate_laws, reference, statistics
from tests.frameworks import tf
from tests.harness import (
    ALWAYS_KNOWN,
    dtype_of,
    in_mode,
    modes,
    tensor,
    to_numpy,
)
from tests.statistics import FALSE_FAIL_RATE

# The largest and the smallest t there can be, by dtype.
SMALLEST = 2.0**-66
LARGEST = {"float32": 0.5 - 2.0**-25, "float64": 0.5 - 2.0**-54}


def sample(shape, seed, dtype="float32"):
    return to_numpy(kg.ops.sample_logistic(shape, dtype=dtype, seed=seed))


@pytest.mark.parametrize(
    ("dtype", "atol"), [("float32", 5e-7), ("float64", 1e-14)]
)
def test_is_made_of_threefry_words(dtype, atol, seed):
    """Of a stream's draws, one after the other; an integer has the first."""
    generator = keras.random.SeedGenerator(seed)
    for count in range(3):
        draw = sample((4096,), generator, dtype)
        expected = reference.logistic(seed, count, 4096)
        np.testing.assert_allclose(draw, expected, rtol=3e-7, atol=atol)
        if count == 0:
            np.testing.assert_array_equal(draw, sample((4096,), seed, dtype))


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_of_extreme_words(monkeypatch, dtype):
    """Both tails end at 66 log 2, and small noise is small."""
    words = [0, 2**63 - 1, 2**63, 2**64 - 1]

    def bits(**_):
        return tf.constant(np.array(words, np.uint64))

    monkeypatch.setattr(tf.raw_ops, "StatelessRandomUniformFullIntV2", bits)
    key = backend.next_key(0)
    noise = backend.compiled(lambda: numerics.logistic((4,), key, dtype))()
    largest = 66 * np.log(2)
    np.testing.assert_allclose(noise, [largest, 0, -largest, 0], atol=4e-6)
    assert np.all(np.abs(noise[1::2]) <= 4e-7)


# Its kernel is held to the formula in `tests/torch/test_noise.py`.
@pytest.mark.skipif(ALWAYS_KNOWN, reason="a kernel draws, not the formula")
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [("float32", 2e-7, 4e-7), ("float64", 1e-14, 1e-15)],
)
def test_against_numpy(monkeypatch, dtype, rtol, atol):
    """Over the whole range of t, dense on the log scale at both ends.

    The absolute part is for t near 1/2, where the noise is as fine as t.
    """
    t = np.geomspace(SMALLEST, 0.5, 40_000)
    t = np.concatenate([t[:-1], 0.5 - t[t > 2.0**-24], [LARGEST[dtype]]])
    t = t[(t > 0) & (t < 0.5)].astype(dtype)
    negative = np.arange(t.size) % 2 == 1
    monkeypatch.setattr(
        noise_of_bits,
        "random_half",
        lambda *_: (tensor(t), tensor(negative)),
    )
    noise = backend.compiled(lambda: numerics.logistic(t.shape, None, dtype))()
    exact = np.log1p(-t.astype("float64")) - np.log(t.astype("float64"))
    exact = np.where(negative, -exact, exact)
    np.testing.assert_allclose(noise, exact, rtol=rtol, atol=atol)
    assert np.isfinite(noise).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_half_is_a_uniform_number_and_a_coin(dtype, seed):
    """Of 64 bits: the coin the first of them, t from the others."""
    draw = backend.compiled(lambda k: numerics.random_half((4096,), k, dtype))
    t, coin = map(to_numpy, draw(backend.next_key(seed)))
    bits = reference.random_bits(seed, 0, 4096)
    np.testing.assert_array_equal(coin, bits >> np.uint64(63) == 1)
    rest = (bits & np.uint64(2**63 - 1)).astype("longdouble")
    expected = ((rest + 0.25) / 2.0**64).astype("float64")
    np.testing.assert_allclose(t, expected, rtol=2 * np.finfo(dtype).eps)
    assert t.max() < 0.5


def test_law(seed):
    gate_laws.check_logistic(sample, seed, n=4 * 10**6)


def test_law_of_float64(seed):
    def noise(shape, seed):
        return sample(shape, seed, "float64")

    gate_laws.check_logistic(noise, seed)


def test_tails(seed):
    gate_laws.check_logistic_tails(sample, seed)


def normal(shape, seed):
    """Of the same mean and variance."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * np.pi / np.sqrt(3)


def coarse(shape, seed):
    """From a uniform that is kept 1e-4 from its ends."""
    u = np.random.default_rng(seed).uniform(1e-4, 1 - 1e-4, shape)
    return np.log(u) - np.log1p(-u)


def one_sided(shape, seed):
    """The lower tail of float32 numbers in [0, 1), the upper one cut off."""
    return np.minimum(sample(shape, seed), np.float32(9.0))


@pytest.mark.slow
def test_other_noise_is_caught(seed):
    with pytest.raises(AssertionError):
        gate_laws.check_logistic(normal, seed)
    for noise in (coarse, one_sided):
        # The bulk of it is right.
        gate_laws.check_logistic(noise, seed)
        with pytest.raises(AssertionError, match="beyond 10"):
            gate_laws.check_logistic_tails(noise, seed)


def test_rows_columns_and_seeds_are_independent(seed):
    """A correlation of 0.0097 is seen."""
    u = reference.logistic_cdf(sample((1000, 1000), seed))
    other = reference.logistic_cdf(sample((1000, 1000), seed + 1))
    for a, b in [(u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u, other)]:
        assert statistics.correlation_p(a, b) > FALSE_FAIL_RATE


@modes()
def test_golden_values(mode):
    """The contract that a seed is a seed in the next release too."""
    draw = in_mode(mode, lambda: kg.ops.sample_logistic((4,), seed=17))
    golden = [3.8880589, -0.6778239, -0.62041914, -3.266382]
    np.testing.assert_allclose(draw(), golden, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_rounded_float32(dtype, seed):
    half = kg.ops.sample_logistic((4096,), dtype=dtype, seed=seed)
    assert dtype_of(half) == dtype
    full = kg.ops.sample_logistic((4096,), seed=seed)
    np.testing.assert_array_equal(half, keras.ops.cast(full, dtype))


def test_shapes(seed):
    """In row-major order, the beginning of one sequence."""
    for shape in [(), (0, 3), [2, 3, 4], np.array([3, 2])]:
        draw = sample(shape, seed)
        assert draw.shape == tuple(shape)
        np.testing.assert_array_equal(
            draw.ravel(), sample((24,), seed)[: draw.size]
        )


@pytest.mark.slow
@pytest.mark.tensorflow
def test_an_unknown_shape(seed):
    @tf.function(input_signature=[tf.TensorSpec((None, None), "float32")])
    def of_unknown(x):
        return kg.ops.sample_logistic(tf.shape(x), seed=seed)

    np.testing.assert_array_equal(
        of_unknown(tf.zeros((5, 2))), sample((5, 2), seed)
    )


def test_messages():
    for arguments, exception, message in [
        ({"dtype": "int32"}, ValueError, "`dtype`.*Received: dtype='int32'"),
        ({"seed": -1}, ValueError, "`seed`.*Received: seed=-1"),
        ({"seed": 1.5}, TypeError, "`seed`.*Received: seed=1.5"),
    ]:
        with pytest.raises(exception, match=message):
            kg.ops.sample_logistic((2,), **arguments)
