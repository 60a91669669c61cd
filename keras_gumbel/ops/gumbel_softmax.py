"""Categorical samples with a gradient: one-hot, or relaxed."""

import dataclasses

from keras import ops

from keras_gumbel import backend, estimators, numerics
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import (
    Arguments,
    categorical_arguments,
    check_axis,
    check_num_samples,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.numerics import Draw, categorical
from keras_gumbel.ops import _program, _several
from keras_gumbel.ops._cells import Cells
from keras_gumbel.ops._op import Op


def gumbel_softmax(
    logits: Tensor,
    temperature: Tensor = 1.0,
    *,
    hard: bool = False,
    axis: int | tuple[int, ...] = -1,
    estimator: str | Estimator = "st_gumbel",
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    num_samples: int | None = None,
    seed: Seed = None,
) -> Tensor:
    """Sample from Categorical(softmax(logits)), with a gradient.

        perturbed = logits + noise_scale * gumbel
        soft:  softmax(perturbed / temperature)
        hard:  one_hot(argmax(perturbed))

    A hard sample follows softmax(logits) at any temperature (for
    `noise_scale` 1). A soft sample approaches it as the temperature tends to
    0, and the uniform blend as it tends to infinity. Its argmax is the hard
    sample of the same seed with `st_gumbel` and `gumbel_rao`. (The other
    estimators draw the class from one random number per row, without noise.)
    Computed in float32, or float64 for float64 logits.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits with size 1 along `axis` (such as
            `(batch, 1)`). If a value turns out not to be positive only when
            the program runs, soft samples and all gradients are NaN.
        hard: True for an exactly one-hot result whose gradient is the
            `estimator`'s.
        axis: Integer, the category axis. Or several integers, whose cells
            are the classes, such as `(1, 2)` for images `(batch, height,
            width)`: the sample equals a sample of logits with the cells on
            one last axis, in row-major order of `axis`.
        estimator: Name or object of `keras_gumbel.estimators`: the backward
            rule of a hard sample, `"st_gumbel"`, `"gumbel_rao"`, `"st"`,
            `"reinmax"` or `"gapped_st"`. A soft one has its own exact
            gradient.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Forbidden classes get exactly 0 and no
            gradient; a row with none allowed is all zeros.
        noise_scale: Number >= 0, dimensionless, or a scalar float tensor,
            which gets no gradient. It multiplies the noise: hard samples
            follow softmax(logits / noise_scale), and 0 is argmax. An
            estimator that is unbiased at temperature 1 is then unbiased at
            temperature `noise_scale`. If a value turns out to be negative
            only when the program runs, the result is NaN.
        num_samples: Positive integer, the number of samples per row, on a new
            first axis. They equal samples of logits repeated along an axis of
            that size just before the classes, which are on the last axis. Hard
            samples by `st`, `reinmax` or `gapped_st` sum the probabilities of
            each row once. `None`: one sample, without the axis.
        seed: An integer in [0, 2**32) for the same sample at every call
            (`st_gumbel` and soft then share their noise), a
            `keras.random.SeedGenerator` for its stream, None for fresh noise
            that follows `keras.utils.set_random_seed`. On JAX also a key, on
            torch also a `torch.Generator`.

    Returns:
        A tensor of the shape and dtype of `logits`, whose rows along `axis`
        sum to 1; with a first axis of size `num_samples`, if given. A logit
        of NaN or +inf gives a NaN row.

    Gradient:
        Soft: exact for the relaxed sample, to `logits` and to `temperature`
        if it is a tensor. Hard: biased, see the estimator.

    Raises:
        ValueError: For a temperature, axis, mask or seed out of range.
        TypeError: For arguments of another type, such as integer logits.

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
    axis = check_axis(axis)
    if num_samples is not None:
        check_num_samples(num_samples)
        if isinstance(axis, int) and axis != -1:
            axis = (axis,)
    cells = None if isinstance(axis, int) else Cells(logits, axis)
    if cells is not None:
        logits, temperature, class_mask = cells.merged(temperature, class_mask)
        axis = -1
    arguments = categorical_arguments(logits, temperature, axis, class_mask)
    chosen = rule if hard else None
    y = sample(chosen, arguments, num_samples, noise_scale, seed)
    return y if cells is None else cells.split(y)


def one_hot_by_key(
    logits: Tensor, temperature: Tensor, estimator: Estimator, key: Tensor
) -> Tensor:
    """Run `gumbel_softmax` with `hard=True`, by a key in place of a seed.

    Args:
        logits: As for `gumbel_softmax`, the classes on the last axis.
        temperature: As for `gumbel_softmax`, a tensor.
        estimator: The backward rule.
        key: Int64 tensor `(2,)`, whose low words are the key.
    """
    arguments = categorical_arguments(logits, temperature, -1, None)
    op, arguments = _op_for(estimator, arguments)
    one = backend.to_tensor(1.0, arguments.temperature.dtype)
    return _program.run_by_key(op, arguments, (key, one))


def sample(
    rule: Estimator | None,
    arguments: Arguments,
    count: int | None,
    noise_scale: Tensor,
    seed: Seed,
    *,
    index: bool = False,
) -> Tensor:
    """Sample one-hots by `rule`, or relaxed ones without; or their indices.

    With a `count`, that many on a new first axis.
    """
    if count is not None and rule is not None and rule.draws_the_class:
        return _several.choices(
            rule, arguments, count, noise_scale, seed, index=index
        )
    if count is not None:
        arguments = _several.repeated(arguments, count)
    op, arguments = _op_for(rule, arguments, index=index)
    y = _program.run(op, arguments, noise_scale, seed)
    return y if count is None else _several.samples_first(y, arguments)


def _op_for(
    rule: Estimator | None, arguments: Arguments, *, index: bool = False
) -> tuple[Op, Arguments]:
    """Return the op, hard or (without a rule) relaxed, and its arguments."""
    if rule is None:
        return _Relaxed(index), arguments
    rule, arguments = _program.at_its_temperature(rule, arguments)
    return _Hard(index, rule), arguments


@dataclasses.dataclass(frozen=True)
class _Categorical(Op):
    """Base class: a sample, as it is or as its index."""

    index: bool

    @property
    def own_dtype(self) -> bool:
        """Use float32 for indices: half precision cannot hold them."""
        return self.index

    def of_sample(self, dy: Tensor, like: Tensor, axis: int) -> Tensor:
        """Take the gradient `dy` at the result back to the sample."""
        dy = ops.cast(dy, like.dtype)
        if not self.index:
            return dy
        number = ops.cast(numerics.classes(like, axis), like.dtype)
        return ops.expand_dims(dy, axis) * number


class _Relaxed(_Categorical):
    """softmax(perturbed / temperature)."""

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        perturbed = numerics.perturb(draw)
        y = numerics.softmax(perturbed, tau, draw.axis)
        if self.index:
            y = ops.cast(numerics.mean_class(y, draw.axis), "float32")
        return y, perturbed

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        # This lets second derivatives reach the logits.
        x = backend.straight_through(*kept, draw.logits())
        dy = self.of_sample(dy, x, draw.axis)
        return numerics.relaxed_vjp(x, tau, dy, draw.axis)


@dataclasses.dataclass(frozen=True)
class _Hard(_Categorical):
    """The choice of an estimator."""

    estimator: Estimator

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        choice, kept = self.estimator.forward(draw)
        show = categorical.class_number if self.index else categorical.one_hot
        y = show(choice, draw.logits(), draw.axis)
        return (y, choice) if kept is None else (y, choice, kept)

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        choice, *moved = kept
        x = draw.logits()
        if moved:
            # This lets second derivatives reach the logits.
            x = backend.straight_through(*moved, x)
        dy = self.of_sample(dy, x, draw.axis)
        return self.estimator.scaled_backward(draw, x, choice, tau, dy)
