"""The index of a categorical sample, as a number that trains."""

from keras_gumbel import estimators
from keras_gumbel._typing import Seed, Tensor
from keras_gumbel._validation import (
    categorical_arguments,
    check_index_is_exact,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.ops import _program
from keras_gumbel.ops.gumbel_softmax import op_for


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
    """Sample a class, and return its index as a number with a gradient.

        index = sum_k k * y_k,  y = gumbel_softmax(logits, ...)

    A hard index is the sampled class, exactly one of 0, 1, ..., K - 1. A soft
    index is the mean under the relaxed sample, which lies between classes.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits with size 1 along `axis`.
        hard: True for a whole index whose gradient is the `estimator`'s.
        axis: Integer, the category axis; the result is without it.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule of a hard sample.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. A row with no class allowed gives 0.
        noise_scale: Number >= 0, or a scalar float tensor, that multiplies
            the noise; 0 leaves it out.
        seed: An integer for the same sample at every call, the one that
            `gumbel_softmax` draws with it; a `keras.random.SeedGenerator` for
            its stream; None to follow `keras.utils.set_random_seed`.

    Returns:
        A float32 tensor of the shape of `logits` less `axis`, whatever the
        dtype of the logits: float16 cannot hold an index above 2048. NaN for
        more than 2**24 classes, where their number is only known when the
        program runs.

    Gradient:
        The gradient of `gumbel_softmax`, weighted by the class numbers. It
        helps only where the order of the classes has a meaning, as that of
        the positions of an array.

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
    arguments = categorical_arguments(logits, temperature, axis, class_mask)
    check_index_is_exact(arguments.logits.shape, arguments.axis)
    op, arguments = op_for(rule if hard else None, arguments, index=True)
    return _program.run(op, arguments, noise_scale, seed)
