"""Categorical samples with a gradient: one-hot, relaxed, or as an index."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_gumbel import backend, choices, estimators, formulas
from keras_gumbel._typing import Seed, Tensor
from keras_gumbel._validation import (
    categorical_arguments,
    check_index_is_exact,
    check_noise_scale,
    check_seed,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.formulas import Draw


def gumbel_softmax(
    logits: Tensor,
    temperature: Tensor = 1.0,
    *,
    hard: bool = False,
    axis: int = -1,
    estimator: str | Estimator = "st_gumbel",
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> Tensor:
    """A sample of Categorical(softmax(logits)) that a network trains through.

        perturbed = logits + noise_scale * gumbel
        soft:  softmax(perturbed / temperature)
        hard:  one_hot(argmax(perturbed))

    The hard sample follows softmax(logits) whatever the temperature (for
    `noise_scale` 1). The soft one approaches it as temperature -> 0, and the
    uniform blend as temperature -> infinity; its argmax is the hard sample
    of the same seed by `st_gumbel` and `gumbel_rao`. (The other estimators
    need no noise, and draw the class itself, from one random number a row.)
    All is computed in float32, in float64 for float64 logits.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits with size 1 along `axis` (such as
            `(batch, 1)`). A value that is not positive and is only known
            when the program runs gives NaN: a soft sample, and the gradient
            of either.
        hard: True for an exactly one-hot result whose gradient is the
            `estimator`'s.
        axis: Integer, the category axis.
        estimator: Name or object of `keras_gumbel.estimators`: the backward
            rule of a hard sample, `"st_gumbel"`, `"gumbel_rao"`, `"st"`,
            `"reinmax"` or `"gapped_st"`. A soft one has its own exact
            gradient.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Forbidden classes get exactly 0 and no
            gradient; a row with none allowed is all zeros.
        noise_scale: Number >= 0, dimensionless, or a scalar float tensor;
            0 leaves the noise out. The law is softmax(logits / noise_scale).
            Temperatures are absolute: what holds of an estimator at
            temperature 1 holds at `noise_scale`. A negative value that is
            only known when the program runs gives NaN. It gets no gradient.
        seed: An integer in [0, 2**32) for the same sample at every call
            (`st_gumbel` and soft then share their noise), a
            `keras.random.SeedGenerator` for its stream, None for fresh noise
            that follows `keras.utils.set_random_seed`.

    Returns:
        A tensor of the shape and dtype of `logits`, whose rows along `axis`
        sum to 1. A logit of NaN or +inf gives a NaN row.

    Gradient:
        Soft: exact for the relaxed sample, to `logits` and to `temperature`
        where that is a tensor. Hard: biased, see the estimator.

    Raises:
        ValueError: For a temperature, axis, mask or seed out of range.
        TypeError: For arguments of another type, integer logits among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.log([[0.1, 0.2, 0.7]])
    >>> y = kg.ops.gumbel_softmax(logits, 0.5, seed=1)
    >>> round(float(keras.ops.sum(y)), 6)
    1.0
    >>> z = kg.ops.gumbel_softmax(logits, 0.5, hard=True, seed=1)
    >>> int(keras.ops.argmax(z)) == int(keras.ops.argmax(y))
    True

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, eq. 2, https://arxiv.org/abs/1611.01144;
        Maddison, Mnih, Teh, "The Concrete Distribution", 2017, section 3,
        https://arxiv.org/abs/1611.00712
    """
    rule = estimators.get(estimator)
    return _sample(
        logits,
        temperature,
        estimator=rule if hard else None,
        axis=axis,
        class_mask=class_mask,
        noise_scale=noise_scale,
        seed=seed,
        index=False,
    )


def sample_argmax_index(
    logits: Tensor,
    temperature: Tensor = 1.0,
    *,
    hard: bool = False,
    axis: int = -1,
    estimator: str | Estimator = "st_gumbel",
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> Tensor:
    """The index of a categorical sample, as a number with a gradient.

        index = sum_k k * y_k,  y = gumbel_softmax(logits, ...)

    Hard: the sampled class itself, 0, 1, ..., K - 1, exact. Soft: the mean
    index under the relaxed sample, between classes.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats.
        temperature: As for `gumbel_softmax`.
        hard: True for a whole index whose gradient is the `estimator`'s.
        axis: Integer, the category axis; the result is without it.
        estimator: As for `gumbel_softmax`.
        class_mask: As for `gumbel_softmax`. A row with no class allowed
            gives 0.
        noise_scale: As for `gumbel_softmax`.
        seed: As for `gumbel_softmax`; the same seed gives the same sample.

    Returns:
        A float32 tensor of the shape of `logits` less `axis`, whatever the
        dtype of the logits: float16 cannot hold an index above 2048. NaN for
        more than 2**24 classes, where their number is only known when the
        program runs.

    Gradient:
        That of `gumbel_softmax`, weighted by the class numbers. It means
        something where the classes are in order, as the positions of an
        array are.

    Raises:
        ValueError: As `gumbel_softmax`, and for more than 2**24 classes, whose
            numbers float32 would round.
        TypeError: As `gumbel_softmax`.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.convert_to_tensor([[0.0, 50.0, 0.0]])
    >>> kg.ops.sample_argmax_index(logits, hard=True).numpy().tolist()
    [1.0]

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, eq. 2, https://arxiv.org/abs/1611.01144
    """
    rule = estimators.get(estimator)
    return _sample(
        logits,
        temperature,
        estimator=rule if hard else None,
        axis=axis,
        class_mask=class_mask,
        noise_scale=noise_scale,
        seed=seed,
        index=True,
    )


def one_hot_by_key(
    logits: Tensor, temperature: Tensor, estimator: Estimator, key: Tensor
) -> Tensor:
    """`gumbel_softmax` with `hard=True`, of a key in place of a seed.

    Args:
        logits: As for `gumbel_softmax`, the classes on the last axis.
        temperature: As for `gumbel_softmax`, a tensor.
        estimator: The backward rule.
        key: Int64 tensor `(2,)`, whose low words are the key.
    """
    logits, temperature, axis, _ = categorical_arguments(
        logits, temperature, -1, None
    )
    signature = (logits.shape[axis], len(logits.shape), len(temperature.shape))
    learn_temperature = is_learned(temperature, estimator)
    rule = _rule(estimator, axis, learn_temperature, False, signature)
    one = backend.to_tensor(1.0, temperature.dtype)
    return rule(logits, temperature, key, one)


def is_learned(temperature: Any, estimator: Estimator | None) -> bool:
    """Whether a gradient is to reach the temperature."""
    if estimator and estimator.backward_temperature is not None:
        return False
    if isinstance(temperature, keras.Variable):
        # A layer's own, which schedules set, does not train.
        return bool(temperature.trainable)
    return hasattr(temperature, "dtype")


def as_it_is(x: Any) -> Any:
    """The value of a variable, in its own dtype; anything else itself.

    Without a gradient where the variable does not train.
    """
    if not isinstance(x, keras.Variable):
        return x
    value = backend.to_tensor(backend.read(x))
    return value if x.trainable else ops.stop_gradient(value)


def _sample(
    logits: Tensor,
    temperature: Tensor,
    *,
    estimator: Estimator | None,
    axis: int,
    class_mask: Tensor | None,
    noise_scale: Tensor,
    seed: Seed,
    index: bool,
) -> Tensor:
    """Check the arguments, draw a key, and run the compiled rule."""
    check_noise_scale(noise_scale)
    check_seed(seed)
    learn_temperature = is_learned(temperature, estimator)
    logits, temperature, axis, class_mask = categorical_arguments(
        logits, temperature, axis, class_mask
    )
    if index:
        check_index_is_exact(logits.shape, axis)
    noise_scale = backend.to_tensor(noise_scale, temperature.dtype)
    mask = () if class_mask is None else (class_mask,)
    ranks = tuple(len(x.shape) for x in (logits, temperature, *mask))
    signature = (logits.shape[axis], *ranks)
    rule = _rule(estimator, axis, learn_temperature, index, signature)
    return rule(logits, temperature, backend.next_key(seed), noise_scale, *mask)


@functools.cache
def _rule(
    estimator: Estimator | None,
    axis: int,
    learn_temperature: bool,
    index: bool,
    signature: tuple[int | None, ...],
) -> Callable[..., Tensor]:
    """A sample between its inputs and its output, compiled.

    Without an estimator it is the relaxed sample. One rule serves any batch;
    `signature` is what TensorFlow would generalise, and lose speed by, if one
    were called with several: the number of classes, and the ranks of logits,
    temperature and mask.
    """
    # Logits, temperature, key, noise scale and perhaps a mask.
    arguments = len(signature) + 1

    def draw_from(
        logits: Tensor, key: Tensor, noise_scale: Tensor, *class_mask: Tensor
    ) -> Draw:
        def prepared() -> Tensor:
            return formulas.allowed(logits, *class_mask)

        scale = formulas.scale_or_nan(noise_scale, logits)
        return Draw(prepared, scale, key, axis)

    def forward(
        logits: Tensor, temperature: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        draw = draw_from(logits, *rest)
        residuals: tuple[Tensor | None, ...]
        if estimator is None:
            tau = formulas.positive_or_nan(temperature, draw.noise_scale.dtype)
            perturbed = formulas.perturb(draw)
            y = formulas.softmax(perturbed, tau, axis)
            output = formulas.mean_class(y, axis) if index else y
            residuals = (perturbed,)
        else:
            choice, kept = estimator.forward(draw)
            show = choices.class_number if index else choices.one_hot
            output = show(choice, formulas.widen(logits), axis)
            residuals = (choice,) if kept is None else (choice, kept)
        output = ops.cast(output, "float32" if index else logits.dtype)
        return output, *residuals

    def backward(dy: Tensor, *saved: Tensor) -> tuple[Tensor | None, ...]:
        args = saved[-arguments:]
        logits, temperature, *rest = args
        draw = draw_from(logits, *rest)
        choice = saved[:1] if estimator else ()
        kept = saved[len(choice) : -arguments]
        x = draw.logits()
        if kept:
            # By this second derivatives reach the logits.
            x = backend.straight_through(*kept, x)
        dy = ops.cast(dy, x.dtype)
        if index:
            number = ops.cast(formulas.classes(x, axis), x.dtype)
            dy = ops.expand_dims(dy, axis) * number
        if estimator:
            tau = estimator.backward_temperature or temperature
            tau = formulas.positive_or_nan(tau, x.dtype)
            d_logits, parts = estimator.scaled_backward(
                draw, x, choice[0], tau, dy
            )
        else:
            tau = formulas.positive_or_nan(temperature, x.dtype)
            d_logits, parts = formulas.relaxed_vjp(x, tau, dy, axis)
        d_temperature = formulas.temperature_gradient(
            parts, temperature, learn_temperature
        )
        d_logits = ops.cast(d_logits, logits.dtype)
        return d_logits, d_temperature, *(None for _ in rest)

    return backend.differentiable(forward, backward)
