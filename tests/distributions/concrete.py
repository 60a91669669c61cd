"""The Concrete density in NumPy float64, from the paper.

Maddison, Mnih, Teh, "The Concrete Distribution", 2017, definition 1.
"""

import math

import numpy as np


def density(x, logits, temperature):
    """(n-1)! t**(n-1) prod_k a_k x_k**(-t-1) / (sum_i a_i x_i**-t)**n.

    For x of shape (..., n) within the simplex and a = exp(logits).
    """
    x, a = np.asarray(x, "float64"), np.exp(np.asarray(logits, "float64"))
    n, t = a.shape[-1], temperature
    product = np.prod(a * x ** (-t - 1), -1)
    total = np.sum(a * x**-t, -1)
    return math.factorial(n - 1) * t ** (n - 1) * product / total**n


def log_density(y, logits, temperature):
    """Of y = log x: lgamma(n) + (n-1) log t + sum_k log_softmax(l - t y)_k."""
    z = np.asarray(logits, "float64") - temperature * np.asarray(y, "float64")
    z = z - z.max(-1, keepdims=True)
    n = z.shape[-1]
    log_softmax = z - np.log(np.sum(np.exp(z), -1, keepdims=True))
    constant = math.lgamma(n) + (n - 1) * math.log(temperature)
    return constant + np.sum(log_softmax, -1)


def cdf_of_two(logits, temperature):
    """P(x_1 <= .) for n = 2, by summing the density over logit(x_1)."""
    u = np.linspace(-60, 60, 120001)
    x = 1 / (1 + np.exp(-np.stack([u, -u], -1)))
    slope = density(x, logits, temperature) * x[:, 0] * x[:, 1]
    sums = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2)])
    sums *= u[1] - u[0]

    def cdf(value):
        value = np.asarray(value, "float64")
        return np.interp(np.log(value) - np.log1p(-value), u, sums)

    return cdf


def cells_of_three(logits, temperature, edges):
    """The mass of each cell of a grid over (x_1, x_2 / (1 - x_1))."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    masses = np.zeros((len(edges) - 1,) * 2)
    for i, j in np.ndindex(masses.shape):
        (a, b), (c, d) = edges[i : i + 2], edges[j : j + 2]
        first = ((b - a) * nodes + a + b) / 2
        share = ((d - c) * nodes + c + d) / 2
        first, share = np.meshgrid(first, share, indexing="ij")
        rest = 1 - first
        x = np.stack([first, rest * share, rest * (1 - share)], -1)
        values = density(x, logits, temperature) * rest
        masses[i, j] = weights @ values @ weights * (b - a) * (d - c) / 4
    return masses


def counts_of_three(x, edges):
    """How many of the samples lie in each of those cells."""
    x = np.asarray(x, "float64")
    share = x[:, 1] / (x[:, 1] + x[:, 2])
    return np.histogram2d(x[:, 0], share, bins=[edges, edges])[0]
