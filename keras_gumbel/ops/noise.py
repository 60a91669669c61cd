"""Gumbel, logistic and uniform noise."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Seed, Tensor
from keras_gumbel._validation import check_noise_dtype, check_seed
from keras_gumbel.numerics.sizes import is_name
from keras_gumbel.ops import _ladder


def sample_gumbel(
    shape: Sequence[int] | Tensor,
    *,
    dtype: str = "float32",
    seed: Seed = None,
) -> Tensor:
    """Draw standard Gumbel noise, with its whole tail.

        g = -log(-log(1 - t)),  t uniform in (0, 1) from 64 random bits

    The distribution is Gumbel(location 0, scale 1): mean 0.5772, variance
    pi**2 / 6, P(g <= x) = exp(-exp(-x)). Values lie in about [-2.8, 45] (from
    -3.6 in float64); none is infinite or NaN. The bits depend on the seed
    alone, in row-major order: the same in eager, `tf.function` and XLA.

    Args:
        shape: The shape of the result, integers or an integer tensor.
        dtype: A float dtype. Noise is drawn in float32, in float64 for
            `"float64"`, and rounded to `dtype` at the end.
        seed: An integer in [0, 2**32) for the same noise at every call, a
            `keras.random.SeedGenerator` for its stream, None for fresh noise
            that follows `keras.utils.set_random_seed`. On JAX also a key, on
            torch also a `torch.Generator`.

    Returns:
        A tensor of the given shape and dtype. It has no gradient.

    Raises:
        ValueError: For a `dtype` that is not a float, or a seed out of range.
        TypeError: For a seed of another type.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> noise = kg.ops.sample_gumbel((1000, 1000), seed=0)
    >>> abs(float(keras.ops.mean(noise)) - 0.5772) < 0.01
    True

    Reference:
        Gumbel, "Statistical Theory of Extreme Values", 1954;
        Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011
        (the Threefry generator).
    """
    return _sample(_gumbel, shape, dtype, seed)


def sample_logistic(
    shape: Sequence[int] | Tensor,
    *,
    dtype: str = "float32",
    seed: Seed = None,
) -> Tensor:
    """Draw standard logistic noise, with both tails whole.

        l = +-log((1 - t) / t),  t uniform in (0, 1/2) from 63 random bits,
                                 the sign from one

    The distribution is Logistic(location 0, scale 1), like a difference of two
    Gumbel variables: mean 0, variance pi**2 / 3, P(l <= x) = sigmoid(x).
    Values lie in about [-45.7, 45.7]; none is infinite or NaN. The bits depend
    on the seed alone, in row-major order: the same in eager, `tf.function` and
    XLA.

    Args:
        shape: The shape of the result, integers or an integer tensor.
        dtype: The result's dtype, a float. Defaults to `"float32"`.
        seed: An integer for the same noise at every call, a
            `keras.random.SeedGenerator` for its stream, None to follow
            `keras.utils.set_random_seed`. On JAX also a key, on torch also a
            `torch.Generator`.

    Returns:
        A tensor of the given shape and dtype. It has no gradient.

    Raises:
        ValueError: As `sample_gumbel`.
        TypeError: As `sample_gumbel`.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> noise = kg.ops.sample_logistic((1000, 1000), seed=0)
    >>> abs(float(keras.ops.mean(noise))) < 0.01
    True

    Reference:
        Maddison, Mnih, Teh, "The Concrete Distribution", 2017, appendix B,
        https://arxiv.org/abs/1611.00712
    """
    return _sample(_logistic, shape, dtype, seed)


def sample_uniform(shape: Sequence[int] | Tensor, seed: Seed) -> Tensor:
    """Draw float32 numbers, uniform in the open interval (0, 1)."""
    return _sample(_uniform, shape, "float32", seed)


def _sample(
    draw: Callable[..., Tensor],
    shape: Sequence[int] | Tensor,
    dtype: str,
    seed: Seed,
) -> Tensor:
    dtype = check_noise_dtype(dtype)
    check_seed(seed)
    sizes, key = _sizes(shape), backend.next_key(seed)
    size: Tensor | int
    if isinstance(sizes, tuple):
        if not backend.programs_are_sized():
            return draw(sizes, key, dtype)
        size = math.prod(sizes)
    else:
        size = ops.prod(sizes)
    # One program serves many sizes: take the first numbers of a longer run.
    numbers = draw((_ladder.rung(size, size),), key, dtype)
    return ops.reshape(backend.corner(numbers, (size,)), sizes)


def _sizes(shape: Sequence[int] | Tensor) -> tuple[Any, ...] | Tensor:
    """Return a tuple of integers or names, or a tensor if they are unknown."""
    if not hasattr(shape, "dtype"):
        shape = tuple(shape)
        # torch's compiler allows no closer look at a size it does not know.
        if all(isinstance(size, int) for size in shape):
            return shape
        if any(hasattr(size, "dtype") for size in shape):
            shape = ops.stack([ops.cast(size, "int32") for size in shape])
    known = backend.static_value(shape)
    if known is None:
        return shape
    return tuple(n if is_name(n) else int(n) for n in known)


@backend.compiled
def _gumbel(shape: Tensor, key: Tensor, dtype: str) -> Tensor:
    return ops.cast(_drawn_once(numerics.gumbel, shape, key, dtype), dtype)


@backend.compiled
def _logistic(shape: Tensor, key: Tensor, dtype: str) -> Tensor:
    return ops.cast(_drawn_once(numerics.logistic, shape, key, dtype), dtype)


@backend.compiled
def _uniform(shape: Tensor, key: Tensor, dtype: str) -> Tensor:
    return _drawn_once(numerics.random_unit, shape, key, dtype)


def _drawn_once(
    noise: Callable[..., Tensor], shape: Tensor, key: Tensor, dtype: str
) -> Tensor:
    """Return the noise, behind a branch that is always taken.

    Without the branch, XLA fuses the generator into the user's code that reads
    the noise. Fused into a reduction with two operands, an argmax, it compiles
    for minutes.
    """
    wide = "float64" if dtype == "float64" else "float32"
    return backend.unfused_unless_zero(
        ops.ones((), wide),
        lambda: noise(shape, key, wide),
        lambda: ops.zeros(shape, wide),
    )
