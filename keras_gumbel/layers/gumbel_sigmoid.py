"""Gates, open or shut, or relaxed."""

from typing import Any

import keras

from keras_gumbel import estimators, numerics
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers.logits import LogitsLayer
from keras_gumbel.ops._noiseless import gate_mode, noiseless_sigmoid
from keras_gumbel.ops.gumbel_sigmoid import gumbel_sigmoid


@keras.saving.register_keras_serializable(package="keras_gumbel")
class GumbelSigmoid(LogitsLayer):
    """Open or close gates at random, inside a network that still trains.

    Noise is drawn in training only: `model(x)` and `predict` are inference,
    and give the noise-free gates unless `inference="sample"`.

        perturbed = logits + noise_scale * logistic
        soft:  sigmoid(perturbed / temperature)
        hard:  1 where perturbed > 0, else 0, gradient by the `estimator`

    Every element is a variable of its own: there is no category axis. A hard
    gate is 1 with probability sigmoid(logits) whatever the temperature.

    Args:
        temperature: Positive number, dimensionless, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the layer's
            training calls, counted from 0. Defaults to `1.0`.
        hard: True for gates of exactly 0 and 1. Defaults to `False`.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule of hard samples: `"st_gumbel"`, `"gumbel_rao"`, `"st"`,
            `"reinmax"` or `"gapped_st"`. Defaults to `"st_gumbel"`.
        inference: Behaviour when not training. `"argmax"`: the likelier
            state, 1 where the logit is positive, and 0 at 0. `"sigmoid"`: the
            noise-free sigmoid at the live temperature. `"sample"`: a sample
            as in training. `None`: `"argmax"` if hard, else `"sigmoid"`. The
            first two have the gradient of the sigmoid. Defaults to `None`.
        noise_scale: Number >= 0, dimensionless, or a schedule of the layer's
            training calls. It multiplies the noise: a hard gate is 1 with
            probability sigmoid(logits / noise_scale), and 0 is no noise. An
            estimator that is unbiased at temperature 1 is then unbiased at
            temperature `noise_scale`. Defaults to `1.0`.
        from_logits: False if the input holds probabilities, whose log-odds
            are then taken (0 stays impossible, 1 certain; outside [0, 1] is
            NaN). Defaults to `True`.
        seed: An integer in [0, 2**32) for a reproducible stream, a
            `keras.random.SeedGenerator` to share one, None to follow
            `keras.utils.set_random_seed`. An integer's first draw equals
            `keras_gumbel.ops.gumbel_sigmoid` with the same seed. The stream
            is saved with the weights. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        logits: Float tensor, log-odds in nats: log(p / (1 - p)). -inf gives
            0, +inf gives 1, without a gradient.
        class_mask: Optional bool tensor, True where a gate may open, that
            broadcasts to the logits. The others are exactly 0, without a
            gradient.
        temperature: Optional, in place of the layer's own in this call:
            positive number, or float tensor that broadcasts to the logits.
        training: True to sample. False and None are inference.
        mask: Optional bool tensor, Keras's own mask, False where there is
            padding. A mask of the logits' shape makes padded gates exactly 0,
            without a gradient. A mask of their first axes changes nothing
            here. Both are passed on with the output.

    Returns:
        A tensor of the shape of the logits, in the compute dtype. Noise and
        sigmoid are float32 under any policy (float64 for float64 logits).

    Attributes:
        temperature: The live temperature, a float32 variable: assignable,
            saved with the weights, no retracing.
        noise_scale: The live scale of the noise, also a float32 variable. It
            is in `variables` but not in `weights`.

    Gradient:
        Soft: exact for the relaxed sample. Hard: biased, see the estimator.

    Raises:
        ValueError: For a temperature, mask, seed, `inference` or `estimator`
            out of range.
        TypeError: For arguments of another type, integer logits among them.
        AttributeError: If a setting, such as `hard`, is assigned after the
            layer is built.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelSigmoid(temperature=0.5, hard=True, seed=1)
    >>> logits = keras.ops.convert_to_tensor([[2.0, -1.0, 0.0]])
    >>> keras.ops.convert_to_numpy(layer(logits)).tolist()
    [[1.0, 0.0, 0.0]]

    Reference:
        Maddison, Mnih, Teh, "The Concrete Distribution", 2017, appendix B,
        https://arxiv.org/abs/1611.00712
    """

    _relaxed_mode = "sigmoid"
    _law = "logistic"

    def __init__(
        self,
        temperature: float | LearningRateSchedule = 1.0,
        hard: bool = False,
        *,
        estimator: str | Estimator = "st_gumbel",
        inference: str | None = None,
        noise_scale: float | LearningRateSchedule = 1.0,
        from_logits: bool = True,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            temperature,
            hard,
            inference=inference,
            noise_scale=noise_scale,
            from_logits=from_logits,
            seed=seed,
            **kwargs,
        )
        self._init_estimator(estimator)

    def compute_output_shape(self, logits_shape: Shape) -> Shape:
        """Return the shape of the logits."""
        return tuple(logits_shape)

    def _logits(self, probs: Tensor) -> Tensor:
        return numerics.log_odds(probs)

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return gumbel_sigmoid(
            logits,
            temperature,
            hard=self.hard,
            estimator=self.current_estimator,
            class_mask=class_mask,
            noise_scale=self.noise_scale,
            seed=self.seed_generator,
        )

    def _mode(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return gate_mode(logits, temperature, class_mask=class_mask)

    def _relax(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return noiseless_sigmoid(logits, temperature, class_mask=class_mask)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "estimator": estimators.serialize(self.estimator),
        }
