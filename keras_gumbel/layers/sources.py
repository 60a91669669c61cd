"""The noise of a layer whose model is given noise or a seed."""

from typing import Any

from keras import ops

from keras_gumbel import _tracing, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    check_can_be_repeated,
    check_can_be_summed,
)
from keras_gumbel.estimators import (
    Estimator,
    GumbelRao,
    StraightThroughGumbel,
)
from keras_gumbel.numerics import portable_choice
from keras_gumbel.numerics.portable_noise import noise_of

_BY_NOISE = {StraightThroughGumbel.forward, GumbelRao.forward}


def noise(layer: Any, like: Tensor, law: str = "gumbel") -> Tensor | None:
    """Return the noise for this draw, or None if the layer draws its own.

    Args:
        layer: The layer.
        like: The tensor to perturb.
        law: Distribution of the noise from a key: `"gumbel"`, `"logistic"`,
            or `"uniform"` between -1/2 and 1/2.
    """
    key = _tracing.given_key(layer)
    if key is None:
        return _tracing.given_noise(layer, like)
    return noise_of(law, key, like)


def chosen(
    layer: Any, rule: Estimator, logits: Tensor, axis: int
) -> Tensor | None:
    """Return logits that forbid every class but the one `rule` draws.

    None if the layer draws its own, or draws with noise.
    """
    if not _tracing.has_keys():
        return None
    if not rule.draws_the_class:
        check_can_be_repeated(layer.name, rule, type(rule).forward in _BY_NOISE)
        return None
    key = _tracing.given_key(layer)
    check_can_be_summed(logits.shape, axis, portable_choice.MOST_CLASSES)
    return portable_choice.chosen(logits, layer.noise_scale, key, axis)


def perturbed(layer: Any, rule: Estimator, logits: Tensor) -> Tensor | None:
    """Return logits whose likeliest class is the one `rule` draws.

    None if the layer draws its own.
    """
    known = chosen(layer, rule, logits, -1)
    if known is not None:
        return known
    given = noise(layer, logits)
    if given is None:
        return None
    scale = numerics.scale_or_nan(layer.noise_scale, logits)
    return logits + scale * ops.cast(given, logits.dtype)
