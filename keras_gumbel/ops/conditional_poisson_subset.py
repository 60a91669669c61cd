"""A subset of k classes: independent choices, given that they are k."""

from keras_gumbel._typing import Seed, Tensor
from keras_gumbel.ops import _program
from keras_gumbel.ops._conditional_poisson import Subset, arguments_of


def conditional_poisson_subset(
    logits: Tensor,
    k: int | Tensor,
    *,
    max_k: int | None = None,
    axis: int = -1,
    class_mask: Tensor | None = None,
    seed: Seed = None,
) -> Tensor:
    """Draw `k` classes by conditional Poisson sampling, as a k-hot.

        P(subset) = exp(sum of its logits) / e_k(exp(logits))

    Use it if the gradient must be as accurate as possible, or if you also need
    the marginals, which `conditional_poisson_marginals` returns. Choose each
    class independently, with probability sigmoid(logits): given that k are
    chosen, they follow this distribution. (e_k, the kth elementary symmetric
    polynomial, makes the probabilities sum to 1.) It has the largest entropy
    of all distributions of k classes with the same marginals. A number added
    to a whole row changes nothing.

    `gumbel_top_k` has another distribution: it draws one class after another
    (Plackett-Luce). For k = 2 and weights exp(logits) of 1, 2, 4:

        classes                     0 and 1  0 and 2  1 and 2
        conditional_poisson_subset    0.143    0.286    0.571
        gumbel_top_k                  0.105    0.286    0.610

    For k = 1 both are softmax(logits). The classes of a subset have no order
    here. Computed in float64, from the last class to the first: n steps, each
    over all rows at once, O(n k) per row. `tf.vectorized_map` cannot vectorise
    this loop: pass all rows as one tensor.

    Args:
        logits: Float tensor, log-odds of the independent choices, in nats.
            -inf forbids a class.
        k: Integer from 0 to the number of classes. With `max_k`, an integer
            tensor with values from 0 to `max_k`, one per row, as for
            `gumbel_top_k`.
        max_k: Positive integer, the most classes of any row. None where `k` is
            an integer for all rows.
        axis: Integer, the category axis.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Forbidden classes get exactly 0 and no
            gradient. A row that allows only m < k classes raises an error if
            the mask's values are known at the call, unless m is 0; if they are
            not, or if logits of -inf forbid the rest, all m are taken.
        seed: An integer for the same sample at every call, a
            `keras.random.SeedGenerator` for its stream, None to follow
            `keras.utils.set_random_seed`. On JAX also a key, on torch also a
            `torch.Generator`.

    Returns:
        A tensor of the shape and dtype of `logits`, exactly 0 and 1, whose
        rows along `axis` sum to `k`. A logit of NaN or +inf gives a NaN row,
        and so does a `k` that turns out to be out of range only when the
        program runs.

    Gradient:
        The gradient of the marginals, straight through:

            d logits = Cov(z) dy

        where Cov(z) is the exact covariance of the subset. If the loss is
        linear in the sample, this is the exact gradient of its mean, without
        noise. Otherwise it is biased, the more the farther the loss is from
        linear over the subsets. A second derivative raises a LookupError.

    Raises:
        ValueError: For a `k`, `max_k`, axis, mask or seed out of range.
        InvalidArgumentError: On TensorFlow, for a `k` above a number of
            classes that is known only when the program runs.
        TypeError: For arguments of another type, such as integer logits.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.log([[1.0, 2.0, 4.0]])
    >>> y = kg.ops.conditional_poisson_subset(logits, 2, seed=1)
    >>> sorted(keras.ops.convert_to_numpy(y[0]).tolist())
    [0.0, 1.0, 1.0]

    Reference:
        Ahmed, Zeng, Niepert, Van den Broeck, "SIMPLE: A Gradient Estimator for
        k-Subset Sampling", 2023, theorem 1 and algorithms 1 and 2,
        https://arxiv.org/abs/2210.01941;
        Chen, Dempster, Liu, "Weighted Finite Population Sampling to Maximize
        Entropy", 1994, procedure 2, https://doi.org/10.1093/biomet/81.3.457
    """
    arguments, k, most = arguments_of(logits, k, max_k, axis, class_mask)
    k_hot: Tensor = _program.run(Subset(most), arguments, 1.0, seed, k)
    return k_hot
