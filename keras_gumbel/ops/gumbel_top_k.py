"""Several classes without replacement: k-hot, or relaxed, and in order."""

import dataclasses
from typing import ClassVar

from keras_gumbel import backend, numerics
from keras_gumbel._tracing import portable_format
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import (
    Arguments,
    categorical_arguments,
    check_enough_allowed,
    check_k,
    check_k_fits,
    too_few_for,
)
from keras_gumbel.numerics import Draw, categorical, top_k
from keras_gumbel.numerics.portable import (
    finite_if_empty,
    in_any_format,
)
from keras_gumbel.ops import _program
from keras_gumbel.ops._op import Op
from keras_gumbel.ops._rows import Rows


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
    """Draw `k` classes without replacement, as a k-hot with a gradient.

        perturbed = logits + noise_scale * gumbel
        indices:  the classes of the k largest perturbed logits, in order
        hard:  1 at these classes
        soft:  a_1 + ... + a_k,  w_1 = perturbed,
               a_j = softmax(w_j / temperature),  w_{j+1} = w_j + log(1 - a_j)

    The indices are drawn one after another from softmax(logits), each time
    without the classes drawn before (the Plackett-Luce distribution), at any
    temperature. The soft k-hot approaches the hard one of the same seed as the
    temperature tends to 0. It sums to k; unless the temperature is small,
    single entries can exceed 1, since a class far above the others is counted
    up to k times. For `k=1` both are those of `gumbel_softmax` with
    `st_gumbel`. Computed in float32, or float64 for float64 logits.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class.
        k: Positive integer, at most the number of classes. Where that is not
            known before the program runs, and is below `k` then, the program
            stops with an error.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits with size 1 along `axis`.
        hard: True for an exact k-hot.
        axis: Integer, the category axis.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Forbidden classes get exactly 0 and no
            gradient. A row with no class allowed counts as padding: zeros,
            and indices of -1. A row that allows only m < k classes raises an
            error if the mask's values are known at the call. If they are
            known only when the program runs, or if logits of -inf forbid the
            rest, all m are taken: the soft k-hot is a_1 + ... + a_m, and the
            remaining indices are -1.
        noise_scale: Number >= 0, or a scalar float tensor, that multiplies
            the noise; 0 leaves it out.
        seed: An integer for the same sample at every call, with the noise that
            `gumbel_softmax` draws with it; a `keras.random.SeedGenerator` for
            its stream; None to follow `keras.utils.set_random_seed`. On JAX
            also a key, on torch also a `torch.Generator`.

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
    arguments = _arguments(logits, k, temperature, axis, class_mask)
    op = _SubsetInOrder(int(k), hard)
    k_hot, indices = _program.run(op, arguments, noise_scale, seed)
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
) -> Tensor:
    """The k-hot of `gumbel_top_k` alone.

    Without the indices a soft sample has nothing to search for.
    """
    arguments = _arguments(logits, k, temperature, axis, class_mask)
    return _program.run(_Subset(int(k), hard), arguments, noise_scale, seed)


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
    arguments = _arguments(logits, k, temperature, axis, class_mask)
    return _program.run_by_key(_NoiselessSubset(int(k), hard), arguments, ())


def _arguments(
    logits: Tensor,
    k: int,
    temperature: Tensor,
    axis: int,
    class_mask: Tensor | None,
) -> Arguments:
    """The arguments of a function of `k` classes, checked."""
    check_k(k)
    found = categorical_arguments(logits, temperature, axis, class_mask)
    logits, axis = found.logits, found.axis
    check_k_fits(k, logits.shape, axis)
    if logits.shape[axis] is None and portable_format() is None:
        logits = backend.with_at_least(logits, int(k), axis, too_few_for(k))
    if found.class_mask is not None:
        check_enough_allowed(k, found.class_mask, logits, axis)
    return found._replace(logits=logits)


@dataclasses.dataclass(frozen=True)
class _Subset(Op):
    """1 at the k largest perturbed logits, or its relaxation."""

    k: int
    hard: bool
    trained_once: ClassVar[str] = "gumbel_top_k"

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        x = self.perturbed(draw)
        rows = Rows(x, draw.axis)
        y, indices = categorical.largest(rows.of(x), self.k)
        if not self.hard:
            tau = rows.of_temperature(tau)
            y = top_k.relaxed_k_hot(rows.of(x), tau, self.k, top_k.COMPILED)
        results = rows.back(y), rows.back(indices)
        return *results[: self.outputs], x

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        x = kept[0] if kept else self.perturbed(draw)
        rows = Rows(x, draw.axis)
        tau = rows.of_temperature(tau)
        found = top_k.relaxed_k_hot_vjp(rows.of(x), tau, rows.of(dy), self.k)
        return tuple(map(rows.back, found))

    def perturbed(self, draw: Draw) -> Tensor:
        """Return the scores to search, with +inf in place of NaN."""
        # Of k classes any may be chosen, however far below the largest.
        return numerics.perturb(draw, numerics.less)


@dataclasses.dataclass(frozen=True)
class _SubsetInOrder(_Subset):
    """And the classes, in the order of drawing."""

    outputs: ClassVar[int] = 2
    classes_stay: ClassVar[tuple[int, ...]] = (1, 0)


@dataclasses.dataclass(frozen=True)
class _NoiselessSubset(_Subset):
    """The subset of the logits, in operations that every format has."""

    @property
    def forward_is_compiled(self) -> bool:
        """It is in every format."""
        return False

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        x = _near(draw.logits(), draw.axis)
        rows = Rows(x, draw.axis)
        tau = None if self.hard else rows.of_temperature(tau)

        def k_hot(x: Tensor) -> Tensor:
            x = numerics.nan_to_inf(x)
            if self.hard:
                return categorical.largest(x, self.k)[0]
            return top_k.relaxed_k_hot(x, tau, self.k, top_k.ANYWHERE)

        y = in_any_format(k_hot, rows.of(x), 1, tau, finite_if_empty)
        return (rows.back(y),)

    def perturbed(self, draw: Draw) -> Tensor:
        return numerics.nan_to_inf(_near(draw.logits(), draw.axis))


def _near(x: Tensor, axis: int) -> Tensor:
    """Rows to which log(1 - a) can be added: far from 0 it would be lost."""
    return numerics.less(x, numerics.offset(x, 1.0, axis))
