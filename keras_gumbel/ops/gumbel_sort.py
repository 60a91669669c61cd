"""Random orders of scores: as permutation matrices, sorted scores or ranks."""

from keras_gumbel._typing import Seed, Tensor
from keras_gumbel._validation import (
    categorical_arguments,
    check_choice,
    check_flag,
    check_index_is_exact,
)
from keras_gumbel.ops import _program
from keras_gumbel.ops._sorting import Order, Permutation, Ranks, Sorted

SHOWN: dict[str, type[Order]] = {
    "permutation": Permutation,
    "sorted": Sorted,
    "ranks": Ranks,
}


def gumbel_sort(
    scores: Tensor,
    temperature: Tensor = 1.0,
    *,
    hard: bool = False,
    descending: bool = True,
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> tuple[Tensor, Tensor]:
    """Draw a random order of scores, and its matrix with a gradient.

        perturbed = scores + noise_scale * gumbel
        order:  the entries by their perturbed scores, the largest first
        hard:   P_ij = 1 where j is order[i], else 0
        soft:   P_ij = softmax over j of -|perturbed[order[i]] - perturbed[j]|
                       / temperature

    Row i of the matrix is place i and column j is entry j, so
    `permutation @ scores` is the sorted vector. A hard order draws one entry
    after another from softmax(scores), each time without the entries drawn
    before (the Plackett-Luce distribution), at any temperature. Its first k
    entries are the indices of `gumbel_top_k` with the same seed; if
    `descending` is False, the last entry is drawn first. The soft matrix
    approaches the hard one of the same seed as the temperature tends to 0. Its
    rows sum to 1 and have their largest entry where the hard one has its 1; its
    columns do not sum to 1. Computed in float32, or float64 for float64 scores.

    Args:
        scores: Float tensor `(..., n)`, unnormalised log-probabilities of
            coming first, in nats. -inf marks an absent entry.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the scores with size 1 along the last axis
            (such as `(batch, 1)`). If a value turns out not to be positive
            only when the program runs, soft samples and all gradients are
            NaN.
        hard: True for a permutation matrix of exactly 0 and 1.
        descending: False for the smallest first.
        class_mask: Optional bool tensor, True where an entry is present, that
            broadcasts to the scores. Absent entries have no place: their
            columns are exactly 0 and they get no gradient; places behind the
            last entry have rows of zeros, and -1 in the order.
        noise_scale: Number >= 0, dimensionless, or a scalar float tensor, as
            for `gumbel_softmax`; 0 leaves the noise out.
        seed: An integer in [0, 2**32) for the same sample at every call (hard
            and soft then share their noise), a `keras.random.SeedGenerator` for
            its stream, None for fresh noise that follows
            `keras.utils.set_random_seed`. On JAX also a key, on torch also a
            `torch.Generator`.

    Returns:
        The matrix `(..., n, n)`, of the dtype of `scores`; and the order,
        int32 `(..., n)`. A score of NaN or +inf makes its whole matrix NaN
        and its order -1.

    Gradient:
        The matrix has a gradient to `scores`, and to `temperature` if it is a
        tensor. Soft: exact for the relaxed sample; if two perturbed scores are
        equal, from the side of the returned order. Hard: the gradient of the
        soft sample with the same noise, straight through, hence biased. The
        residuals are the perturbed scores and their order, nothing of the size
        of the matrix. A second derivative raises a LookupError, and so does
        `tf.autodiff.ForwardAccumulator`. The order has no gradient.

    Raises:
        ValueError: For a temperature, mask or seed out of range.
        TypeError: For arguments of another type, such as integer scores.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> scores = keras.ops.convert_to_tensor([1.0, 99.0, 50.0])
    >>> matrix, order = kg.ops.gumbel_sort(scores, hard=True, seed=1)
    >>> keras.ops.convert_to_numpy(order).tolist()
    [1, 2, 0]
    >>> keras.ops.convert_to_numpy(keras.ops.matmul(matrix, scores)).tolist()
    [99.0, 50.0, 1.0]

    Reference:
        Prillo, Eisenschlos, "SoftSort: A Continuous Relaxation for the
        argsort Operator", 2020, eq. 3, https://arxiv.org/abs/2006.16038;
        Yellott, "The Relationship between Luce's Choice Axiom, Thurstone's
        Theory of Comparative Judgment, and the Double Exponential
        Distribution", 1977, https://doi.org/10.1016/0022-2496(77)90026-8
    """
    check_flag(descending, "descending")
    arguments = categorical_arguments(
        scores, temperature, -1, class_mask, "scores"
    )
    op = Permutation(bool(hard), descending)
    permutation, order = _program.run(op, arguments, noise_scale, seed)
    return permutation, order


def sample_order(
    scores: Tensor,
    temperature: Tensor,
    *,
    output: str,
    hard: bool,
    descending: bool,
    class_mask: Tensor | None,
    noise_scale: Tensor,
    seed: Seed,
) -> Tensor:
    """Draw a random order, and return it as `output` says.

    Soft results use the weights w_ij = exp(-|perturbed[order[i]] -
    perturbed[j]| / temperature) of `gumbel_sort`:

        sorted:  sum_j w_ij scores_j / sum_j w_ij, (..., n)
        ranks:   sum_i i w_ij / sum_i w_ij, float32 (..., n)

    For these two, neither pass holds a matrix.
    """
    arguments = categorical_arguments(scores, temperature, -1, class_mask)
    op = _op(output, arguments.logits, hard, descending, noiseless=False)
    found = _program.run(op, arguments, noise_scale, seed)
    return found[0] if op.outputs > 1 else found


def noiseless_order(
    scores: Tensor,
    temperature: Tensor,
    *,
    output: str,
    hard: bool,
    descending: bool,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Return the order of the scores without noise, as `output` says.

    Plain `keras.ops`, except for the gradient: always the relaxation's.
    """
    arguments = categorical_arguments(scores, temperature, -1, class_mask)
    op = _op(output, arguments.logits, hard, descending, noiseless=True)
    found = _program.run_by_key(op, arguments, ())
    return found[0] if op.outputs > 1 else found


def _op(
    output: str, scores: Tensor, hard: bool, descending: bool, noiseless: bool
) -> Order:
    check_choice(output, "output", tuple(SHOWN))
    if output == "ranks":
        check_index_is_exact(scores.shape, -1)
    return SHOWN[output](hard, descending, noiseless)
