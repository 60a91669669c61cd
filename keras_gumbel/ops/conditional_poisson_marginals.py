"""How likely each class is to be among k."""

from keras_gumbel._typing import Tensor
from keras_gumbel.ops import _program
from keras_gumbel.ops._conditional_poisson import Marginals, arguments_of


def conditional_poisson_marginals(
    logits: Tensor,
    k: int | Tensor,
    *,
    max_k: int | None = None,
    axis: int = -1,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Return each class's probability to be in a conditional Poisson subset.

        p_i = P(i in subset) = d log e_k(exp(logits)) / d logits_i
        P(subset) = exp(sum of its logits) / e_k(exp(logits))

    This is the exact mean of `conditional_poisson_subset`. Use it in place of
    a sample for a relaxed choice of k classes whose entries stay between 0 and
    1, for a regulariser, or at inference. e_k is the kth elementary symmetric
    polynomial. `gumbel_top_k` has other probabilities, since it draws one class
    after another: for k = 2 and weights exp(logits) of 1, 2, 4 they are 0.390,
    0.714, 0.895 there, and 0.429, 0.714, 0.857 here. For k = 1 both are
    softmax(logits). `tf.vectorized_map` cannot vectorise the loop: pass all
    rows as one tensor.

    Args:
        logits: Float tensor, log-odds of the independent choices, in nats.
            -inf forbids a class.
        k: Integer from 0 to the number of classes, or integers for the rows,
            as for `conditional_poisson_subset`.
        max_k: Positive integer, the most classes of any row. None where `k` is
            an integer for all rows.
        axis: Integer, the category axis.
        class_mask: Optional bool tensor, as for `conditional_poisson_subset`.

    Returns:
        A tensor of the shape and dtype of `logits`, between 0 and 1, whose
        rows along `axis` sum to `k`; computed in float64. A logit of NaN or
        +inf gives a NaN row, and so does a `k` that turns out to be out of
        range only when the program runs.

    Gradient:
        Exact: `Cov(z) dy`, where Cov(z) is the covariance of the subset.
        Certain classes get none. A second derivative raises a LookupError.

    Raises:
        ValueError: For a `k`, `max_k`, axis or mask out of range.
        InvalidArgumentError: On TensorFlow, for a `k` above a number of
            classes that is known only when the program runs.
        TypeError: For arguments of another type, such as integer logits.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.log([[1.0, 2.0, 4.0]])
    >>> marginals = kg.ops.conditional_poisson_marginals(logits, 2)
    >>> [round(float(p), 3) for p in marginals[0]]
    [0.429, 0.714, 0.857]

    Reference:
        Ahmed, Zeng, Niepert, Van den Broeck, "SIMPLE: A Gradient Estimator for
        k-Subset Sampling", 2023, theorem 1,
        https://arxiv.org/abs/2210.01941
    """
    arguments, k, most = arguments_of(logits, k, max_k, axis, class_mask)
    found: Tensor = _program.run_by_key(Marginals(most), arguments, (), k)
    return found
