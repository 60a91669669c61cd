"""The index of a categorical sample, as a number that trains."""

from keras import ops

from keras_gumbel import estimators, numerics
from keras_gumbel._typing import Seed, Tensor
from keras_gumbel._validation import (
    categorical_arguments,
    check_axis,
    check_index_is_exact,
    check_num_samples,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.ops._cells import Cells
from keras_gumbel.ops.gumbel_softmax import gumbel_softmax, sample


def sample_argmax_index(
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
    """Sample a class, and return its index as a number with a gradient.

        index = sum_k k * y_k,  y = gumbel_softmax(logits, ...)

    A hard index is the sampled class, exactly one of 0, 1, ..., K - 1. A soft
    index is the mean under the relaxed sample, which lies between classes.

    Args:
        logits: Float tensor, unnormalised log-probabilities in nats.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits with size 1 along `axis`.
        hard: True for a whole index whose gradient is the `estimator`'s.
        axis: Integer, the category axis, which the result lacks. Or several
            integers, whose cells are the classes, as for `gumbel_softmax`: the
            result lacks these axes and has the coordinates of the cell on a
            new last axis, one per integer, in their order. Soft coordinates
            are means.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule of a hard sample.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. A row with no class allowed gives 0.
        noise_scale: Number >= 0, or a scalar float tensor, that multiplies
            the noise; 0 leaves it out.
        num_samples: Positive integer, the number of samples per row, on a new
            first axis. By `st`, 10,000 samples of 10,000 classes are 10,000
            numbers, and no matrix.
        seed: An integer for the same sample at every call, shared with
            `gumbel_softmax`; a `keras.random.SeedGenerator` for its stream;
            None to follow `keras.utils.set_random_seed`. On JAX also a key, on
            torch also a `torch.Generator`.

    Returns:
        A float32 tensor of the shape of `logits` without `axis`, whatever the
        dtype of the logits: float16 cannot hold an index above 2048. With
        several axes, the coordinates are on the last axis; with
        `num_samples`, the samples are on the first. If more than 2**24 classes
        are found only when the program runs, the result is NaN.

    Gradient:
        The gradient of `gumbel_softmax`, weighted by the class numbers. It
        helps only if the order of the classes has a meaning, such as positions
        in an array.

    Raises:
        ValueError: As `gumbel_softmax`, and for more than 2**24 classes, whose
            numbers float32 would round.
        TypeError: As `gumbel_softmax`.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.convert_to_tensor([[0.0, 50.0, 0.0]])
    >>> index = kg.ops.sample_argmax_index(logits, hard=True)
    >>> keras.ops.convert_to_numpy(index).tolist()
    [1.0]

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, eq. 2, https://arxiv.org/abs/1611.01144
    """
    rule = estimators.get(estimator)
    axis = check_axis(axis)
    if not isinstance(axis, int):
        cells = Cells(logits, axis)
        merged, temperature, mask = cells.merged(temperature, class_mask)
        y = gumbel_softmax(
            numerics.widen(merged),
            temperature,
            hard=hard,
            estimator=rule,
            class_mask=mask,
            noise_scale=noise_scale,
            num_samples=num_samples,
            seed=seed,
        )
        return ops.cast(cells.coordinates(y), "float32")
    if num_samples is not None:
        check_num_samples(num_samples)
        if axis != -1:
            cells = Cells(logits, (axis,))
            merged = cells.merged(temperature, class_mask)
            (logits, temperature, class_mask), axis = merged, -1
    arguments = categorical_arguments(logits, temperature, axis, class_mask)
    check_index_is_exact(arguments.logits.shape, arguments.axis)
    chosen = rule if hard else None
    return sample(chosen, arguments, num_samples, noise_scale, seed, index=True)
