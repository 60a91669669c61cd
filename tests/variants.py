"""Which variants of a test `make test` runs, and which only `make test-slow`.

Each new size, dtype or axis is a compilation. The gate has every property in
the variants that differ most; the rest of the product is slow.
"""

import pytest


def slow(*values):
    """Values of a parametrisation that are left to `make test-slow`."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def slow_rows(*rows):
    """The same where each is a tuple of several parameters."""
    return [pytest.param(*row, marks=pytest.mark.slow) for row in rows]
