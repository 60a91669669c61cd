"""Numbers rounded to a few levels each: codes without a codebook."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._tracing import is_exported, mask_of
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    check_features,
    check_integers,
    check_is_binary,
    check_levels,
    check_not_negative,
    check_scalars,
    check_temperature_of_vectors,
    check_weight_is_live,
    dense,
)
from keras_gumbel.layers import sources
from keras_gumbel.layers.levels import Levels
from keras_gumbel.layers.quiet import QuietLayer
from keras_gumbel.losses import bit_entropy_gap
from keras_gumbel.metrics import CategoryUsage, CodePerplexity
from keras_gumbel.numerics.portable import check_can_draw, check_precision
from keras_gumbel.ops.codebook import for_each_position, histogram
from keras_gumbel.ops.noise import sample_logistic, sample_uniform

# Above this number of codes, none is counted.
_MOST_COUNTED = 2**20


@keras.saving.register_keras_serializable(package="keras_gumbel")
class FiniteScalarQuantizer(QuietLayer):
    """Round each number to one of a few levels; the product is the codebook.

        h = (L - 1) (1 - 1e-3) / 2,  o = 0 for odd L, 1/2 for even L
        bounded = h tanh(x + tan(o / h)) - o
        output  = round(bounded) / floor(L / 2)

    If L is odd, the levels are symmetric, from -1 to 1; if it is even, they
    begin at -1 and end one step below 1. Only the encoder learns, so no code
    can die; but nothing moves the levels to the data either.

    If all levels are 2, the layer is lookup-free quantisation instead:

        output = 1 where x > 0, else -1

    with an entropy penalty that makes bits certain and uses all codes alike.

    Args:
        levels: Sequence of integers of at least 2, the levels of each number;
            their product is the number of codes.
        temperature: Positive number or schedule: the penalty's bits are 1
            with probability sigmoid(4 x / temperature). Defaults to `1.0`.
        entropy_weight: Number >= 0 or a schedule, only if all levels are 2.
            The layer then adds the loss `entropy_weight` times
            `losses.bit_entropy_gap` of the logits `4 x / temperature`.
            `None`: no such loss. Defaults to `None`.
        noise_scale: Number >= 0 or a schedule. Training adds uniform noise in
            `noise_scale * (-1/2, 1/2)` before it rounds; at scale 1 the mean
            is then `bounded` itself. Bits get logistic noise: they are 1 with
            probability sigmoid(4 x / noise_scale), so the nearer of -1 and 1
            is the likelier. A layer made with 0 never has noise. Defaults to
            `0.0`.
        inference: `"argmax"`, which `None` means, or `"sample"` for noise at
            inference too. Defaults to `None`.
        seed: As for `GumbelSoftmax`. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        inputs: Float tensor `(..., len(levels))`.
        temperature: Optional, in place of the layer's own in this call; a
            tensor broadcasts to the inputs.
        training: True for noise.
        mask: Optional bool tensor `(...)`, False for positions that the loss
            and the metrics leave out.

    Returns:
        A tensor of the inputs' shape, in the compute dtype.

    Attributes:
        perplexity: Keras metric, the effective number of codes in use, as
            `<name>_perplexity` in the logs. None for more than 2**20 codes.
        usage: Keras metric, the share of codes in use, likewise.
        entropy_weight: The live weight of the penalty, or None.

    Gradient:
        Straight through: as if nothing had been rounded. For bits, as if the
        layer were the identity.

    Raises:
        ValueError: For levels out of range, or inputs that do not fit them.
        TypeError: For inputs that are not floats.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.FiniteScalarQuantizer((8, 5))
    >>> x = keras.ops.convert_to_tensor([[-9.0, 0.1], [0.0, 9.0]])
    >>> keras.ops.convert_to_numpy(layer(x)).tolist()
    [[-1.0, 0.0], [0.0, 1.0]]
    >>> keras.ops.convert_to_numpy(layer.encode(x)).tolist()
    [16, 36]

    Reference:
        Mentzer, Minnen, Agustsson, Tschannen, "Finite Scalar Quantization:
        VQ-VAE Made Simple", 2023, https://arxiv.org/abs/2309.15505; Yu et
        al., "Language Model Beats Diffusion", 2023, section 3.1,
        https://arxiv.org/abs/2310.05737
    """

    _live_names = (*QuietLayer._live_names, "entropy_weight")

    def __init__(
        self,
        levels: Sequence[int],
        *,
        temperature: float | LearningRateSchedule = 1.0,
        entropy_weight: float | LearningRateSchedule | None = None,
        noise_scale: float | LearningRateSchedule = 0.0,
        inference: str | None = None,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        levels = check_levels(levels)
        check_is_binary(levels, entropy_weight)
        super().__init__(
            temperature=temperature,
            noise_scale=noise_scale,
            inference=inference,
            seed=seed,
            **kwargs,
        )
        self.levels = levels
        self.num_codes = math.prod(levels)
        if entropy_weight is not None:
            self._add_live_scalar(
                "entropy_weight", entropy_weight, _check_entropy_weight
            )
        self._levels = Levels(levels)
        self.perplexity: CodePerplexity | None = None
        self.usage: CategoryUsage | None = None
        if self.num_codes <= _MOST_COUNTED:
            name = self.name
            self.perplexity = CodePerplexity(
                self.num_codes, f"{name}_perplexity"
            )
            self.usage = CategoryUsage(self.num_codes, f"{name}_usage")
            self.perplexity.be_held()
            self.usage.be_held()

    @property
    def variables(self) -> list[keras.Variable]:
        """Return the variables, with counts that no metric can hold."""
        if self.usage is None or self.perplexity is None:
            return super().variables
        held = (*self.perplexity.held, *self.usage.held)
        return [*super().variables, *held]

    @property
    def entropy_weight(self) -> keras.Variable | None:
        """Return the penalty's live weight, a float32 variable, or None."""
        live = self._live.get("entropy_weight")
        return None if live is None else live.variable

    @entropy_weight.setter
    def entropy_weight(self, value: float) -> None:
        check_weight_is_live(self.entropy_weight, "entropy_weight")
        self._live["entropy_weight"].assign(value)

    def build(self, inputs_shape: Shape) -> None:
        """Check the shape; create nothing."""
        check_scalars(inputs_shape, self.levels)
        self.built = True

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        """Return the shape of the inputs."""
        return tuple(inputs_shape)

    def call(
        self,
        inputs: Tensor,
        temperature: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Round the inputs, and add the penalty of bits."""
        check_precision(self.name, self.compute_dtype)
        x = self._wide(inputs)
        tau = self.current_temperature(temperature, training)
        check_temperature_of_vectors(tau, x.shape, None)
        mask = mask_of(inputs) if mask is None else mask
        counted = None if mask is None else for_each_position(mask, x)
        soft = self._levels.bounded(x)
        noisy = self._noisy(soft, training)
        digits = self._levels.digits(noisy)
        output = self._levels.shown(digits, soft, ops.isnan(noisy))
        changed = None
        if self.entropy_weight is not None and not is_exported():
            logits = 4.0 * x / numerics.positive_or_nan(tau, x.dtype)
            changed = self._add_penalty(
                "entropy_weight",
                lambda: bit_entropy_gap(logits, counted),
                "`weight * losses.bit_entropy_gap(logits)`",
            )
        counts = training is not None and not is_exported()
        if counts and self.usage is not None and self.perplexity is not None:
            codes = ops.expand_dims(self._levels.numbers(digits, x), -1)
            found = histogram(codes, counted, self.num_codes)
            self.perplexity.add(found)
            self.usage.add(found)
        if training:
            output = self._unless_noisy(output)
        if changed is not None:
            output = output + ops.cast(changed, output.dtype)
        return ops.cast(output, self.compute_dtype)

    def _wide(self, inputs: Tensor) -> Tensor:
        inputs = dense(inputs, "inputs")
        check_features(inputs, None)
        check_scalars(tuple(inputs.shape), self.levels)
        return numerics.widen(inputs)

    def _noisy(self, soft: Tensor, training: bool | None) -> Tensor:
        """Return the numbers to round, with noise if it is asked for."""
        if not self._is_noisy:
            return soft
        law = "logistic" if self._levels.are_bits else "uniform"
        noise = sources.noise(self, ops.cast(soft, "float32"), law)
        if noise is None and not self._draws(training):
            return soft
        scale = numerics.scale_or_nan(self.noise_scale, soft)
        if noise is None:
            check_can_draw(self.name)
            shape, seed = ops.shape(soft), self.seed_generator
            if self._levels.are_bits:
                noise = sample_logistic(shape, seed=seed)
            else:
                noise = sample_uniform(shape, seed) - 0.5
        noise = ops.cast(noise, soft.dtype)
        return soft + scale * (noise / 4.0 if self._levels.are_bits else noise)

    def encode(self, inputs: Tensor) -> Tensor:
        """Return the code of each vector, int32 `(...)`, without noise.

        It is in [0, num_codes), the first number counting least; -1 for NaN.
        """
        x = self._wide(inputs)
        digits = self._levels.digits(self._levels.bounded(x))
        return self._levels.numbers(digits, x)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors `(..., len(levels))` of integer codes `(...)`.

        They have the compute dtype and equal the layer's output at inference,
        bit for bit. A code out of range is an error if its value is known,
        and otherwise gives NaN.
        """
        codes = dense(codes, "codes")
        check_integers(codes, self.num_codes)
        values = self._levels.of_numbers(codes)
        return ops.cast(values, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; live numbers are weights."""
        live = self._live.get("entropy_weight")
        return {
            **super().get_config(),
            "levels": list(self.levels),
            "entropy_weight": None if live is None else live.config(),
        }


def _check_entropy_weight(value: Any) -> None:
    check_not_negative(value, "entropy_weight")
