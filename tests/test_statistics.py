"""The tests are tested: what is wrong is caught, at the numbers used."""

import numpy as np
import pytest
from keras import ops
from scipy import stats

import keras_gumbel as kg
from tests import laws, reference, statistics
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

# ---------------------------------------------------------------------------
# The p-values themselves.
# ---------------------------------------------------------------------------


def test_sample_size_is_that_of_the_dkw_inequality():
    n = statistics.sample_size(0.01)
    bound = np.sqrt(np.log(2 / FALSE_FAIL_RATE) / 2 / n)
    # Half the discrepancy for chance to build up, half to take it down.
    assert 2 * bound == pytest.approx(0.01, rel=1e-4)
    assert statistics.sample_size(0.0054) == pytest.approx(1e6, rel=0.01)
    assert statistics.sample_size(0.001) > statistics.sample_size(0.01)


def test_ks_detects_what_its_docstring_says(seed):
    rng = np.random.default_rng(seed)
    sample = rng.uniform(size=10**6)
    assert statistics.ks_p(sample, lambda x: x) > FALSE_FAIL_RATE
    assert statistics.ks_p(sample, lambda x: x + 0.0054) < FALSE_FAIL_RATE
    # Both one-sided distances count.
    assert statistics.ks_p(sample, lambda x: x - 0.0054) < FALSE_FAIL_RATE


def test_ks_p_is_never_below_the_exact_one(seed):
    sample = np.random.default_rng(seed).uniform(size=1000) ** 1.2
    ours = statistics.ks_p(sample, lambda x: x)
    exact = stats.kstest(sample, "uniform").pvalue
    assert exact <= ours < 1.1 * exact


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_ks_does_not_pass_over_what_is_not_finite(value):
    sample = np.linspace(0, 1, 1000)
    sample[500] = value
    assert statistics.ks_p(sample, lambda x: x) == 0
    assert statistics.ks_two_sample_p(sample, sample) == 0


def test_two_sample_ks_detects_what_its_docstring_says(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(size=(2, 200_000))
    assert statistics.ks_two_sample_p(a, b) > FALSE_FAIL_RATE
    assert statistics.ks_two_sample_p(a, b + 0.017) < FALSE_FAIL_RATE


def test_two_sample_ks_survives_ties():
    a = np.repeat([0.0, 1.0], 500)
    assert statistics.ks_two_sample_p(a, a) == 1


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((1000, 999), id="unequal"),
        pytest.param((457, 457), id="few"),
    ],
)
def test_two_sample_ks_refuses_other_sizes(sizes):
    with pytest.raises(ValueError, match="Two equal sizes"):
        statistics.ks_two_sample_p(*map(np.arange, sizes))


def test_chi_squared_is_that_of_scipy_without_small_cells(seed):
    probs = np.array([0.1, 0.2, 0.7])
    counts = np.random.default_rng(seed).multinomial(10**5, probs)
    ours = statistics.chi_squared_p(counts, probs)
    theirs = stats.chisquare(counts, 10**5 * probs).pvalue
    assert ours == pytest.approx(theirs)


def test_chi_squared_pools_small_cells():
    # 3 cells of 40 make one of 120; 2 of 3 left, one degree of freedom.
    counts = np.array([130, 30, 50, 9790.0])
    probs = np.array([40, 40, 40, 9880.0]) / 10**4
    statistic = (210 - 120) ** 2 / 120 + (9790 - 9880) ** 2 / 9880
    ours = statistics.chi_squared_p(counts, probs)
    assert ours == pytest.approx(stats.chi2.sf(statistic, 1))
    # One small cell takes the next larger one with it.
    counts, probs = np.array([0, 300, 700.0]), np.array([0.05, 0.25, 0.7])
    assert statistics.chi_squared_p(counts, probs) == pytest.approx(1)


def test_chi_squared_sees_the_impossible():
    counts, probs = [1, 10**6, 10**6], [0, 0.5, 0.5]
    assert statistics.chi_squared_p(counts, probs) == 0


def test_chi_squared_refuses_one_cell():
    with pytest.raises(ValueError, match="Too few draws"):
        statistics.chi_squared_p([5, 5], [0.5, 0.5])


def test_chi_squared_detects_what_its_docstring_says(seed):
    probs = np.full(8, 1 / 8)
    wrong = probs * np.repeat([1.011, 0.989], 4)
    draw = np.random.default_rng(seed).multinomial
    right = statistics.chi_squared_p(draw(10**6, probs), probs)
    assert right > FALSE_FAIL_RATE
    assert statistics.chi_squared_p(draw(10**6, wrong), probs) < FALSE_FAIL_RATE


@pytest.mark.parametrize("count", [0, 3, 10, 40])
def test_binomial_p_against_its_own_sum(count):
    n, prob = 100, 0.1
    pmf = stats.binom.pmf(np.arange(n + 1), n, prob)
    tails = pmf[: count + 1].sum(), pmf[count:].sum()
    expected = min(1, 2 * min(tails))
    assert statistics.binomial_p(count, n, prob) == pytest.approx(expected)


def test_poisson_excess_p():
    assert statistics.poisson_excess_p(0, 0.1) == 1
    assert statistics.poisson_excess_p(1, 0.1) == pytest.approx(-np.expm1(-0.1))
    assert statistics.poisson_excess_p(6, 0.14) < FALSE_FAIL_RATE


def test_mean_vector_detects_what_its_docstring_says(seed):
    """Five coordinates that sum to 0: four free directions."""
    sample = np.random.default_rng(seed).exponential(size=(20_000, 5)) - 1
    sample -= sample.mean(1, keepdims=True)
    off = np.array([1.0, -1.0, 0, 0, 0]) * 0.074 / np.sqrt(2)
    assert statistics.mean_vector_p(sample, np.zeros(5)) > FALSE_FAIL_RATE
    assert statistics.mean_vector_p(sample, off) < FALSE_FAIL_RATE
    # Where nothing varies, nothing may be off.
    assert statistics.mean_vector_p(sample, np.full(5, 1e-3)) == 0


def test_z_and_correlation_detect_what_they_say(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 10**6))
    assert statistics.z_p(a, 0, 1) > FALSE_FAIL_RATE
    assert statistics.z_p(a + 0.0097, 0, 1) < FALSE_FAIL_RATE
    assert statistics.correlation_p(a, b) > FALSE_FAIL_RATE
    assert statistics.correlation_p(a, b + 0.0097 * a) < FALSE_FAIL_RATE


# ---------------------------------------------------------------------------
# The checks: what passes, and what each planted bug is caught by.
# ---------------------------------------------------------------------------


def _uniform(shape, seed):
    u = np.random.default_rng(seed).random(shape, dtype="float32")
    return np.maximum(u, 2.0**-24)


def _gumbel(shape, seed):
    """Right, and none of the package's."""
    return -np.log(-np.log(np.random.default_rng(seed).random(shape)))


def _normal(shape, seed):
    g = np.random.default_rng(seed).normal(size=shape)
    return laws.EULER + g * np.pi / np.sqrt(6)


def _one_row_shared(shape, seed):
    return np.broadcast_to(_gumbel((1, *shape[1:]), seed), shape)


def _two_rows_shared(shape, seed):
    g = _gumbel((shape[0] // 2, *shape[1:]), seed)
    return np.repeat(g, 2, axis=0)


def _one_seed(shape, seed):
    del seed
    return _gumbel(shape, 0)


def _eps_in_the_logs(shape, seed):
    return -np.log(-np.log(_uniform(shape, seed) + 1e-2) + 1e-2)


def _gumbel_min(shape, seed):
    return -_gumbel(shape, seed)


def _float16_uniform(shape, seed):
    u = _uniform(shape, seed).astype("float16")
    u = np.clip(u, np.float16(2**-14), np.float16(1 - 2**-11))
    return -np.log(-np.log(u.astype("float32")))


def _bits_23(shape, seed):
    """As of TensorFlow's float32 uniforms: multiples of 2**-23."""
    bits = np.random.default_rng(seed).integers(
        0, 2**23, size=shape, dtype="uint32"
    )
    u = (bits.astype("float32") + np.float32(0.5)) * np.float32(2.0**-23)
    return -np.log(-np.log(u))


def _infinite(shape, seed):
    g = _gumbel(shape, seed)
    g.flat[12345] = np.inf
    return g


def _package_noise(shape, seed):
    return np.asarray(kg.ops.sample_gumbel(shape, seed=seed))


@pytest.mark.parametrize("noise", [_package_noise, *slow(_gumbel)])
@pytest.mark.parametrize(
    "check",
    [laws.check_gumbel, laws.check_gumbel_tail, laws.check_independent],
)
def test_right_noise_passes(check, noise, seed):
    check(noise, seed)


@pytest.mark.parametrize(
    ("check", "noise"),
    [
        (laws.check_gumbel, _normal),
        (laws.check_gumbel, _eps_in_the_logs),
        (laws.check_gumbel, _infinite),
        (laws.check_gumbel_tail, _bits_23),
        (laws.check_gumbel_tail, _infinite),
        (laws.check_independent, _one_row_shared),
        (laws.check_independent, _two_rows_shared),
        (laws.check_independent, _one_seed),
        *slow_rows(
            (laws.check_gumbel, _gumbel_min),
            (laws.check_gumbel_tail, _normal),
            (laws.check_gumbel_tail, _float16_uniform),
        ),
    ],
)
def test_wrong_noise_is_caught(check, noise, seed):
    with pytest.raises(AssertionError):
        check(noise, seed)


def _soft(noise):
    def sampler(logits, temperature, seed):
        x = logits + noise(logits.shape, seed)
        return reference.softmax(x, temperature)

    return sampler


def _temperature_before_noise(logits, temperature, seed):
    g = _gumbel(logits.shape, seed)
    return reference.softmax(logits / temperature + g, 1.0)


def _inverse_temperature(logits, temperature, seed):
    g = _gumbel(logits.shape, seed)
    return reference.softmax((logits + g) * temperature, 1.0)


def _package_soft(logits, temperature, seed):
    return kg.ops.gumbel_softmax(logits, temperature, seed=seed)


def _package_hard(logits, temperature, seed):
    return kg.ops.gumbel_softmax(logits, temperature, hard=True, seed=seed)


@pytest.mark.parametrize("sampler", [_package_soft, *slow(_soft(_gumbel))])
@pytest.mark.parametrize("temperature", [0.5, *slow(2.0)])
@pytest.mark.parametrize(
    "check", [laws.check_categorical, laws.check_logistic_contrast]
)
def test_right_sampler_passes(check, temperature, sampler, seed):
    check(sampler, seed, temperature)


@pytest.mark.parametrize("temperature", [0.5, *slow(2.0)])
@pytest.mark.parametrize(
    ("check", "sampler"),
    [
        (laws.check_categorical, _soft(_normal)),
        (laws.check_categorical, _soft(_two_rows_shared)),
        (laws.check_categorical, _temperature_before_noise),
        *slow_rows(
            (laws.check_categorical, _soft(_one_row_shared)),
            (laws.check_categorical, _soft(_gumbel_min)),
            (laws.check_logistic_contrast, _soft(_normal)),
            (laws.check_logistic_contrast, _soft(_one_row_shared)),
        ),
        # Near the top, eps scales -log(u): the winners hardly change, and
        # the chi-squared would need 4e6 draws.
        (laws.check_logistic_contrast, _soft(_eps_in_the_logs)),
        (laws.check_logistic_contrast, _temperature_before_noise),
        (laws.check_logistic_contrast, _inverse_temperature),
    ],
)
def test_wrong_sampler_is_caught(check, sampler, temperature, seed):
    with pytest.raises(AssertionError):
        check(sampler, seed, temperature)


def _harden(logits, temperature, seed):
    """The value and surrogate of which straight-through is made."""
    x = logits + kg.ops.sample_gumbel(logits.shape, seed=seed)
    soft = ops.softmax(x / temperature)
    return ops.one_hot(ops.argmax(x, -1), x.shape[-1]), soft


def _right_straight_through(logits, temperature, seed):
    hard, soft = _harden(logits, temperature, seed)
    return ops.stop_gradient(hard - soft) + soft


def _inverted_straight_through(logits, temperature, seed):
    hard, soft = _harden(logits, temperature, seed)
    return hard + ops.stop_gradient(soft - hard)


def _no_straight_through(logits, temperature, seed):
    return _harden(logits, temperature, seed)[0]


def _gradient_without_temperature(logits, temperature, seed):
    _, soft = _harden(logits, temperature, seed)
    return soft * temperature + ops.stop_gradient(soft * (1 - temperature))


@pytest.mark.parametrize("sampler", [_right_straight_through, _package_hard])
def test_right_one_hot_passes(sampler, seed):
    laws.check_one_hot(sampler, seed)


@pytest.mark.parametrize("sampler", [_inverted_straight_through, _package_soft])
def test_wrong_one_hot_is_caught(sampler, seed):
    with pytest.raises(AssertionError):
        laws.check_one_hot(sampler, seed)


@pytest.mark.parametrize(
    "sampler", [_right_straight_through, _package_hard, _package_soft]
)
def test_right_gradient_passes(sampler, seed):
    laws.check_soft_gradient(sampler, seed)


@pytest.mark.parametrize(
    "sampler",
    [
        _inverted_straight_through,
        _no_straight_through,
        _gradient_without_temperature,
    ],
)
def test_wrong_gradient_is_caught(sampler, seed):
    with pytest.raises(AssertionError):
        laws.check_soft_gradient(sampler, seed)
