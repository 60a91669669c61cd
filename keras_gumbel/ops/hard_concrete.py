"""Gates in [0, 1] that are exactly 0 or exactly 1 with some probability."""

import dataclasses
import math

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import (
    Arguments,
    check_log_alpha,
    check_stretch,
    dense,
    hard_concrete_arguments,
)
from keras_gumbel.numerics import Draw
from keras_gumbel.numerics.portable import moderate
from keras_gumbel.ops import _program
from keras_gumbel.ops._op import Op


def hard_concrete(
    log_alpha: Tensor,
    temperature: Tensor = 2 / 3,
    *,
    stretch: tuple[float, float] = (-0.1, 1.1),
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> Tensor:
    """Draw gates in [0, 1] that are exactly 0 or 1 with some probability.

    Use it to prune: multiply features, channels or weights by gates, train
    `log_alpha` with a penalty on open gates, and remove the parts whose gate is
    exactly 0. `HardConcreteGate` is the layer that does all of it.

        x = log_alpha + noise_scale * logistic
        z = clip(sigmoid(x / temperature) * (zeta - gamma) + gamma, 0, 1)

    where (gamma, zeta) is the `stretch`, slightly wider than (0, 1), so that
    clipping puts mass on both ends. For a `noise_scale` of 1,

        P(z != 0) = sigmoid(log_alpha - temperature * log(-gamma / zeta))
        P(z = 1)  = sigmoid(log_alpha
                            - temperature * log((1 - gamma) / (zeta - 1)))

    For other scales, divide the arguments of both sigmoids by it. Computed in
    float32, or float64 for float64 `log_alpha`.

    Args:
        log_alpha: Float tensor, the location of each gate in nats; a larger
            one opens the gate. -inf forbids a gate, which is then 0.
        temperature: Positive number, or float tensor of positive numbers that
            broadcasts to `log_alpha`. If a value turns out not to be positive
            only when the program runs, the result is NaN.
        stretch: Two numbers, gamma < 0 and zeta > 1, between which the gate
            lies before it is clipped.
        class_mask: Optional bool tensor, True where a gate may open, that
            broadcasts to `log_alpha`. A forbidden gate is exactly 0 and gets
            no gradient.
        noise_scale: Number >= 0, or a scalar float tensor, that multiplies
            the noise; 0 leaves it out.
        seed: An integer in [0, 2**32) for the same gates at every call, a
            `keras.random.SeedGenerator` for its stream, None for fresh noise
            that follows `keras.utils.set_random_seed`. On JAX also a key, on
            torch also a `torch.Generator`.

    Returns:
        A tensor of the shape and dtype of `log_alpha`. NaN gives NaN.

    Gradient:
        To `log_alpha`, and to `temperature` if it is a tensor: exact for the
        sample, and 0 where the gate is clipped.

    Raises:
        ValueError: For a temperature, stretch, mask or seed out of range.
        TypeError: For arguments of another type, such as an integer
            `log_alpha`.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> z = kg.ops.hard_concrete(keras.ops.zeros(1000), seed=1)
    >>> z = keras.ops.convert_to_numpy(z)
    >>> float(z.min()), float(z.max())
    (0.0, 1.0)
    >>> round(float((z != 0).mean()), 1)  # sigmoid(2 / 3 * log(11)) = 0.83
    0.8

    Reference:
        Louizos, Welling, Kingma, "Learning Sparse Neural Networks through L0
        Regularization", 2018, eq. 10 and 11,
        https://arxiv.org/abs/1712.01312
    """
    check_stretch(stretch)
    log_alpha = dense(log_alpha, "log_alpha")
    check_log_alpha(log_alpha)
    shape, dtype = tuple(log_alpha.shape), numerics.wide_dtype(log_alpha)
    arguments = hard_concrete_arguments(
        log_alpha, temperature, class_mask, shape, dtype
    )
    return sample_gates(arguments, stretch, noise_scale, seed)


def sample_gates(
    arguments: Arguments,
    stretch: tuple[float, float],
    noise_scale: Tensor,
    seed: Seed,
) -> Tensor:
    """Run `hard_concrete` on checked arguments."""
    op = _Stretched(float(stretch[0]), float(stretch[1]))
    return _program.run(op, arguments, noise_scale, seed)


def noiseless_gates(log_alpha: Tensor, stretch: tuple[float, float]) -> Tensor:
    """Apply eq. 13: clip(sigmoid(log_alpha) * (zeta - gamma) + gamma, 0, 1)."""
    z = _clip(_stretched(ops.sigmoid(moderate(log_alpha)), stretch))
    # OpenVINO takes NaN to be at least 1.
    return ops.where(ops.isnan(log_alpha), log_alpha, z)


def open_probability(
    log_alpha: Tensor,
    temperature: Tensor,
    stretch: tuple[float, float],
    noise_scale: Tensor,
) -> Tensor:
    """Return the probability that a gate is not 0; without noise, 0 or 1."""
    temperature = numerics.positive_or_nan(temperature, log_alpha.dtype)
    x = log_alpha - temperature * math.log(-stretch[0] / stretch[1])
    scale = numerics.scale_or_nan(backend.to_tensor(noise_scale), x)
    quiet = scale == 0
    noisy = ops.sigmoid(x / ops.where(quiet, 1.0, scale))
    return ops.where(quiet, numerics.step(x), noisy)


def _stretched(s: Tensor, stretch: tuple[float, float]) -> Tensor:
    low, high = stretch
    return s * (high - low) + low


def _clip(x: Tensor) -> Tensor:
    """Clip `x` to [0, 1], and leave NaN as it is."""
    # Compilers differ on minimum and maximum of NaN.
    return ops.where(x <= 0, 0.0, ops.where(x >= 1, 1.0, x))


@dataclasses.dataclass(frozen=True)
class _Stretched(Op):
    """clip(sigmoid(perturbed / temperature) * (high - low) + low, 0, 1)."""

    low: float
    high: float

    def first_axis_of_a_row(self, arguments: Arguments) -> int:
        """Return the rank: each gate is a row."""
        return len(arguments.logits.shape)

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        x = numerics.add_noise(draw, numerics.logistic)
        z = _stretched(ops.sigmoid(x / tau), (self.low, self.high))
        return _clip(z), x

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        # This lets second derivatives reach the logits.
        x = backend.straight_through(*kept, draw.logits())
        s = ops.sigmoid(x / tau)
        z = _stretched(s, (self.low, self.high))
        slope = (self.high - self.low) * s * (1.0 - s) / tau
        clipped = (z <= 0) | (z >= 1)
        dx = ops.where(clipped, 0.0, dy * slope)
        return dx, -dx * ops.where(clipped, 0.0, x) / tau
