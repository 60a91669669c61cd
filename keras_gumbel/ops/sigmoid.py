"""Gates: samples of 0 and 1, or relaxed between them, with a gradient."""

import functools
from collections.abc import Callable

from keras import ops

from keras_gumbel import backend, estimators, formulas
from keras_gumbel._typing import Seed, Tensor
from keras_gumbel._validation import (
    check_noise_scale,
    check_seed,
    gate_arguments,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.formulas import Draw
from keras_gumbel.ops.relaxation import is_learned


def gumbel_sigmoid(
    logits: Tensor,
    temperature: Tensor = 1.0,
    *,
    hard: bool = False,
    estimator: str | Estimator = "st_gumbel",
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> Tensor:
    """A sample of Bernoulli(sigmoid(logits)) that a network trains through.

        perturbed = logits + noise_scale * logistic
        soft:  sigmoid(perturbed / temperature)
        hard:  1 where perturbed > 0, else 0

    Every element is a variable of its own, a gate: there is no category axis.
    The hard sample is 1 with probability sigmoid(logits) whatever the
    temperature (for `noise_scale` 1). The soft one, which is called binary
    Concrete, approaches it as temperature -> 0, and 1/2 as temperature ->
    infinity. It is above 1/2 where the hard sample of the same seed, by any
    estimator, is 1. All is computed in float32, in float64 for float64 logits.

    Args:
        logits: Float tensor, log-odds in nats: log(p / (1 - p)). -inf gives
            0, +inf gives 1, without a gradient.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits. A value that is not positive and
            is only known when the program runs gives NaN: a soft sample, and
            the gradient of either.
        hard: True for a result of exactly 0 and 1, whose gradient is the
            `estimator`'s.
        estimator: Name or object of `keras_gumbel.estimators`: the backward
            rule of a hard sample, `"st_gumbel"`, `"gumbel_rao"`, `"st"`,
            `"reinmax"` or `"gapped_st"`. A soft one has its own exact
            gradient.
        class_mask: Optional bool tensor, True where a gate may open, that
            broadcasts to the logits. The others are exactly 0, without a
            gradient.
        noise_scale: Number >= 0, dimensionless, or a scalar float tensor, as
            for `gumbel_softmax`; 0 leaves the noise out. The probability of 1
            is sigmoid(logits / noise_scale). Temperatures are absolute: what
            holds of an estimator at temperature 1 holds at `noise_scale`.
        seed: An integer in [0, 2**32) for the same sample at every call, a
            `keras.random.SeedGenerator` for its stream, None for fresh noise
            that follows `keras.utils.set_random_seed`.

    Returns:
        A tensor of the shape and dtype of `logits`. A logit of NaN gives NaN.

    Gradient:
        Soft: exact for the relaxed sample, to `logits` and to `temperature`
        where that is a tensor. Hard: biased, see the estimator.

    Raises:
        ValueError: For a temperature, mask or seed out of range.
        TypeError: For arguments of another type, integer logits among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.convert_to_tensor([2.0, -1.0, 0.5])
    >>> y = kg.ops.gumbel_sigmoid(logits, 0.5, seed=1)
    >>> z = kg.ops.gumbel_sigmoid(logits, 0.5, hard=True, seed=1)
    >>> bool(keras.ops.all((y > 0.5) == (z == 1.0)))
    True

    Reference:
        Maddison, Mnih, Teh, "The Concrete Distribution", 2017, appendix B,
        https://arxiv.org/abs/1611.00712; Jang, Gu, Poole, "Categorical
        Reparameterization with Gumbel-Softmax", 2017,
        https://arxiv.org/abs/1611.01144
    """
    known = estimators.get(estimator)
    check_noise_scale(noise_scale)
    check_seed(seed)
    backward_rule = known if hard else None
    learn_temperature = is_learned(temperature, backward_rule)
    logits, temperature, class_mask = gate_arguments(
        logits, temperature, class_mask
    )
    noise_scale = backend.to_tensor(noise_scale, temperature.dtype)
    mask = () if class_mask is None else (class_mask,)
    ranks = tuple(len(x.shape) for x in (logits, temperature, *mask))
    sample = _rule(backward_rule, learn_temperature, ranks)
    key = backend.next_key(seed)
    return sample(logits, temperature, key, noise_scale, *mask)


@functools.cache
def _rule(
    estimator: Estimator | None,
    learn_temperature: bool,
    ranks: tuple[int, ...],
) -> Callable[..., Tensor]:
    """A sample between its inputs and its output, compiled.

    Without an estimator it is the relaxed sample. One rule serves any sizes;
    `ranks`, of logits, temperature and mask, are what TensorFlow would
    generalise, and lose speed by, if one were called with several.
    """

    def draw_from(
        logits: Tensor, key: Tensor, noise_scale: Tensor, *class_mask: Tensor
    ) -> Draw:
        def prepared() -> Tensor:
            return formulas.allowed(logits, *class_mask)

        scale = formulas.scale_or_nan(noise_scale, logits)
        return Draw(prepared, scale, key, axis=-1)

    def forward(
        logits: Tensor, temperature: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        draw = draw_from(logits, *rest)
        perturbed = formulas.add_noise(draw, formulas.logistic)
        if estimator is None:
            tau = formulas.positive_or_nan(temperature, perturbed.dtype)
            y = ops.sigmoid(perturbed / tau)
        else:
            y = formulas.step(perturbed)
        return ops.cast(y, logits.dtype), perturbed

    def backward(dy: Tensor, *saved: Tensor) -> tuple[Tensor | None, ...]:
        perturbed, logits, temperature, *rest = saved
        draw = draw_from(logits, *rest)
        x = draw.logits()
        # Certain gates have no gradient. A formula of infinity might be NaN.
        certain = ops.isinf(x)
        finite = ops.where(certain, 0.0, x)
        draw = draw._replace(logits=lambda: finite)
        # By `finite` second derivatives reach the logits.
        perturbed = backend.straight_through(
            ops.where(certain, 0.0, perturbed), finite
        )
        dy = ops.cast(dy, x.dtype)
        if estimator:
            tau = estimator.backward_temperature or temperature
            tau = formulas.positive_or_nan(tau, x.dtype)
            found = estimator.scaled_backward_binary(draw, perturbed, tau, dy)
        else:
            tau = formulas.positive_or_nan(temperature, x.dtype)
            found = formulas.sigmoid_vjp(perturbed, tau, dy)
        d_logits, parts = (ops.where(certain, 0.0, part) for part in found)
        d_temperature = formulas.temperature_gradient(
            parts, temperature, learn_temperature
        )
        d_logits = ops.cast(d_logits, logits.dtype)
        return d_logits, d_temperature, *(None for _ in rest)

    return backend.differentiable(forward, backward)
