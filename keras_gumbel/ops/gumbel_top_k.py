"""Several classes without replacement: k-hot, or relaxed, and in order."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import Arguments, categorical_arguments
from keras_gumbel.numerics import Draw, top_k
from keras_gumbel.numerics.portable import (
    finite_if_empty,
    in_any_format,
)
from keras_gumbel.ops import _program
from keras_gumbel.ops._rows import Rows
from keras_gumbel.ops._subsets import OfSizes, of_sizes


def gumbel_top_k(
    logits: Tensor,
    k: int | Tensor,
    temperature: Tensor = 1.0,
    *,
    max_k: int | None = None,
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
    up to k times. For `k=1` both equal the samples of `gumbel_softmax` with
    `st_gumbel`. Computed in float32, or float64 for float64 logits.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class.
        k: Positive integer, at most the number of classes. If that number is
            known only when the program runs, and is below `k`, the program
            stops with an error. With `max_k`, an integer tensor with values
            from 0 to `max_k`, one per row: it broadcasts to the logits without
            `axis` (such as `(batch,)`), or with size 1 along it. A greater k
            with the same seed starts with the same classes. If a value turns
            out to be out of range only when the program runs, its row is NaN
            and its indices are -1.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits with size 1 along `axis`.
        max_k: Positive integer, the most classes of any row, for which a
            program is compiled. None where `k` is an integer for all rows.
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
        seed: An integer for the same sample at every call, with the same noise
            as in `gumbel_softmax`; a `keras.random.SeedGenerator` for its
            stream; None to follow `keras.utils.set_random_seed`. On JAX also a
            key, on torch also a `torch.Generator`.

    Returns:
        The k-hot, a tensor of the shape and dtype of `logits` whose rows
        along `axis` sum to `k`; and the indices, an int32 tensor with `k` in
        place of the size of `axis`, the first drawn first. With `max_k` there
        are `max_k` indices per row, -1 after its first k. A logit of NaN or
        +inf gives a NaN row, and indices of -1.

    Gradient:
        The k-hot has a gradient to `logits`, and to `temperature` if it is a
        tensor. Soft: exact for the relaxed sample. Hard: the gradient of the
        soft sample with the same noise, straight through, hence biased. The
        only residual is the perturbed logits; the backward pass holds k (or
        `max_k`) tensors of their size. A second derivative raises a
        LookupError, and so does `tf.autodiff.ForwardAccumulator`. The indices
        have no gradient.

    Raises:
        ValueError: For a `k`, `max_k`, temperature, axis, mask or seed out of
            range.
        InvalidArgumentError: On TensorFlow, for a `k` above a number of
            classes that is known only when the program runs.
        TypeError: For arguments of another type, such as integer logits.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.log([[0.1, 0.2, 0.3, 0.4]])
    >>> y, indices = kg.ops.gumbel_top_k(logits, 2, hard=True, seed=1)
    >>> float(keras.ops.sum(y))
    2.0
    >>> keras.ops.convert_to_numpy(keras.ops.take(y[0], indices[0])).tolist()
    [1.0, 1.0]
    >>> logits = keras.ops.broadcast_to(logits, (2, 4))
    >>> y, indices = kg.ops.gumbel_top_k(
    ...     logits, [1, 3], max_k=3, hard=True, seed=1
    ... )
    >>> keras.ops.convert_to_numpy(keras.ops.sum(y, axis=-1)).tolist()
    [1.0, 3.0]
    >>> keras.ops.convert_to_numpy(indices[0]).tolist()[1:]
    [-1, -1]

    Reference:
        Kool, van Hoof, Welling, "Stochastic Beams and Where to Find Them",
        2019, section 2.3, https://arxiv.org/abs/1903.06059;
        Xie, Ermon, "Reparameterizable Subset Sampling via Continuous
        Relaxations", 2019, algorithm 1, https://arxiv.org/abs/1901.10517
    """
    arguments, k, most = _arguments(
        logits, k, max_k, temperature, axis, class_mask
    )
    op = _SubsetInOrder(most, hard)
    k_hot, indices = _program.run(op, arguments, noise_scale, seed, k)
    return k_hot, indices


def sample_subset(
    logits: Tensor,
    k: int | Tensor,
    temperature: Tensor,
    *,
    max_k: int | None = None,
    hard: bool,
    axis: int,
    class_mask: Tensor | None,
    noise_scale: Tensor,
    seed: Seed,
) -> Tensor:
    """Return the k-hot of `gumbel_top_k` alone.

    Without the indices, a soft sample needs no search.
    """
    arguments, k, most = _arguments(
        logits, k, max_k, temperature, axis, class_mask
    )
    return _program.run(_Subset(most, hard), arguments, noise_scale, seed, k)


def noiseless_subset(
    logits: Tensor,
    k: int | Tensor,
    temperature: Tensor,
    *,
    max_k: int | None = None,
    hard: bool,
    axis: int,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Return the k-hot of the likeliest classes, or its relaxation.

    Plain `keras.ops`, except for the gradient: always the relaxation's.
    """
    arguments, k, most = _arguments(
        logits, k, max_k, temperature, axis, class_mask
    )
    return _program.run_by_key(_NoiselessSubset(most, hard), arguments, (), k)


def _arguments(
    logits: Tensor,
    k: int | Tensor,
    max_k: int | None,
    temperature: Tensor,
    axis: int,
    class_mask: Tensor | None,
) -> tuple[Arguments, Tensor, int]:
    """Return the arguments of the sample, k, and the most that k can be."""
    found = categorical_arguments(logits, temperature, axis, class_mask)
    logits, k, most = of_sizes(found, k, max_k)
    return found._replace(logits=logits), k, most


@dataclasses.dataclass(frozen=True)
class _Subset(OfSizes):
    """1 at the k largest perturbed logits, or its relaxation."""

    hard: bool
    trained_once: ClassVar[str] = "gumbel_top_k"

    def forward(self, draw: Draw, tau: Tensor, *others: Tensor) -> Tensors:
        (k,) = others
        x = self.perturbed(draw, k)
        rows = Rows(x, draw.axis)
        k, tau = rows.of_number(k), rows.of_number(tau)
        y, indices = top_k.largest(rows.of(x), k, self.most)
        if not self.hard:
            y = top_k.relaxed_k_hot(
                rows.of(x), tau, k, self.most, top_k.COMPILED
            )
        results = rows.back(y), rows.back(indices)
        return *results[: self.outputs], x

    def backward(
        self,
        draw: Draw,
        kept: Tensors,
        tau: Tensor,
        dy: Tensor,
        *others: Tensor,
    ) -> Tensors:
        (k,) = others
        x = kept[0] if kept else self.perturbed(draw, k)
        rows = Rows(x, draw.axis)
        k, tau = rows.of_number(k), rows.of_number(tau)
        found = top_k.relaxed_k_hot_vjp(
            rows.of(x), tau, rows.of(dy), k, self.most
        )
        return *map(rows.back, found), None

    def perturbed(self, draw: Draw, k: Tensor) -> Tensor:
        """Return the scores to search, with +inf in place of NaN."""
        # With k classes, one far below the largest may be chosen too.
        x = numerics.perturb(draw, numerics.less)
        return ops.where(k < 0, float("inf"), x)


@dataclasses.dataclass(frozen=True)
class _SubsetInOrder(_Subset):
    """The subset, and its classes in the order of drawing."""

    outputs: ClassVar[int] = 2
    classes_stay: ClassVar[tuple[int, ...]] = (1, 0)


@dataclasses.dataclass(frozen=True)
class _NoiselessSubset(_Subset):
    """The subset of the logits, in operations that every format has."""

    @property
    def forward_is_compiled(self) -> bool:
        """Return False: every format has its operations."""
        return False

    def forward(self, draw: Draw, tau: Tensor, *others: Tensor) -> Tensors:
        (k,) = others
        x = self._scores(draw, k)
        rows = Rows(x, draw.axis)
        k = rows.of_number(k)
        tau = None if self.hard else rows.of_number(tau)

        def k_hot(x: Tensor) -> Tensor:
            x = numerics.nan_to_inf(x)
            if self.hard:
                return top_k.largest(x, k, self.most)[0]
            return top_k.relaxed_k_hot(x, tau, k, self.most, top_k.ANYWHERE)

        y = in_any_format(k_hot, rows.of(x), 1, tau, finite_if_empty)
        return (rows.back(y),)

    def perturbed(self, draw: Draw, k: Tensor) -> Tensor:
        return numerics.nan_to_inf(self._scores(draw, k))

    def _scores(self, draw: Draw, k: Tensor) -> Tensor:
        x = _near(draw.logits(), draw.axis)
        return ops.where(k < 0, float("nan"), x)


def _near(x: Tensor, axis: int) -> Tensor:
    """Move rows near 0, where adding log(1 - a) is not lost in rounding."""
    return numerics.less(x, numerics.offset(x, 1.0, axis))
