"""Matchings with a gradient: hard, or relaxed by Sinkhorn's iterations."""

import dataclasses
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._tracing import portable_format
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import (
    Arguments,
    check_integer,
    is_wide,
    matrix_arguments,
)
from keras_gumbel.numerics import Draw
from keras_gumbel.numerics.portable import marked
from keras_gumbel.numerics.sinkhorn import (
    Matrices,
    Path,
    Sums,
    arrange,
    balance,
    balance_vjp,
    pack,
    restore,
    unrolled,
    with_spare_row,
)
from keras_gumbel.ops import _program
from keras_gumbel.ops._op import Op
from keras_gumbel.ops.linear_assignment import assign, is_bad


def gumbel_sinkhorn(
    logits: Tensor,
    temperature: Tensor = 1.0,
    num_iterations: int = 20,
    *,
    hard: bool = False,
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> Tensor:
    """Draw a random permutation or matching, as a matrix with a gradient.

    Use it to sort, match or reorder n items: row i is item i, column j is
    place j, and `logits[i, j]` says how well they fit. There may be more
    places than items, m > n: each item gets a place of its own, and m - n
    places stay empty.

        perturbed = logits + noise_scale * gumbel
        soft:  exp(X), where X = perturbed / temperature at first, and then
               num_iterations times
                   X_ij -= log(sum_j exp(X_ij))   each row
                   X_ij -= log(sum_i exp(X_ij))   each column
               If n < m, X has m - n more rows meanwhile, all 0 at first,
               which are then dropped.
        hard:  the matrix P of zeros and ones with the largest
               sum(P * perturbed) that has one 1 in each row, and at most
               one in each column

    In a soft sample each row sums to 1 approximately; more iterations and
    higher temperatures bring rows closer. Each column sums to 1 if n = m, and
    to at most 1 otherwise. With many iterations it tends to the one matrix
    P >= 0 with these sums that maximises

        sum(P * perturbed) - temperature * (sum(P * log(P))
                                            + sum(empty * log(empty)))

    where empty_j = 1 - sum_i P_ij. As the temperature tends to 0, with
    iterations that grow as 1 / temperature, it approaches the hard sample of
    the same seed, which depends on neither. The distribution of hard samples
    has no simple form. (For n = m = 2, the identity has probability
    P(L1 + L2 > -d), where d is the diagonal's sum less the other two entries,
    and L1, L2 are standard logistic. For n = 1 it is softmax(logits).)
    Computed in float32, or float64 for float64 logits; the best matching is
    found in float64, exactly.

    Args:
        logits: Float tensor `(..., n, m)`, n <= m: how well row i fits column
            j, in nats. -inf forbids a pair. If n = m, a row or column whose
            entries are all farther from 0 than 2**8 noise scales is first
            moved towards 0, where float32 can hold the noise; if n < m, a row
            whose largest entry is that far. This changes neither the
            distribution of hard samples nor the limit of the iterations.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits with size 1 along the last two axes
            (such as `(batch, 1, 1)`). If a value turns out not to be positive
            only when the program runs, soft samples and all gradients are
            NaN.
        num_iterations: Integer >= 1. Each normalises rows, then columns.
        hard: True for a matrix of exactly 0 and 1.
        class_mask: Optional bool tensor, True where a pair is allowed, that
            broadcasts to the logits. Forbidden pairs get exactly 0 and no
            gradient, and so do rows and columns with no pair allowed. If the
            allowed pairs cannot match all rows, a hard sample matches as many
            as possible, with the largest sum among such matchings, and leaves
            the other rows zero; a soft sample stays finite, and its rows do
            not sum to 1.
        noise_scale: Number >= 0, or a scalar float tensor, that multiplies
            the noise; 0 leaves it out.
        seed: An integer in [0, 2**32) for the same sample at every call (hard
            and soft then share their noise), a `keras.random.SeedGenerator` for
            its stream, None for fresh noise that follows
            `keras.utils.set_random_seed`. On JAX also a key, on torch also a
            `torch.Generator`.

    Returns:
        A tensor of the shape and dtype of `logits`. A logit of NaN or +inf
        makes its whole matrix NaN.

    Gradient:
        Soft: exact for the relaxed sample, to `logits` and to `temperature`
        if it is a tensor. Hard: the gradient of the soft sample with the same
        noise, straight through, hence biased. A second derivative raises a
        LookupError, and so does `tf.autodiff.ForwardAccumulator`.

    Raises:
        ValueError: For logits with more rows than columns, a temperature,
            number of iterations, mask or seed out of range.
        TypeError: For arguments of another type, such as integer logits.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.convert_to_tensor([[0.0, 9.0], [0.0, 0.0]])
    >>> hard = kg.ops.gumbel_sinkhorn(logits, hard=True, seed=1)
    >>> keras.ops.convert_to_numpy(hard).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    >>> y = kg.ops.gumbel_sinkhorn(logits, 2.0, seed=1)
    >>> sums = keras.ops.round(keras.ops.sum(y, axis=0), 3)
    >>> keras.ops.convert_to_numpy(sums).tolist()
    [1.0, 1.0]

    Two items for three places:

    >>> logits = keras.ops.convert_to_tensor([[9.0, 8.0, 0.0], [9.0, 0.0, 0.0]])
    >>> y = kg.ops.gumbel_sinkhorn(logits, hard=True, noise_scale=0.0)
    >>> keras.ops.convert_to_numpy(y).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]

    Reference:
        Mena, Belanger, Linderman, Snoek, "Learning Latent Permutations with
        Gumbel-Sinkhorn Networks", 2018, sections 3 and 4,
        https://arxiv.org/abs/1802.08665
    """
    check_integer(num_iterations, "num_iterations", minimum=1)
    arguments = matrix_arguments(logits, temperature, class_mask)
    wide = is_wide(arguments.logits)
    op = _Permutation(int(num_iterations), bool(hard), _known(wide))
    return _program.run(op, arguments, noise_scale, seed, *_unknown(wide))


def noiseless_sinkhorn(
    logits: Tensor,
    temperature: Tensor,
    num_iterations: int,
    *,
    hard: bool,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Return the best matching, or its relaxation, without noise."""
    check_integer(num_iterations, "num_iterations", minimum=1)
    target = portable_format()
    # Only OpenVINO has loops to find the best permutation.
    if target and not (hard and target == "openvino"):
        return _portable(
            logits, temperature, num_iterations, hard, class_mask, target
        )
    arguments = matrix_arguments(logits, temperature, class_mask)
    wide = is_wide(arguments.logits)
    op = _NoiselessPermutation(int(num_iterations), bool(hard), _known(wide))
    return _program.run_by_key(op, arguments, (), *_unknown(wide))


def _known(wide: Tensor | bool) -> bool | None:
    return wide if isinstance(wide, bool) else None


def _unknown(wide: Tensor | bool) -> Tensors:
    return () if isinstance(wide, bool) else (wide,)


@backend.unchecked
def _portable(
    logits: Tensor,
    temperature: Tensor,
    num_iterations: int,
    hard: bool,
    class_mask: Tensor | None,
    target: str,
) -> Tensor:
    """Return the relaxation, in operations that every format has."""
    if hard:
        backend.refuse_export(
            f"the format {target!r} has no loop for the best permutation: "
            "export the logits and match them where they are used, or use the "
            "format 'tf_saved_model', or `inference=\"sinkhorn\"`. "
            "Received: hard=True"
        )
    given = matrix_arguments(logits, temperature, class_mask)
    x = numerics.allowed(given.logits, given.class_mask)
    wide = is_wide(x)
    x = numerics.near_matrices(x, 1.0, wide)
    tau = numerics.positive_or_nan(given.temperature, x.dtype)
    more, weight = with_spare_row(x, wide)
    matrices = arrange(more, tau, num_iterations, weight)
    y = restore(unrolled(matrices, num_iterations), x, matrices)
    return ops.cast(marked(y, x, (-2, -1), tau), given.logits.dtype)


@dataclasses.dataclass(frozen=True)
class _Permutation(Op):
    """The best matching of the perturbed logits, or its relaxation.

    If a size is unknown, another tensor tells whether there are more columns
    than rows.
    """

    num_iterations: int
    hard: bool
    wide: bool | None
    trained_once: ClassVar[str] = "gumbel_sinkhorn"

    @property
    def others(self) -> int:
        """Count that tensor: 1 if a size is unknown, else 0."""
        return int(self.wide is None)

    def first_axis_of_a_row(self, arguments: Arguments) -> int:
        """Return the first axis of a matrix: each matrix is a row."""
        return arguments.axis - 1

    def forward(self, draw: Draw, tau: Tensor, *wide: Tensor) -> Tensors:
        x = self.perturbed(draw, self._wide(wide))
        kept: Tensors = ()
        if self.hard:
            hot = numerics.classes(x, -1) == assign(x)[..., None]
            y = ops.cast(hot, x.dtype)
        else:
            matrices = self._matrices(x, tau, self._wide(wide))
            balanced, path = balance(matrices, self.num_iterations)
            y = restore(balanced, x, matrices)
            kept = (*path.row, *path.column)
        return ops.where(is_bad(x), float("nan"), y), x, *kept

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *wide: Tensor
    ) -> Tensors:
        x, *sums = kept
        matrices = self._matrices(x, tau, self._wide(wide))
        if self.hard:
            _, path = balance(matrices, self.num_iterations)
        else:
            path = Path(Sums(*sums[:2]), Sums(*sums[2:]))
        found = balance_vjp(matrices, pack(dy, x, matrices), path)
        return *(
            ops.where(is_bad(x), float("nan"), restore(d, x, matrices))
            for d in found
        ), *(None for _ in wide)

    def _wide(self, told: Tensors) -> Tensor | bool:
        """Return whether there are more columns than rows."""
        return told[0] if self.wide is None else self.wide

    def perturbed(self, draw: Draw, wide: Tensor | bool) -> Tensor:
        """Return the scores to match, with +inf in place of NaN."""
        near = _near(draw.logits(), draw.noise_scale, wide)
        draw = draw._replace(logits=lambda: near)
        return numerics.add_noise(draw, numerics.gumbel, numerics.nan_to_inf)

    def _matrices(
        self, x: Tensor, temperature: Tensor, wide: Tensor | bool
    ) -> Matrices:
        x, weight = with_spare_row(ops.where(is_bad(x), 0.0, x), wide)
        return arrange(x, temperature, self.num_iterations, weight)


@dataclasses.dataclass(frozen=True)
class _NoiselessPermutation(_Permutation):
    """The matching of the logits themselves."""

    def perturbed(self, draw: Draw, wide: Tensor | bool) -> Tensor:
        return numerics.nan_to_inf(_near(draw.logits(), 1.0, wide))


def _near(
    x: Tensor, noise_scale: Tensor | float, wide: Tensor | bool
) -> Tensor:
    """Run `near_matrices` in float64, where rows and columns add up exactly."""
    near = numerics.near_matrices(ops.cast(x, "float64"), noise_scale, wide)
    largest = float(np.finfo(keras.backend.standardize_dtype(x.dtype)).max)
    near = ops.cast(ops.clip(near, -largest, largest), x.dtype)
    return ops.where(ops.abs(x) < float("inf"), near, x)
