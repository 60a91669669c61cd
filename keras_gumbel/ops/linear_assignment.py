"""The best assignment of each row to a column of its own."""

import math
from collections.abc import Callable

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_matrices
from keras_gumbel.numerics import assignment


def linear_assignment(logits: Tensor) -> Tensor:
    """Match each row to a column of its own, with the largest sum of entries.

        argmax over one-to-one p of sum_i logits[i, p(i)]

    If there are as many columns as rows, p is a permutation; if there are
    more, some stay without a row. The result is exact for each matrix of the
    batch: no assignment has a larger sum, up to rounding in float64. If several
    are best, it is one of them. If -inf forbids pairs, as many rows as possible
    get a partner, with the largest sum among such matchings. Eager, graph and
    XLA code run the same compiled program, which works on the matrices side by
    side in O(n**2 m), the worst case of the sequential algorithm.

    Args:
        logits: Float tensor `(..., n, m)`, n <= m. -inf forbids a pair.

    Returns:
        An int32 tensor `(..., n)`, different numbers from 0 to m - 1; -1
        for a row without a partner, and for every row of a matrix with NaN or
        +inf in it. It has no gradient.

    Raises:
        ValueError: If the logits are not matrices with n <= m.
        TypeError: For logits that are not floats.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.convert_to_tensor([[9.0, 8.0], [7.0, 1.0]])
    >>> keras.ops.convert_to_numpy(kg.ops.linear_assignment(logits)).tolist()
    [1, 0]
    >>> logits = keras.ops.convert_to_tensor([[9.0, 8.0, 0.0], [9.0, 1.0, 2.0]])
    >>> keras.ops.convert_to_numpy(kg.ops.linear_assignment(logits)).tolist()
    [1, 0]

    Reference:
        Crouse, "On Implementing 2D Rectangular Assignment Algorithms", 2016,
        section 2, https://doi.org/10.1109/TAES.2016.140952; Jonker,
        Volgenant, "A Shortest Augmenting Path Algorithm for Dense and Sparse
        Linear Assignment Problems", 1987,
        https://doi.org/10.1007/BF02278710
    """
    logits = check_matrices(logits)
    return _program(*logits.shape[-2:], len(logits.shape))(logits)


@backend.cached
def _program(*signature: int | None) -> Callable[[Tensor], Tensor]:
    """Compile one per size and rank, since TensorFlow would generalise it."""
    del signature

    @backend.compiled
    def run(logits: Tensor) -> Tensor:
        scores = numerics.widen(ops.stop_gradient(logits))
        return assign(numerics.nan_to_inf(scores))

    return run


def assign(scores: Tensor) -> Tensor:
    """Run `linear_assignment` on scores with +inf in place of NaN.

    Call it only inside a compiled program.
    """
    shape = ops.shape(scores)
    bad = is_bad(scores)
    matrices = ops.where(bad, 0.0, scores)
    # Every size is a number: -1 is ambiguous for an empty batch.
    count = math.prod(shape[:-2])
    columns = assignment.best_columns(
        ops.reshape(matrices, (count, *shape[-2:]))
    )
    return ops.where(bad[..., 0], -1, ops.reshape(columns, shape[:-1]))


def is_bad(scores: Tensor) -> Tensor:
    """Return whether a matrix holds +inf, which stands for NaN: (..., 1, 1)."""
    return ops.any(scores == float("inf"), axis=(-2, -1), keepdims=True)
