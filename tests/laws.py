"""The laws of a sample, as checks that the right and the wrong pass through.

A *noise* is a function `(shape, seed) -> array`, a *sampler* a function
`(logits, temperature, seed) -> array` of the shape of the logits, soft or
hard. Each check draws from one, and raises AssertionError with a false-fail
rate of 1e-6 for each of its assertions. `test_statistics.py` plants bugs and
sees them caught.
"""

import keras
import numpy as np

import keras_gumbel as kg
from tests import reference, statistics
from tests.harness import value_and_grad
from tests.statistics import FALSE_FAIL_RATE

EULER = 0.57721566490153286
# Every probability of 8 classes between 0.3 % and 46 %.
LOGITS = np.array([0.0, 2.0, -1.0, 1.0, -3.0, 0.5, -2.0, -0.5], "float32")


def check_gumbel(noise, seed, n=10**6):
    """Standard Gumbel, by its whole CDF and its first two moments.

    Detected: a CDF 0.0054 off, a mean 0.012 off, a variance 0.034 off.
    """
    g = np.asarray(noise((n,), seed), "float64")
    assert np.all(np.isfinite(g)), "infinite noise"
    assert statistics.ks_p(g, reference.gumbel_cdf) > FALSE_FAIL_RATE
    deviation = np.pi / np.sqrt(6)
    assert statistics.z_p(g, EULER, deviation) > FALSE_FAIL_RATE
    # The kurtosis is 27 / 5, so the squared deviation has variance 4.4 s**4.
    square = (g - EULER) ** 2
    spread = np.sqrt(4.4) * deviation**2
    assert statistics.z_p(square, deviation**2, spread) > FALSE_FAIL_RATE


def check_gumbel_tail(noise, seed, calls=4):
    """The upper tail: as many draws as there should be, and no lattice.

    2**24 draws a call. Beyond 10 lie 762 of them on average. On a grid of
    2**-23 these would have at most 380 values between them: twins by the
    hundred, where float32 gives 0.14 pairs.

    Detected with 4 calls: a tail 18 % too heavy or too light, a grid of
    2**-30 or coarser.
    """
    n, threshold = 2**24, 10.0
    tail = []
    for call in range(calls):
        g = np.asarray(noise((n,), seed + call))
        # Any NaN or infinity shows in the extremes.
        assert np.isfinite(np.max(g)), "infinite noise"
        assert np.isfinite(np.min(g)), "infinite noise"
        tail.append(g[g > threshold])
    tail = np.concatenate(tail)
    prob = -np.expm1(-np.exp(-threshold))
    p = statistics.binomial_p(tail.size, calls * n, prob)
    assert p > FALSE_FAIL_RATE, f"{tail.size} draws beyond {threshold}"
    # Excesses are exponential: two share a float32 of spacing 2**-20, that
    # between 8 and 16, with probability 2**-20 / 2.
    pairs = tail.size * (tail.size - 1) / 2 * 2**-21
    twins = tail.size - np.unique(tail).size
    p = statistics.poisson_excess_p(twins, pairs)
    assert p > FALSE_FAIL_RATE, f"{twins} twins among {tail.size} draws"


def check_independent(noise, seed, n=1000):
    """Nothing shared between rows, columns, or seeds.

    n * n draws, made uniform by their CDF. Detected: a correlation of 0.0097
    with n = 1000.
    """
    u = reference.gumbel_cdf(noise((n, n), seed))
    other = reference.gumbel_cdf(noise((n, n), seed + 1))
    pairs = {
        "row": (u[:-1], u[1:]),
        "column": (u[:, :-1], u[:, 1:]),
        "half": (u[: n // 2], u[n // 2 : n // 2 * 2]),
        "seed": (u, other),
    }
    for name, (a, b) in pairs.items():
        p = statistics.correlation_p(a, b)
        assert p > FALSE_FAIL_RATE, f"one {name} tells of another"


def check_categorical(
    sampler, seed, temperature, logits=LOGITS, probs=None, n=10**6
):
    """The class is softmax(logits), and tells nothing of the next row's.

    Detected with n = 1e6 and 8 classes: a move of 0.5 % of the mass between
    halves of the classes.
    """
    if probs is None:
        probs = reference.softmax(logits, 1.0)
    rows = np.tile(logits.astype("float32"), (n, 1))
    sample = np.asarray(sampler(rows, temperature, seed))
    assert np.all(np.isfinite(sample)), "not finite"
    chosen = np.argmax(sample, -1)
    counts = np.bincount(chosen, minlength=logits.size)
    p = statistics.chi_squared_p(counts, probs)
    assert p > FALSE_FAIL_RATE, f"{counts / n} where {probs} is due"
    pairs = np.bincount(
        chosen[0::2] * logits.size + chosen[1::2], minlength=logits.size**2
    )
    p = statistics.chi_squared_p(pairs, np.outer(probs, probs))
    assert p > FALSE_FAIL_RATE, "one row tells of the next"


def check_logistic_contrast(
    sampler, seed, temperature, n=10**6, dtype="float32"
):
    """(log y_i - log y_j) * temperature - (l_i - l_j) is Logistic(0, 1).

    For y soft, any i != j and any temperature: the sharpest test of a soft
    sample. Float32 y underflows with a chance below 1e-6 at temperatures
    above 0.33, float64 y above 0.04. Detected with n = 1e6: a CDF 0.0054 off.
    """
    logits = np.array([0.3, -0.2], dtype)
    rows = np.tile(logits, (n, 1))
    y = np.asarray(sampler(rows, temperature, seed), "float64")
    assert np.all(y > 0), "underflow"
    contrast = (np.log(y[:, 0]) - np.log(y[:, 1])) * temperature
    contrast -= float(logits[0]) - float(logits[1])
    assert statistics.ks_p(contrast, reference.logistic_cdf) > FALSE_FAIL_RATE


def check_one_hot(sampler, seed, dtype="float32", temperature=0.7, n=20000):
    """Exactly one 1 in each row, exactly 0 elsewhere. No chance involved."""
    logits = keras.random.normal((n, 8), seed=seed, dtype=dtype)
    sample = sampler(logits, temperature, seed)
    assert keras.backend.standardize_dtype(sample.dtype) == dtype
    sample = keras.ops.convert_to_numpy(keras.ops.cast(sample, "float64"))
    assert np.all((sample == 0) | (sample == 1)), "neither 0 nor 1"
    assert np.all(sample.sum(-1) == 1), "not one class"


def check_soft_gradient(sampler, seed, temperature=0.7):
    """d softmax((logits + g) / temperature), under the sampler's own noise.

    To within 1e-4 of the largest entry, against the closed form in float64,
    with random upstream weights. For a hard sample: straight-through.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(6, 5)).astype("float32")
    upstream = rng.normal(size=(6, 5)).astype("float32")
    _, (gradient,) = value_and_grad(
        lambda x: sampler(x, temperature, seed), logits, upstream=upstream
    )
    assert np.any(gradient), "no gradient"
    g = np.asarray(kg.ops.sample_gumbel((6, 5), seed=seed))
    expected, _ = reference.softmax_vjp(logits + g, temperature, upstream)
    np.testing.assert_allclose(
        gradient, expected, atol=1e-4 * np.abs(expected).max()
    )
