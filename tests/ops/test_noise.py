"""Gumbel noise: its bits, the transform of every bit pattern, its law."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel import backend, numerics
from keras_gumbel.numerics import noise
from tests import laws, reference, statistics
from tests.frameworks import tf
from tests.harness import ALWAYS_KNOWN, grad, in_mode, modes, to_numpy
from tests.keras_harness import restart
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

DTYPES = ["float16", "bfloat16", "float32", "float64"]

# The largest and the smallest t there can be, by dtype: 2**-65, and the
# number before 1.
SMALLEST = 2.0**-65
LARGEST = {"float32": 1 - 2.0**-24, "float64": 1 - 2.0**-53}


def sample(shape, seed):
    return to_numpy(kg.ops.sample_gumbel(shape, seed=seed))


# ---------------------------------------------------------------------------
# Bits.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        (
            (0xFFFFFFFF, 0xFFFFFFFF),
            (0xFFFFFFFF, 0xFFFFFFFF),
            (0x1CB996FC, 0xBB002BE7),
        ),
        (
            (0x13198A2E, 0x03707344),
            (0x243F6A88, 0x85A308D3),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
)
def test_reference_threefry_gives_the_answers_of_random123(
    key, counter, expected
):
    assert tuple(map(int, reference.threefry2x32(key, counter))) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 17, 2**32 - 1])
@pytest.mark.parametrize("n", [4096, *slow(1, 7)])
def test_unit_is_made_of_threefry_words(dtype, seed, n):
    """(bits + 1/2) / 2**64, to the last digit of the dtype.

    Every bit of float64 is then a bit of Threefry; 53 of them, and the place
    of the first, are seen here.
    """
    draw = backend.compiled(lambda key: numerics.random_unit((n,), key, dtype))
    t = to_numpy(draw(backend.next_key(seed)))
    bits = reference.random_bits(seed, 0, n)
    expected = (bits.astype("longdouble") + 0.5) / 2.0**64
    epsilon = 2 * np.finfo(dtype).eps
    np.testing.assert_allclose(t, expected.astype("float64"), rtol=epsilon)


def test_draws_of_a_generator_are_threefry_words_of_their_count(seed):
    generator = keras.random.SeedGenerator(seed)
    for count in range(3):
        g = kg.ops.sample_gumbel((100,), seed=generator)
        bits = reference.random_bits(seed, count, 100).astype("float64")
        expected = reference.gumbel((bits + 0.5) / 2**64)
        np.testing.assert_allclose(g, expected, rtol=1e-6, atol=1e-6)


@pytest.fixture
def inject(monkeypatch):
    """Replace the generator: words -> what `function(shape)` makes of them."""

    def run(function, words):
        def bits(shape, key, counter, dtype, alg):
            del shape, key, counter
            assert dtype == tf.uint64
            assert alg == tf.random.Algorithm.THREEFRY.value
            return tf.constant(np.array(words, np.uint64))

        generator = "StatelessRandomUniformFullIntV2"
        monkeypatch.setattr(tf.raw_ops, generator, bits)
        return backend.compiled(function)((len(words),)).numpy()

    return run


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unit_of_extreme_words(inject, dtype):
    words = [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 2**33, 2**64 - 1]
    key = backend.next_key(0)
    t = inject(lambda shape: numerics.random_unit(shape, key, dtype), words)
    assert t[0] == SMALLEST
    assert t[-1] == LARGEST[dtype]
    assert np.all(np.diff(t) >= 0)
    exact = [(word + 0.5) / 2**64 for word in words]
    np.testing.assert_allclose(t, exact, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gumbel_of_extreme_words(inject, dtype):
    key = backend.next_key(0)
    g = inject(lambda s: numerics.gumbel(s, key, dtype), [0, 2**64 - 1])
    low = {"float32": -2.811, "float64": -3.603}[dtype]
    np.testing.assert_allclose(g, [45.055, low], atol=1e-3)


# Its kernel is held to the formula in `tests/torch/test_noise.py`.
@pytest.mark.skipif(ALWAYS_KNOWN, reason="a kernel draws, not the formula")
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [("float32", 1e-6, 3e-7), ("float64", 1e-14, 1e-15)],
)
def test_gumbel_against_numpy(monkeypatch, dtype, rtol, atol):
    """Over the whole range of t, dense on the log scale at both ends.

    The absolute part is for the zero of g, at t = 1 - 1/e.
    """
    ends = np.geomspace(SMALLEST, 0.5, 20_000)
    t = np.concatenate(
        [ends, 1 - ends[ends > 2.0**-24], [LARGEST[dtype]]]
    ).astype(dtype)
    monkeypatch.setattr(
        noise, "random_unit", lambda *_: keras.ops.convert_to_tensor(t)
    )
    g = backend.compiled(lambda: numerics.gumbel(t.shape, None, dtype))()
    expected = reference.gumbel(t)
    np.testing.assert_allclose(g, expected, rtol=rtol, atol=atol)


# ---------------------------------------------------------------------------
# Law.
# ---------------------------------------------------------------------------


def test_law(seed):
    laws.check_gumbel(sample, seed, n=4 * 10**6)


def test_law_of_float64(seed):
    def noise(shape, seed):
        return to_numpy(kg.ops.sample_gumbel(shape, dtype="float64", seed=seed))

    laws.check_gumbel(noise, seed)


def test_upper_tail(seed):
    """2**26 draws, each finite: as heavy beyond 10 as it should be."""
    laws.check_gumbel_tail(sample, seed)


def test_range(seed):
    g = sample((2**24,), seed)
    # Nothing is ever below -2.82; that a draw lies beyond 30.5 has a chance
    # of 1e-6, that none is below -2.5 or above 12 of less than 1e-36.
    assert -2.82 < g.min() < -2.5
    assert 12 < g.max() < 30.5


def test_independent(seed):
    laws.check_independent(sample, seed)


@pytest.mark.parametrize(
    ("a", "b"),
    [(0, 1), (17, 17 + 2**16), *slow_rows((17, 18), (0, 2**31))],
)
def test_seeds_are_unrelated(a, b):
    """A correlation of 0.0097 would be seen."""
    u, v = (reference.gumbel_cdf(sample((10**6,), s)) for s in (a, b))
    assert statistics.correlation_p(u, v) > FALSE_FAIL_RATE


# ---------------------------------------------------------------------------
# Types and modes.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_rounded_float32(dtype, seed):
    half = kg.ops.sample_gumbel((10**5,), dtype=dtype, seed=seed)
    full = kg.ops.sample_gumbel((10**5,), seed=seed)
    assert keras.backend.standardize_dtype(half.dtype) == dtype
    assert np.all(np.isfinite(keras.ops.cast(half, "float32")))
    assert np.array_equal(
        keras.ops.cast(half, "float32"),
        keras.ops.cast(keras.ops.cast(full, dtype), "float32"),
    )


def test_float64_is_the_same_noise_with_more_digits(seed):
    wide = to_numpy(kg.ops.sample_gumbel((10**5,), dtype="float64", seed=seed))
    assert wide.dtype == "float64"
    narrow = sample((10**5,), seed)
    assert narrow.dtype == "float32"
    # Float32 has few numbers below 1, where small noise comes from.
    some = wide > -2
    np.testing.assert_allclose(wide[some], narrow[some], rtol=1e-6, atol=1e-5)
    assert not np.array_equal(wide, narrow)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        ("compiled", "float32"),
        ("graph", "float16"),
        *slow_rows(
            *(("compiled", dtype) for dtype in DTYPES if dtype != "float32"),
            *(("graph", dtype) for dtype in DTYPES if dtype != "float16"),
        ),
    ],
)
def test_same_seed_same_bits_in_every_mode(mode, dtype, seed):
    def draw():
        g = kg.ops.sample_gumbel((999, 7), dtype=dtype, seed=seed)
        return keras.ops.cast(g, "float64")

    assert np.array_equal(in_mode(mode, draw)(), draw())


@modes()
def test_golden_values(mode):
    """The contract that a seed is a seed in the next release too."""
    draw = in_mode(mode, lambda: kg.ops.sample_gumbel((4,), seed=17))
    golden = [3.8982148, -0.5946824, -0.63923436, 0.26204994]
    np.testing.assert_allclose(draw(), golden, rtol=1e-6)


# ---------------------------------------------------------------------------
# Seeds.
# ---------------------------------------------------------------------------


def test_integer_seed_repeats(seed):
    assert np.array_equal(sample((100,), seed), sample((100,), seed))
    assert not np.any(sample((100,), seed) == sample((100,), seed + 1))


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint32])
def test_numpy_integer_is_an_integer(kind):
    assert np.array_equal(sample((100,), kind(5)), sample((100,), 5))


@modes()
def test_generator_advances(mode, seed):
    generator = keras.random.SeedGenerator(seed)
    draw = in_mode(mode, lambda: kg.ops.sample_gumbel((100,), seed=generator))
    first, second, third = (to_numpy(draw()) for _ in range(3))
    assert not np.any(first == second)
    assert not np.any(second == third)
    # From the beginning of its stream, which an integer has the first of.
    again = keras.random.SeedGenerator(seed)
    assert np.array_equal(first, sample((100,), again))
    assert np.array_equal(second, sample((100,), again))
    assert np.array_equal(first, sample((100,), seed))


def two(draw):
    return to_numpy(draw()), to_numpy(draw())


def test_no_seed_follows_the_global_one(seed):
    def draw():
        return kg.ops.sample_gumbel((100,))

    keras.utils.set_random_seed(seed)
    first = two(draw)
    assert not np.any(first[0] == first[1])
    restart(seed)
    assert np.array_equal(first, two(draw))
    restart(seed + 1)
    assert not np.any(np.array(first) == np.array(two(draw)))


# Elsewhere Keras refuses its own generator in what is traced.
@pytest.mark.tensorflow
@modes("graph", "compiled")
def test_no_seed_moves_on_in_programs(mode, seed):
    keras.utils.set_random_seed(seed)
    first, second = two(in_mode(mode, lambda: kg.ops.sample_gumbel((100,))))
    assert not np.any(first == second)


@pytest.mark.tensorflow
@modes("compiled")
def test_two_draws_in_one_program_differ(mode):
    def draw():
        return kg.ops.sample_gumbel((100,)), kg.ops.sample_gumbel((100,))

    first, second = to_numpy(in_mode(mode, draw)())
    assert not np.any(first == second)


def test_none_shares_the_stream_of_keras(seed):
    """A draw of Keras's own moves it on, and the other way round."""
    keras.utils.set_random_seed(seed)
    first = sample((100,), None)
    restart(seed)
    keras.random.normal((3,))
    assert not np.any(first == sample((100,), None))


def test_generator_in_a_stateless_scope_of_keras(seed):
    """The same stream; the count goes to the scope and not to the variable."""
    generator = keras.random.SeedGenerator(seed)
    state = generator.state
    with keras.StatelessScope([(state, state.value)]) as scope:
        draws = [sample((100,), generator) for _ in range(2)]
        counted = scope.get_current_value(state)
    assert np.array_equal(counted, [seed, 2])
    assert np.array_equal(state, [seed, 0])
    again = keras.random.SeedGenerator(seed)
    for draw in draws:
        assert np.array_equal(draw, sample((100,), again))


# ---------------------------------------------------------------------------
# Shapes.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(), (0, 3), (2, 3, 4), *slow((1,), (0,), (3, 0))], ids=str
)
@modes("eager")
def test_shapes(mode, shape, seed):
    draw = in_mode(mode, lambda: kg.ops.sample_gumbel(shape, seed=seed))
    g = to_numpy(draw())
    assert g.shape == shape
    # In row-major order, the beginning of one sequence.
    size = int(np.prod(shape))
    np.testing.assert_array_equal(g.ravel(), sample((24,), seed)[:size])


@pytest.mark.tensorflow
def test_kinds_of_shape(seed):
    expected = sample((5, 2), seed)
    for kind in (list, tf.TensorShape, np.array, tf.constant):
        g = kg.ops.sample_gumbel(kind([5, 2]), seed=seed)
        assert np.array_equal(g, expected)


@pytest.mark.tensorflow
@pytest.mark.parametrize("mode", ["graph", *slow("xla")])
def test_dynamic_shape(mode, seed):
    spec = tf.TensorSpec((None, None), "float32")

    @tf.function(
        input_signature=[spec], jit_compile=mode == "xla", autograph=False
    )
    def draw(x):
        return kg.ops.sample_gumbel(tf.shape(x), seed=seed)

    for shape in [(5, 2), (0, 4)]:
        assert np.array_equal(draw(tf.zeros(shape)), sample(shape, seed))


def test_no_gradient_to_the_shape_or_elsewhere(seed):
    def product(x):
        return x * kg.ops.sample_gumbel(x.shape, seed=seed)

    found = grad(product, np.ones(3, "float32"))
    assert np.array_equal(found, sample((3,), seed))
