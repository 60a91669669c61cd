"""The laws of a gate, as checks that the right and the wrong pass through.

As in `laws.py`: a *noise* is a function `(shape, seed) -> array`, a *sampler*
`(logits, temperature, seed) -> array` of the shape of the logits, and each
assertion fails by chance at a rate of 1e-6.
"""

import keras
import numpy as np

import keras_gumbel as kg
from tests import reference, statistics
from tests.harness import to_numpy, value_and_grad
from tests.statistics import FALSE_FAIL_RATE

# Probabilities from 0.09 % to 99.9 %.
LOGITS = np.array([0.0, 2.0, -1.0, 7.0, -7.0, 0.5, -2.0, -0.5], "float32")


def check_logistic(noise, seed, n=10**6):
    """Standard logistic, by its CDF and its variance; pi**2 / 3.

    Detected: a CDF 0.0054 off, a variance 0.018 off, relatively.
    """
    x = np.asarray(noise((n,), seed), "float64")
    assert np.all(np.isfinite(x)), "infinite noise"
    assert statistics.ks_p(x, reference.logistic_cdf) > FALSE_FAIL_RATE
    # The kurtosis is 21 / 5, so the square has variance 3.2 v**2.
    variance = np.pi**2 / 3
    p = statistics.z_p(x**2, variance, np.sqrt(3.2) * variance)
    assert p > FALSE_FAIL_RATE


def check_logistic_tails(noise, seed, n=2**24):
    """As many draws beyond 10 and below -10 as there should be: 762 each.

    Detected: a tail 36 % too heavy or too light. Beyond 16.6, where the
    logarithm of a float32 uniform ends, 1 is due and none may be there.
    """
    x = np.asarray(noise((n,), seed))
    prob = reference.sigmoid(-10.0)
    for count in (np.sum(x > 10), np.sum(x < -10)):
        p = statistics.binomial_p(count, n, prob)
        assert p > FALSE_FAIL_RATE, f"{count} draws beyond 10"


def check_bernoulli(sampler, seed, temperature, n=2**18, probs=None):
    """Each of 8 gates is 1 at its rate, and tells nothing of its neighbours.

    n rows. Detected: a rate 0.0095 off at 1/2, 61 % off at 1e-3; a correlation
    of 0.02 of neighbours in a row, or of rows.
    """
    if probs is None:
        probs = reference.sigmoid(LOGITS)
    rows = np.tile(LOGITS, (n, 1))
    sample = np.asarray(sampler(rows, temperature, seed))
    assert np.all(np.isfinite(sample)), "not finite"
    sample = sample > 0.5
    for count, prob in zip(sample.sum(0), probs, strict=True):
        p = statistics.binomial_p(count, n, prob)
        assert p > FALSE_FAIL_RATE, f"{count / n} where {prob} is due"
    first, other = sample[:, 0], sample[:, 5]
    for a, b in [(first, other), (first[1:], first[:-1])]:
        p = statistics.correlation_p(a, b)
        assert p > FALSE_FAIL_RATE, "one gate tells of another"


def check_relaxed(sampler, seed, temperature, n=10**6):
    """temperature * log(y / (1 - y)) - logit is Logistic(0, 1).

    For y soft, in float64, where it ends at 1 - 2**-53: noise above 10 is all
    taken for 10. Detected: a CDF 0.0054 off.
    """
    logits = np.full(n, 0.3)
    y = np.asarray(sampler(logits, temperature, seed), "float64")
    with np.errstate(divide="ignore"):
        noise = temperature * (np.log(y) - np.log1p(-y)) - logits
    ends = np.abs(noise) > 10
    assert np.mean(ends) < 1e-3, "not between 0 and 1"
    noise = np.where(ends, 10 * np.sign(noise), noise)
    assert statistics.ks_p(noise, reference.logistic_cdf) > FALSE_FAIL_RATE


def check_hard(sampler, seed, dtype="float32", temperature=0.7):
    """Exactly 0 and 1, and both. No chance involved."""
    logits = keras.random.normal((1000, 8), seed=seed, dtype=dtype)
    sample = sampler(logits, temperature, seed)
    assert keras.backend.standardize_dtype(sample.dtype) == dtype
    sample = keras.ops.convert_to_numpy(keras.ops.cast(sample, "float64"))
    assert np.all((sample == 0) | (sample == 1)), "neither 0 nor 1"
    assert 0.3 < sample.mean() < 0.7


def check_gradient(sampler, seed, temperature=0.7):
    """That of sigmoid((logits + noise) / temperature), with this seed's noise.

    To 1e-5 of the largest entry, in float64, with random upstream weights.
    For a hard sample: straight-through.
    """
    rng = np.random.default_rng(seed)
    logits, upstream = rng.normal(size=(2, 6, 8)).astype("float32")
    _, (gradient,) = value_and_grad(
        lambda x: sampler(x, temperature, seed), logits, upstream=upstream
    )
    assert np.any(to_numpy(gradient)), "no gradient"
    noise = np.asarray(kg.ops.sample_logistic((6, 8), seed=seed))
    expected, _ = reference.sigmoid_vjp(logits + noise, temperature, upstream)
    np.testing.assert_allclose(
        gradient, expected, atol=1e-5 * np.abs(expected).max()
    )
