"""Numbers that kernels look at once: those that are right stay as they are."""

import math

import numpy as np
import pytest
import torch

from keras_gumbel import numerics

X = torch.zeros(2, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_temperature_that_is_not_positive_is_nan(dtype):
    """It comes from a variable, whose value no check has seen."""
    for given, wanted in (
        ([0.5, 0.0, -2.0], [0.5, math.nan, math.nan]),
        ([math.nan, 3.0, -0.0], [math.nan, 3.0, math.nan]),
        ([0.5, 2.0, 3.0], [0.5, 2.0, 3.0]),
    ):
        found = numerics.positive_or_nan(torch.tensor(given), dtype)
        np.testing.assert_array_equal(found, wanted)
        assert str(found.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(numerics.positive_or_nan(0.5, dtype), 0.5)
    one = torch.tensor(0.5)
    assert numerics.positive_or_nan(one, "float32") is one


@pytest.mark.parametrize(
    ("scale", "wanted"), [(0.0, 0.0), (0.5, 0.5), (-0.5, math.nan)]
)
def test_a_negative_noise_scale_is_nan(scale, wanted):
    found = numerics.scale_or_nan(torch.tensor(scale), X)
    np.testing.assert_array_equal(found, wanted)
    for given in (torch.float16, torch.bfloat16, torch.float64):
        like = X.to(given)
        wide = numerics.scale_or_nan(torch.tensor(scale, dtype=given), like)
        assert wide.dtype == torch.promote_types(given, torch.float32)
        np.testing.assert_array_equal(wide, wanted)
