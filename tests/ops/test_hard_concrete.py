"""`hard_concrete`: law, value under known noise, gradient, edges, errors."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import reference, statistics
from tests.conformance.registry import as_array
from tests.frameworks import tf
from tests.harness import dtype_of, value_and_grad
from tests.keras_harness import restart
from tests.statistics import FALSE_FAIL_RATE

STRETCH = (-0.1, 1.1)
SHAPE = (7, 5)
N = 2**19


def logit(u):
    return np.log(u) - np.log1p(-np.asarray(u, "float64"))


def gates(x, temperature, stretch=STRETCH):
    """Of perturbed locations, in float64; without noise eq. 13 of the paper."""
    low, high = stretch
    s = reference.logistic_cdf(np.asarray(x, "float64") / temperature)
    return np.clip(s * (high - low) + low, 0, 1)


def logistic(shape, seed):
    """The noise behind an integer seed, in float64."""
    bits = reference.random_bits(seed, 0, int(np.prod(shape)))
    t = ((bits << np.uint64(1)).astype("float64") + 0.5) / 2.0**65
    size = np.log1p(-t) - np.log(t)
    return np.where(bits >> np.uint64(63), -size, size).reshape(shape)


def normal(shape, seed, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# ---------------------------------------------------------------------------
# The law. Each assertion fails by chance at a rate of 1e-6.
# ---------------------------------------------------------------------------

SETTINGS = [
    # Log alpha, temperature, stretch, noise scale.
    (0.0, 2 / 3, STRETCH, 1.0),
    (-1.5, 0.3, (-0.25, 1.5), 1.0),
    (0.7, 1.5, STRETCH, 0.5),
]


def check_law(sampler, setting, seed):
    """The atoms at 0 and 1, the density between, and nothing shared by rows.

    Detected: a rate of an atom 1.4 % off, a CDF between them 0.01 off.
    """
    log_alpha, temperature, (low, high), scale = setting

    def cdf(c):
        x = temperature * logit((c - low) / (high - low))
        return reference.logistic_cdf((x - log_alpha) / scale)

    z = np.asarray(sampler(np.full(N, log_alpha, "float32"), setting, seed))
    assert np.all((z >= 0) & (z <= 1)), "not in [0, 1]"
    for atom, prob in ((0, cdf(0.0)), (1, 1 - cdf(1.0))):
        p = statistics.binomial_p(int(np.sum(z == atom)), N, prob)
        assert p > FALSE_FAIL_RATE, f"the rate of {atom}"
    inside = z[(z > 0) & (z < 1)]

    def between(c):
        return (cdf(c) - cdf(0.0)) / (cdf(1.0) - cdf(0.0))

    assert statistics.ks_p(inside, between) > FALSE_FAIL_RATE, "between"
    p = statistics.correlation_p(z[0::2], z[1::2])
    assert p > FALSE_FAIL_RATE, "one gate tells of the next"


def ours(log_alpha, setting, seed):
    _, temperature, stretch, scale = setting
    return kg.ops.hard_concrete(
        log_alpha, temperature, stretch=stretch, noise_scale=scale, seed=seed
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_law(setting, seed):
    check_law(ours, setting, seed)


def wrong(noise=None, temperature=1.0, stretch=STRETCH, each=1, eps=0.0):
    """A sampler in NumPy, with one thing wrong."""

    def sampler(log_alpha, setting, seed):
        rng = np.random.default_rng(seed)
        u = rng.uniform(eps, 1 - eps, size=log_alpha.size // each)
        drawn = logit(u) if noise is None else noise(rng, u.size)
        x = log_alpha + np.repeat(drawn, each)
        return gates(x, setting[1] * temperature, stretch)

    return sampler


PLANTED = {
    "gaussian": wrong(lambda rng, n: rng.normal(size=n)),
    "gaussian of the same variance": wrong(
        lambda rng, n: rng.normal(size=n) * np.pi / np.sqrt(3)
    ),
    "gumbel": wrong(lambda rng, n: rng.gumbel(size=n)),
    "shifted temperature": wrong(temperature=1.05),
    "no stretch": wrong(stretch=(0.0, 1.0)),
    "lopsided stretch": wrong(stretch=(-0.1, 1.11)),
    "shared by two": wrong(each=2),
    "clipped noise": wrong(eps=0.02),
}


def test_the_check_passes_what_is_right(seed):
    check_law(wrong(), SETTINGS[0], seed)


@pytest.mark.parametrize("name", PLANTED)
def test_the_check_can_fail(name, seed):
    with pytest.raises(AssertionError):
        check_law(PLANTED[name], SETTINGS[0], seed)


# ---------------------------------------------------------------------------
# Values and gradients under known noise.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-13)]
)
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_value(dtype, tolerance, scale, seed):
    log_alpha = normal(SHAPE, seed, dtype)
    z = kg.ops.hard_concrete(log_alpha, 0.75, noise_scale=scale, seed=seed)
    expected = gates(log_alpha + scale * logistic(SHAPE, seed), 0.75)
    assert dtype_of(z) == dtype
    np.testing.assert_allclose(z, expected, rtol=0, atol=tolerance)


def gradients(log_alpha, temperature, upstream, seed, **options):
    z, found = value_and_grad(
        lambda x, tau: kg.ops.hard_concrete(x, tau, seed=seed, **options),
        log_alpha,
        temperature,
        upstream=upstream,
    )
    return as_array(z), *map(as_array, found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_is_that_of_the_sample(dtype, seed):
    """By differences in float64, under the same noise."""
    log_alpha = normal(SHAPE, seed, dtype)
    temperature = np.linspace(0.3, 2, SHAPE[0])[:, None].astype(dtype)
    upstream, x = normal(SHAPE, seed + 1), log_alpha + logistic(SHAPE, seed)
    z, d_log_alpha, d_temperature = gradients(
        log_alpha, temperature, upstream, seed
    )
    step, tau = 1e-6, temperature.astype("float64")

    def slope(dx, dt):
        up = gates(x + dx * step, tau + dt * step)
        down = gates(x - dx * step, tau - dt * step)
        return upstream * (up - down) / (2 * step)

    np.testing.assert_allclose(d_log_alpha, slope(1, 0), atol=1e-5)
    np.testing.assert_allclose(
        d_temperature, slope(0, 1).sum(1, keepdims=True), atol=2e-5
    )
    clipped = (z == 0) | (z == 1)
    assert 0 < clipped.sum() < clipped.size
    np.testing.assert_array_equal(d_log_alpha[clipped], 0)
    assert np.all(d_log_alpha[~clipped] != 0)


@pytest.mark.tensorflow
def test_the_second_derivative(seed):
    log_alpha = tf.constant(normal(SHAPE, seed, "float64"))

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = kg.ops.hard_concrete(x, seed=seed)
        return tape.gradient(z, x)

    with tf.GradientTape() as tape:
        tape.watch(log_alpha)
        first = slope(log_alpha)
    second = tape.gradient(first, log_alpha)
    by_steps = (slope(log_alpha + 1e-5) - slope(log_alpha - 1e-5)) / 2e-5
    assert np.abs(second).max() > 0.01
    np.testing.assert_allclose(second, by_steps, atol=1e-6)


# ---------------------------------------------------------------------------
# Edges.
# ---------------------------------------------------------------------------


def test_forbidden_gates_are_closed_and_learn_nothing(seed):
    mask = np.array([True, False, True, True, False])
    rows = np.arange(SHAPE[0])[:, None] != 2
    log_alpha = np.full(SHAPE, 3.0, "float32")
    log_alpha[0, 1] = np.nan
    free = gradients(log_alpha, 0.75, np.ones(SHAPE), seed)
    masked = gradients(
        log_alpha, 0.75, np.ones(SHAPE), seed, class_mask=mask & rows
    )
    by_logits = gradients(
        np.where(mask & rows, log_alpha, np.float32("-inf")),
        0.75,
        np.ones(SHAPE),
        seed,
    )
    for found, other, plain in zip(
        masked[:2], by_logits[:2], free[:2], strict=True
    ):
        np.testing.assert_array_equal(found, np.where(mask & rows, plain, 0))
        np.testing.assert_array_equal(found, other)
    assert masked[0].max() == 1
    assert np.isfinite(masked[2])


def test_nan_shows_and_plus_infinity_is_open(seed):
    log_alpha = normal(SHAPE, seed)
    log_alpha[2, 1], log_alpha[3, 0] = np.nan, np.inf
    z, slope, _ = gradients(log_alpha, 0.75, np.ones(SHAPE), seed)
    for found in (z, slope):
        assert np.isnan(found[2, 1])
        assert np.isnan(found).sum() == 1
    assert z[3, 0] == 1
    assert slope[3, 0] == 0


def test_extreme_temperatures_are_finite(seed):
    log_alpha = 100 * normal(SHAPE, seed)
    for temperature in (1e-6, 1e6):
        found = gradients(
            log_alpha, np.float32(temperature), np.ones(SHAPE), seed
        )
        assert all(np.isfinite(one).all() for one in found)
    # Hot gates are all half open, cold ones 0 or 1.
    np.testing.assert_allclose(found[0], 0.5, atol=1e-3)
    cold = kg.ops.hard_concrete(log_alpha, 1e-6, seed=seed)
    assert np.isin(cold, (0, 1)).all()


@pytest.mark.tensorflow
def test_a_temperature_that_only_the_program_knows_to_be_wrong(seed):
    @tf.function(autograph=False)
    def call(temperature):
        with tf.GradientTape() as tape:
            x = tf.constant(np.zeros(SHAPE, "float32"))
            tape.watch(x)
            z = kg.ops.hard_concrete(x, temperature, seed=seed)
        return z, tape.gradient(z, x)

    for bad in (0.0, -1.0):
        for found in call(tf.constant(bad)):
            assert np.isnan(found).all()


def test_without_noise_it_is_the_formula(seed):
    log_alpha = 3 * normal(SHAPE, seed)
    z = kg.ops.hard_concrete(log_alpha, 0.75, noise_scale=0.0)
    np.testing.assert_allclose(z, gates(log_alpha, 0.75), atol=1e-6)


def test_seeds():
    log_alpha = np.zeros(SHAPE, "float32")

    def draw(seed):
        return as_array(kg.ops.hard_concrete(log_alpha, seed=seed))

    np.testing.assert_array_equal(draw(3), draw(3))
    generator = keras.random.SeedGenerator(3)
    first, second = draw(generator), draw(generator)
    np.testing.assert_array_equal(first, draw(3))
    assert not np.array_equal(first, second)
    assert not np.array_equal(draw(None), draw(None))
    restart(1)
    fresh = draw(None)
    restart(1)
    np.testing.assert_array_equal(draw(None), fresh)


@pytest.mark.tensorflow
def test_eager_graph_and_xla_agree_whatever_is_known_of_the_shape(seed):
    log_alpha = normal(SHAPE, seed)
    expected = kg.ops.hard_concrete(log_alpha, seed=seed)
    for shape, jit in ((SHAPE, True), ([None, None], False)):
        spec = [tf.TensorSpec(shape, "float32")]

        @tf.function(input_signature=spec, jit_compile=jit, autograph=False)
        def call(x):
            return kg.ops.hard_concrete(x, seed=seed)

        np.testing.assert_allclose(call(log_alpha), expected, atol=1e-6)


def test_a_gate_alone_and_no_gates(seed):
    z = kg.ops.hard_concrete(0.3, 0.75, seed=seed)
    assert z.shape == ()
    expected = gates(0.3 + logistic((1,), seed), 0.75)
    np.testing.assert_allclose(z, expected[0], atol=1e-6)
    assert kg.ops.hard_concrete(np.zeros((0, 5), "float32")).shape == (0, 5)


# ---------------------------------------------------------------------------
# Errors.
# ---------------------------------------------------------------------------

ZEROS = np.zeros((2, 3), "float32")
STRETCH_ERROR = "`stretch` must be two finite numbers, one below 0 and one"
ERRORS = [
    *(
        ({"stretch": bad}, ValueError, f"{STRETCH_ERROR}.*stretch={shown}")
        for bad, shown in (
            ((0.0, 1.1), r"\(0.0, 1.1\)"),
            ((-0.1, 1.0), r"\(-0.1, 1.0\)"),
            ((-0.1, float("inf")), r"\(-0.1, inf\)"),
            ((float("-inf"), 1.1), r"\(-inf, 1.1\)"),
            ((float("nan"), 1.1), r"\(nan, 1.1\)"),
            ((-0.1, 0.5, 1.1), r"\(-0.1, 0.5, 1.1\)"),
            ((-0.1, "1.1"), r"\(-0.1, '1.1'\)"),
        )
    ),
    ({"stretch": 0.1}, TypeError, "`stretch` must be a sequence"),
    ({"temperature": 0.0}, ValueError, "`temperature` .*temperature=0.0"),
    (
        {"temperature": np.ones((2, 1, 1), "float32")},
        ValueError,
        r"`temperature` must broadcast to the gates. .* \(2, 1, 1\), gates of",
    ),
    (
        {"class_mask": np.ones((2,), bool)},
        ValueError,
        r"`class_mask` must broadcast.* \(2,\), gates of shape \(2, 3\)",
    ),
    (
        {"class_mask": np.ones((3,), "int32")},
        TypeError,
        "`class_mask` must be bool, True where a gate may open. .*int32",
    ),
    ({"noise_scale": -1}, ValueError, "`noise_scale` .*noise_scale=-1"),
    ({"seed": -1}, ValueError, "`seed` .*seed=-1"),
    (
        {"log_alpha": np.zeros(3, "int32")},
        TypeError,
        "`log_alpha` must be a float tensor. Received: .* int32",
    ),
    (
        {"log_alpha": keras.KerasTensor((2, 3))},
        TypeError,
        "`log_alpha` must be a tensor with values",
    ),
]


@pytest.mark.parametrize(("arguments", "exception", "message"), ERRORS)
def test_errors(arguments, exception, message):
    with pytest.raises(exception, match=message):
        kg.ops.hard_concrete(**{"log_alpha": ZEROS, **arguments})


@pytest.mark.tensorflow
def test_an_unknown_rank_is_refused():
    @tf.function(input_signature=[tf.TensorSpec(None, "float32")])
    def call(x):
        return kg.ops.hard_concrete(x)

    with pytest.raises(ValueError, match="`log_alpha` must have a known rank"):
        call(ZEROS)
