"""What a layer draws with where a model is given its noise, or a seed."""

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
    """The noise for this draw, or None where the layer is to draw its own.

    Args:
        layer: The layer.
        like: What is perturbed.
        law: That of the noise, of which a key is told: `"gumbel"`,
            `"logistic"`, or `"uniform"` between -1/2 and 1/2.
    """
    key = _tracing.given_key(layer)
    if key is None:
        return _tracing.given_noise(layer, like)
    return noise_of(law, key, like)


def chosen(
    layer: Any, rule: Estimator, logits: Tensor, axis: int
) -> Tensor | None:
    """The logits with every class forbidden but one, that `rule` draws.

    None where the layer is to draw its own, and where noise is what it draws
    with.
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
    """The logits of which what is drawn is the likeliest, by `rule`.

    None where the layer is to draw its own.
    """
    known = chosen(layer, rule, logits, -1)
    if known is not None:
        return known
    given = noise(layer, logits)
    if given is None:
        return None
    scale = numerics.scale_or_nan(layer.noise_scale, logits)
    return logits + scale * ops.cast(given, logits.dtype)
