"""Hypothesis tests: each gives a p-value, to compare with FALSE_FAIL_RATE.

A p-value is the chance of data at least this far off if the law is right, so
`assert p > FALSE_FAIL_RATE` fails a right program with that rate. Each
docstring says what discrepancy is then detected, with as small a chance of
missing it, at the numbers of draws that the suite uses.
"""

import numpy as np
from scipy import stats

FALSE_FAIL_RATE = 1e-6


def sample_size(
    discrepancy,
    false_fail_rate=FALSE_FAIL_RATE,
    false_pass_rate=FALSE_FAIL_RATE,
):
    """How many draws `ks_p` needs to see a difference between two CDFs.

    By Dvoretzky, Kiefer and Wolfowitz, with Massart's constant,
    P(sup |F_n - F| > d) <= 2 exp(-2 n d**2). Chance must neither carry a
    right law to the bound nor a wrong one back below it:

        n = ((sqrt(log(2 / fail) / 2) + sqrt(log(2 / pass) / 2)) / d)**2

    With both rates at 1e-6: 2.9e7 / 1e6 for discrepancy 0.001 / 0.0054.
    """
    reach = np.sqrt(np.log(2 / false_fail_rate) / 2)
    reach += np.sqrt(np.log(2 / false_pass_rate) / 2)
    return int(np.ceil((reach / discrepancy) ** 2))


def ks_p(sample, cdf):
    """Kolmogorov-Smirnov: `sample` is of a law with the function `cdf`.

    The p-value is the DKW bound, never below the exact one. Detected at rate
    1e-6: a CDF that is 0.0054 off somewhere with n = 1e6, 0.012 with 2e5.
    """
    sample = np.sort(np.asarray(sample, "float64").ravel())
    if not np.all(np.isfinite(sample)):
        return 0.0
    n = sample.size
    expected = cdf(sample)
    steps = np.arange(n + 1) / n
    distance = max(np.max(steps[1:] - expected), np.max(expected - steps[:-1]))
    return float(min(1.0, 2 * np.exp(-2 * n * distance**2)))


def ks_two_sample_p(a, b):
    """Two samples of one size are of one law.

    P(D > d) <= 2 exp(-n d**2), for n >= 458 (Wei and Dudley, 2012). Detected
    at rate 1e-6: CDFs that are 0.017 apart somewhere with n = 2e5 each.
    """
    a, b = np.sort(np.ravel(a)), np.sort(np.ravel(b))
    if a.size != b.size or a.size < 458:
        raise ValueError(f"Two equal sizes >= 458: {a.size}, {b.size}")
    both = np.concatenate([a, b])
    if not np.all(np.isfinite(both)):
        return 0.0
    steps = np.searchsorted(a, both, "right") - np.searchsorted(
        b, both, "right"
    )
    distance = np.max(np.abs(steps)) / a.size
    return float(min(1.0, 2 * np.exp(-a.size * distance**2)))


def chi_squared_p(counts, probs, min_expected=100):
    """Pearson: `counts` are multinomial with `probs`.

    Cells that expect fewer than `min_expected` are pooled, into the smallest
    other cell if even together they do not expect that many: the law of the
    statistic is only then near enough to chi-squared at p = 1e-6.

    Detected at rate 1e-6 with n = 1e6: sum((q - p)**2 / p) of 1.2e-4 with 8
    cells, 1.9e-4 with 64. That is a move of 0.5 % of the mass between halves.
    """
    counts = np.asarray(counts, "float64").ravel()
    probs = np.asarray(probs, "float64").ravel()
    expected = counts.sum() * probs / probs.sum()
    if np.any(counts[expected == 0] > 0):
        return 0.0
    order = np.argsort(expected)
    counts, expected = counts[order], expected[order]
    pooled = int(np.sum(expected < min_expected))
    while 0 < pooled < expected.size and (
        expected[:pooled].sum() < min_expected
    ):
        pooled += 1
    if pooled:
        counts = np.append(counts[pooled:], counts[:pooled].sum())
        expected = np.append(expected[pooled:], expected[:pooled].sum())
    if expected.size < 2:
        raise ValueError("Too few draws: everything is in one cell")
    statistic = np.sum((counts - expected) ** 2 / expected)
    return float(stats.chi2.sf(statistic, expected.size - 1))


def binomial_p(count, n, prob):
    """`count` of `n` draws had an event of probability `prob`; two-sided.

    Exact. Detected at rate 1e-6: a rate that is 9.7 / sqrt(n * prob) off,
    relatively: 18 % with 3000 events expected, 61 % with 250.
    """
    law = stats.binom(n, prob)
    return float(min(1.0, 2 * min(law.cdf(count), law.sf(count - 1))))


def poisson_excess_p(count, mean):
    """`count` is Poisson with at most this mean; one-sided, exact.

    Detected at rate 1e-6: a mean of 24 or more where 0.14 was expected.
    """
    return float(stats.poisson.sf(count - 1, mean))


def z_p(sample, mean, standard_deviation):
    """The mean of `sample`, whose law has the given moments; two-sided.

    Detected at rate 1e-6: a mean that is 0.0097 standard deviations off with
    n = 1e6.
    """
    sample = np.asarray(sample, "float64").ravel()
    error = (sample.mean() - mean) / standard_deviation
    return float(2 * stats.norm.sf(abs(error) * np.sqrt(sample.size)))


def mean_vector_p(sample, mean):
    """Hotelling: the rows of `sample` are of a law with this mean.

    Directions without variance are left out; the rows must agree with the
    mean there, up to float32. Chi-squared is the law for many rows.

    Detected at rate 1e-6 in D free directions: a mean that is 0.071 (D = 2),
    0.074 (D = 4) or 0.077 (D = 8) standard deviations off with n = 20,000.
    """
    sample = np.asarray(sample, "float64").reshape(len(sample), -1)
    error = sample.mean(0) - np.ravel(mean)
    variances, directions = np.linalg.eigh(np.cov(sample.T))
    free = variances > 1e-9 * variances[-1]
    along = error @ directions
    if not np.all(np.abs(along[~free]) < 1e-5 * (1 + np.abs(sample).max())):
        return 0.0
    statistic = len(sample) * np.sum(along[free] ** 2 / variances[free])
    return float(stats.chi2.sf(statistic, free.sum()))


def correlation_p(a, b):
    """Two samples, each of independent draws, are uncorrelated.

    Detected at rate 1e-6: a correlation of 0.0097 with n = 1e6.
    """
    a, b = np.asarray(a, "float64").ravel(), np.asarray(b, "float64").ravel()
    r = np.corrcoef(a, b)[0, 1]
    return float(2 * stats.norm.sf(abs(r) * np.sqrt(a.size)))
