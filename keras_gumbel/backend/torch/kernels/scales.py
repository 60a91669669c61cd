"""Numbers that scale or shift a row: most calls leave all as they are."""

import math
from collections.abc import Callable

import torch

from keras_gumbel._typing import Tensor


def positive_or_nan(
    function: Callable[..., Tensor], temperature: Tensor, dtype: str
) -> Tensor:
    """Return `positive_or_nan(temperature, dtype)`, itself if all is right."""
    right = (
        isinstance(temperature, torch.Tensor)
        and str(temperature.dtype)[6:] == dtype
        and _all_at_least(temperature, math.ulp(0.0))
    )
    return temperature if right else function(temperature, dtype)


def scale_or_nan(
    function: Callable[..., Tensor], noise_scale: Tensor, logits: Tensor
) -> Tensor:
    """Return `scale_or_nan(noise_scale, logits)`, itself if all is right."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    right = noise_scale.dtype == wide and _all_at_least(noise_scale, 0)
    return noise_scale if right else function(noise_scale, logits)


def _all_at_least(x: Tensor, least: float) -> bool:
    return x.numel() > 0 and float(x if x.ndim == 0 else x.min()) >= least


def beyond(
    function: Callable[..., Tensor],
    x: Tensor,
    noise_scale: Tensor | float,
    times: float,
) -> Tensor:
    """Return `_beyond(x, noise_scale, times)`, by one look if that is all 0."""
    limit = float(noise_scale) * times or math.inf
    near = x.numel() > 0 and float(x.abs().max()) <= limit
    return torch.zeros_like(x) if near else function(x, noise_scale, times)
