"""Several classes without replacement: k-hot, or relaxed, and in order."""

import functools
from collections.abc import Callable

from keras import ops

from keras_gumbel import backend, choices, formulas, subsets
from keras_gumbel._typing import Seed, Tensor
from keras_gumbel._validation import (
    categorical_arguments,
    check_enough_allowed,
    check_k,
    check_k_fits,
    check_noise_scale,
    check_seed,
    too_few_for,
)
from keras_gumbel.formulas import Draw
from keras_gumbel.ops.portable import (
    finite_if_empty,
    in_any_format,
    portable_format,
)
from keras_gumbel.ops.relaxation import is_learned


def gumbel_top_k(
    logits: Tensor,
    k: int,
    temperature: Tensor = 1.0,
    *,
    hard: bool = False,
    axis: int = -1,
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> tuple[Tensor, Tensor]:
    """`k` classes without replacement, and a k-hot that a network trains by.

        perturbed = logits + noise_scale * gumbel
        indices:  the classes of the k largest perturbed logits, in order
        hard:  1 at these classes
        soft:  a_1 + ... + a_k,  w_1 = perturbed,
               a_j = softmax(w_j / temperature),  w_{j+1} = w_j + log(1 - a_j)

    The indices follow the law of drawing one class after another from
    softmax(logits), each time without those drawn before (Plackett-Luce),
    whatever the temperature. The soft k-hot approaches the hard one of the
    same seed as temperature -> 0. It sums to k, but an entry of it may exceed
    1, and does where the temperature is not small: as temperature -> infinity
    each is k / num_classes, and a class far above the others is counted up to
    k times. With `k` 1 both are those of `gumbel_softmax` with `st_gumbel`.
    All is computed in float32, in float64 for float64 logits.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class.
        k: Positive integer, at most the number of classes. Where that is not
            known before the program runs, and is below `k` then, the program
            stops with an error.
        temperature: As for `gumbel_softmax`.
        hard: True for an exact k-hot.
        axis: Integer, the category axis.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Forbidden classes get exactly 0 and no
            gradient. A row with none allowed is padding: all zeros, and
            indices -1. One that allows m < k is an error where the values
            of the mask are known at the call; where they are known only when
            the program runs, or where logits of -inf forbid, all m are
            taken, the soft k-hot is a_1 + ... + a_m, and the other indices
            are -1.
        noise_scale: As for `gumbel_softmax`.
        seed: As for `gumbel_softmax`; the same seed gives the same noise.

    Returns:
        The k-hot, a tensor of the shape and dtype of `logits` whose rows
        along `axis` sum to `k`; and the indices, an int32 tensor with `k` in
        place of the size of `axis`, the first drawn first. A logit of NaN or
        +inf gives a NaN row, and indices -1.

    Gradient:
        Of the k-hot, to `logits`, and to `temperature` where that is a
        tensor. Soft: exact for the relaxed sample. Hard: that of the soft
        one of the same noise, straight through, and so biased. The backward
        pass holds k tensors of the logits' size; between the passes only the
        perturbed logits are kept. To differentiate it again, as
        `tf.autodiff.ForwardAccumulator` does too, raises a LookupError. The
        indices have no gradient.

    Raises:
        ValueError: For a `k`, temperature, axis, mask or seed out of range.
        InvalidArgumentError: Of TensorFlow, for a `k` above a number of
            classes that is known only when the program runs.
        TypeError: For arguments of another type, integer logits among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.log([[0.1, 0.2, 0.3, 0.4]])
    >>> y, indices = kg.ops.gumbel_top_k(logits, 2, hard=True, seed=1)
    >>> float(keras.ops.sum(y))
    2.0
    >>> keras.ops.take(y[0], indices[0]).numpy().tolist()
    [1.0, 1.0]

    Reference:
        Kool, van Hoof, Welling, "Stochastic Beams and Where to Find Them",
        2019, section 2.3, https://arxiv.org/abs/1903.06059;
        Xie, Ermon, "Reparameterizable Subset Sampling via Continuous
        Relaxations", 2019, algorithm 1, https://arxiv.org/abs/1901.10517
    """
    k_hot, indices = sample_subset(
        logits,
        k,
        temperature,
        hard=hard,
        axis=axis,
        class_mask=class_mask,
        noise_scale=noise_scale,
        seed=seed,
        outputs=2,
    )
    return k_hot, indices


def sample_subset(
    logits: Tensor,
    k: int,
    temperature: Tensor,
    *,
    hard: bool,
    axis: int,
    class_mask: Tensor | None,
    noise_scale: Tensor,
    seed: Seed,
    outputs: int,
) -> Tensor:
    """What `gumbel_top_k` gives: the k-hot alone, or 2 `outputs`.

    Without the indices a soft sample has nothing to search for.
    """
    check_noise_scale(noise_scale)
    check_seed(seed)
    learn_temperature = is_learned(temperature, None)
    logits, temperature, axis, *mask = _arguments(
        logits, k, temperature, axis, class_mask
    )
    noise_scale = backend.to_tensor(noise_scale, temperature.dtype)
    key = backend.next_key(seed)
    signature = _signature(logits, temperature, *mask, axis=axis)
    rule = _rule(int(k), hard, axis, learn_temperature, outputs, signature)
    return rule(logits, temperature, key, noise_scale, *mask)


def noiseless_subset(
    logits: Tensor,
    k: int,
    temperature: Tensor,
    *,
    hard: bool,
    axis: int,
    class_mask: Tensor | None = None,
) -> Tensor:
    """The k-hot of the likeliest classes, or its relaxation: no noise.

    Plain `keras.ops` but for the gradient, which is that of the relaxation
    either way.
    """
    learn_temperature = is_learned(temperature, None)
    logits, temperature, axis, *mask = _arguments(
        logits, k, temperature, axis, class_mask
    )
    signature = _signature(logits, temperature, *mask, axis=axis)
    rule = _noiseless_rule(int(k), hard, axis, learn_temperature, signature)
    return rule(logits, temperature, *mask)


def _arguments(
    logits: Tensor,
    k: int,
    temperature: Tensor,
    axis: int,
    class_mask: Tensor | None,
) -> tuple[Tensor, ...]:
    """Logits, temperature, axis and perhaps the mask, checked."""
    check_k(k)
    logits, temperature, axis, class_mask = categorical_arguments(
        logits, temperature, axis, class_mask
    )
    check_k_fits(k, logits.shape, axis)
    if logits.shape[axis] is None and portable_format() is None:
        logits = backend.with_at_least(logits, int(k), axis, too_few_for(k))
    if class_mask is None:
        return logits, temperature, axis
    check_enough_allowed(k, class_mask, logits, axis)
    return logits, temperature, axis, class_mask


def _signature(
    logits: Tensor, *rest: Tensor, axis: int
) -> tuple[int | None, ...]:
    """What one rule is to be called with alone, as in `ops.relaxation`."""
    ranks = (len(x.shape) for x in (logits, *rest))
    return logits.shape[axis], *ranks


@functools.cache
def _rule(
    k: int,
    hard: bool,
    axis: int,
    learn_temperature: bool,
    outputs: int,
    signature: tuple[int | None, ...],
) -> Callable[..., Tensor]:
    """A sample between its inputs and its outputs, compiled."""
    del signature
    pull_back = functools.partial(
        _pull_back, k=k, axis=axis, learn_temperature=learn_temperature
    )

    def forward(
        logits: Tensor,
        temperature: Tensor,
        key: Tensor,
        noise_scale: Tensor,
        *mask: Tensor,
    ) -> tuple[Tensor, ...]:
        def prepared() -> Tensor:
            return formulas.allowed(logits, *mask)

        scale = formulas.scale_or_nan(noise_scale, logits)
        # Of k classes any may be chosen, however far below the largest.
        draw = Draw(prepared, scale, key, axis)
        perturbed = formulas.perturb(draw, formulas.less)
        rows = _Rows(perturbed, axis)
        k_hot, indices = choices.largest(rows.of(perturbed), k)
        if not hard:
            tau = rows.of_temperature(temperature)
            k_hot = subsets.relaxed_k_hot(
                rows.of(perturbed), tau, k, subsets.COMPILED
            )
        k_hot = ops.cast(rows.back(k_hot), logits.dtype)
        results = (k_hot, rows.back(indices))[:outputs]
        return *results, perturbed

    def backward(
        dy: Tensor,
        perturbed: Tensor,
        logits: Tensor,
        temperature: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor | None, ...]:
        gradients = pull_back(dy, perturbed, logits, temperature)
        return *gradients, *(None for _ in rest)

    return _trained_once(backend.compiled(forward), backward, outputs)


@functools.cache
def _noiseless_rule(
    k: int,
    hard: bool,
    axis: int,
    learn_temperature: bool,
    signature: tuple[int | None, ...],
) -> Callable[..., Tensor]:
    """The same without noise, and its forward pass not compiled."""
    del signature
    pull_back = functools.partial(
        _pull_back, k=k, axis=axis, learn_temperature=learn_temperature
    )

    def forward(
        logits: Tensor, temperature: Tensor, *mask: Tensor
    ) -> tuple[Tensor, ...]:
        x = _near(formulas.allowed(logits, *mask), axis)
        rows = _Rows(x, axis)
        tau = None if hard else rows.of_temperature(temperature)

        def k_hot(x: Tensor) -> Tensor:
            x = formulas.nan_to_inf(x)
            if hard:
                return choices.largest(x, k)[0]
            return subsets.relaxed_k_hot(x, tau, k, subsets.ANYWHERE)

        y = rows.back(in_any_format(k_hot, rows.of(x), 1, tau, finite_if_empty))
        return (ops.cast(y, logits.dtype),)

    def backward(
        dy: Tensor, logits: Tensor, temperature: Tensor, *mask: Tensor
    ) -> tuple[Tensor | None, ...]:
        x = _near(formulas.allowed(logits, *mask), axis)
        x = formulas.nan_to_inf(x)
        gradients = pull_back(dy, x, logits, temperature)
        return *gradients, *(None for _ in mask)

    return _trained_once(forward, backward, 1)


def _near(x: Tensor, axis: int) -> Tensor:
    """Rows to which log(1 - a) can be added: far from 0 it would be lost."""
    return formulas.less(x, formulas.offset(x, 1.0, axis))


def _trained_once(
    run_forward: Callable[..., tuple[Tensor, ...]],
    backward: Callable[..., tuple[Tensor | None, ...]],
    outputs: int,
) -> Callable[..., Tensor]:
    """Tied by a gradient whose loops nothing can differentiate."""
    run_backward = backend.once_only(backward, "gumbel_top_k")
    return backend.with_gradient(run_forward, run_backward, outputs)


class _Rows:
    """Tensors like one as matrices (rows, classes), and back."""

    def __init__(self, like: Tensor, axis: int) -> None:
        self._like, self._axis = like, axis

    def of(self, x: Tensor) -> Tensor:
        """`x` as a matrix."""
        x = ops.moveaxis(x, self._axis, -1)
        return ops.reshape(x, (-1, x.shape[-1] or ops.shape(x)[-1]))

    def of_temperature(self, temperature: Tensor) -> Tensor:
        """A number, or one for each row, (rows, 1)."""
        tau = formulas.positive_or_nan(temperature, self._like.dtype)
        if not len(tau.shape):
            return tau
        goal = list(ops.shape(self._like))
        goal[self._axis] = 1
        return self.of(ops.broadcast_to(tau, goal))

    def back(self, x: Tensor) -> Tensor:
        """A matrix of any width as a tensor."""
        shape = list(ops.shape(self._like))
        del shape[self._axis]
        width = x.shape[-1] or ops.shape(x)[-1]
        return ops.moveaxis(ops.reshape(x, (*shape, width)), -1, self._axis)


def _pull_back(
    dy: Tensor,
    x: Tensor,
    logits: Tensor,
    temperature: Tensor,
    *,
    k: int,
    axis: int,
    learn_temperature: bool,
) -> tuple[Tensor, Tensor | None]:
    """The gradient `dy` at the relaxed k-hot of `x`, taken back."""
    rows = _Rows(x, axis)
    tau = rows.of_temperature(temperature)
    dy = rows.of(ops.cast(dy, x.dtype))
    d_x, parts = subsets.relaxed_k_hot_vjp(rows.of(x), tau, dy, k)
    d_logits = ops.cast(rows.back(d_x), logits.dtype)
    d_temperature = formulas.temperature_gradient(
        rows.back(parts), temperature, learn_temperature
    )
    return d_logits, d_temperature
