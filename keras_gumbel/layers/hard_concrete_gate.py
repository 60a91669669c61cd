"""Gates that learn which features a network can do without."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._tracing import is_sampling
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    check_axis,
    check_gated,
    check_kind,
    check_not_negative,
    check_stretch,
    dense,
    gate_axes,
    hard_concrete_arguments,
)
from keras_gumbel.layers import sources
from keras_gumbel.layers.sampling import SamplingLayer
from keras_gumbel.numerics.portable import check_can_draw, check_precision
from keras_gumbel.ops.hard_concrete import (
    noiseless_gates,
    open_probability,
    sample_gates,
)


def _check_l0_weight(value: Any) -> None:
    check_not_negative(value, "l0_weight")


@keras.saving.register_keras_serializable(package="keras_gumbel")
class HardConcreteGate(SamplingLayer):
    """Multiply features by learned gates, which an L0 penalty closes for good.

    Noise is drawn in training only: `model(x)` and `predict` are inference,
    and multiply by the noise-free gates unless `inference="sample"`.

        training:   x = log_alpha + noise_scale * logistic
                    z = clip(sigmoid(x / temperature) * (zeta - gamma) + gamma,
                             0, 1)
        inference:  z = clip(sigmoid(log_alpha) * (zeta - gamma) + gamma, 0, 1)
        output:     inputs * z
        loss:       l0_weight * sum P(z != 0)

    Each example has noise of its own, shared over the axes that are not gated:
    a channel is kept or dropped as a whole. The loss is the expected number of
    gates that are not 0, whatever the size of their weights, in training and in
    evaluation. If a gate ends at exactly 0, its feature can be removed. Each
    call adds the loss, so a layer that is shared, or under `TimeDistributed`,
    adds it several times. A loss cannot leave a loop, such as
    `keras.layers.RNN`: unroll the loop, or leave `l0_weight` at 0 and add
    `weight * layer.expected_active()` outside. (If `l0_weight` changes after a
    loop is traced, the output is NaN.)

    Args:
        axis: Integer or sequence of integers, the axes that are gated, as
            `keras.layers.LayerNormalization` takes them: one gate for each
            position along them. The first axis, of the examples, cannot be
            gated. Defaults to `-1`.
        temperature: Positive number, dimensionless, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the training
            calls of this layer, counted from 0. Defaults to `2 / 3`.
        l0_weight: Number >= 0, the loss of one open gate, or a
            `LearningRateSchedule` of the training calls. Defaults to `0.0`.
        stretch: Two numbers, gamma < 0 and zeta > 1, between which a gate
            lies before it is clipped. Defaults to `(-0.1, 1.1)`.
        log_alpha_initializer: Initializer of the gates' locations, in nats.
            At 0 a gate is open with probability 0.83, and 0.5 at inference.
            Defaults to `"zeros"`.
        inference: Behaviour when not training. `"deterministic"` (what
            `None` means): the noise-free gates. `"sample"`: a sample as in
            training. Defaults to `None`.
        noise_scale: Number >= 0, dimensionless, or a `LearningRateSchedule`
            of the training calls. Multiplies the noise. Defaults to `1.0`.
        seed: Integer, `keras.random.SeedGenerator`, or None to follow
            `keras.utils.set_random_seed`. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        inputs: Float tensor, the batch first. Keras's own mask covers the
            inputs, not the gates: it is passed on with the output.
        class_mask: Optional bool tensor, True where a gate may open, that
            broadcasts to the gates of the call: the inputs' shape, with 1
            for every axis except the first and the gated ones. A forbidden
            gate is exactly 0, gets no gradient, and does not count in the
            loss of this call.
        temperature: Optional, in place of the layer's own in this call:
            positive number, or float tensor that broadcasts as the mask does.
        training: True to sample. False and None are inference.

    Returns:
        A tensor of the shape of the inputs, in the compute dtype. Gates are
        float32 under any policy. NaN in the inputs or `log_alpha` gives NaN.

    Attributes:
        log_alpha: The gates' locations, a trainable float32 weight, with the
            sizes of the gated axes in the order of the inputs.
        l0_weight: The live weight of the loss, a float32 variable:
            assignable, saved with the weights, no retracing.
        temperature: The live temperature, likewise.
        noise_scale: The live scale of the noise, also a float32 variable. It
            is in `variables` but not in `weights`.

    Gradient:
        Exact for the sample: to `log_alpha`, to the inputs, and to a
        temperature that is a tensor. It is 0 where a gate is clipped; the
        loss reaches every gate.

    Raises:
        ValueError: For an argument out of range, or axes that do not fit the
            inputs; for an `l0_weight` other than 0 inside a loop of another
            layer.
        AttributeError: If a setting, such as `stretch`, is assigned after the
            layer is built.
        TypeError: For arguments of another type, integer inputs among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.HardConcreteGate(l0_weight=0.01, seed=1)
    >>> y = layer(keras.ops.ones((2, 3)), training=True)
    >>> active = keras.ops.convert_to_numpy(layer.expected_active())
    >>> round(float(active), 3)
    2.495
    >>> _ = layer.log_alpha.assign([-3.0, 0.0, 3.0])
    >>> keras.ops.convert_to_numpy(layer.gates()).tolist()
    [0.0, 0.5, 1.0]

    Reference:
        Louizos, Welling, Kingma, "Learning Sparse Neural Networks through L0
        Regularization", 2018, eq. 10 to 13, https://arxiv.org/abs/1712.01312
    """

    _live_names = (*SamplingLayer._live_names, "l0_weight")

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        temperature: float | LearningRateSchedule = 2 / 3,
        *,
        l0_weight: float | LearningRateSchedule = 0.0,
        stretch: tuple[float, float] = (-0.1, 1.1),
        log_alpha_initializer: Any = "zeros",
        inference: str | None = None,
        noise_scale: float | LearningRateSchedule = 1.0,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            temperature,
            inference=inference,
            noise_scale=noise_scale,
            seed=seed,
            **kwargs,
        )
        check_stretch(stretch)
        self.axis = check_axis(axis)
        self.stretch = float(stretch[0]), float(stretch[1])
        self.log_alpha_initializer = check_kind(
            keras.initializers.get(log_alpha_initializer),
            "log_alpha_initializer",
            "initializer",
        )
        self._add_live_scalar("l0_weight", l0_weight, _check_l0_weight)

    @property
    def l0_weight(self) -> keras.Variable:
        """Return the live weight of the loss: a float32 variable, saved."""
        return self._live["l0_weight"].variable

    @l0_weight.setter
    def l0_weight(self, value: float) -> None:
        self._live["l0_weight"].assign(value)

    @property
    def _inference_modes(self) -> tuple[str | None, ...]:
        return None, "deterministic", "sample"

    @property
    def resolved_inference(self) -> str:
        """Return the mode when not training."""
        if is_sampling():
            return "sample"
        return self.inference or "deterministic"

    def build(self, inputs_shape: Shape) -> None:
        """Make a weight for each gate."""
        axes = gate_axes(self.axis, inputs_shape)
        sizes = {one: inputs_shape[one] for one in axes}
        self.log_alpha = self.add_weight(
            name="log_alpha",
            shape=tuple(sizes.values()),
            initializer=self.log_alpha_initializer,
            dtype="float32",
            autocast=False,
        )
        self.input_spec = keras.InputSpec(ndim=len(inputs_shape), axes=sizes)
        # The shape of one example's gates, which broadcasts with the inputs.
        self._gates_shape = tuple(
            sizes.get(one, 1) for one in range(len(inputs_shape))
        )
        self.built = True

    def call(
        self,
        inputs: Tensor,
        class_mask: Tensor | None = None,
        temperature: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Multiply by gates, sampled when training; add the penalty."""
        inputs = dense(inputs, "inputs")
        check_gated(inputs)
        check_precision(self.name, self.compute_dtype)
        given = self.current_temperature(temperature, training)
        shape = (inputs.shape[0], *self._gates_shape[1:])
        arguments = hard_concrete_arguments(
            None, given, class_mask, shape, "float32"
        )
        tau, mask = arguments.temperature, arguments.class_mask
        log_alpha = ops.reshape(self.log_alpha, self._gates_shape)
        changed = self._add_penalty(
            "l0_weight",
            lambda: self._active(log_alpha, tau, mask),
            "`weight * layer.expected_active()`",
        )
        shape = (ops.shape(inputs)[0], *self._gates_shape[1:])
        of_each = ops.broadcast_to(log_alpha, shape)
        noise = sources.noise(self, of_each, "logistic")
        if noise is not None:
            scale = numerics.scale_or_nan(self.noise_scale, of_each)
            noisy = of_each + scale * noise
            noisy = noisy / numerics.positive_or_nan(tau, "float32")
            z = noiseless_gates(noisy, self.stretch)
            z = z if mask is None else ops.where(mask, z, 0.0)
        elif training or self.resolved_inference == "sample":
            check_can_draw(self.name)
            z = sample_gates(
                arguments._replace(logits=of_each),
                self.stretch,
                self.noise_scale,
                self.seed_generator,
            )
        else:
            z = noiseless_gates(log_alpha, self.stretch)
            z = z if mask is None else ops.where(mask, z, 0.0)
        z = z if changed is None else z + changed
        wide = numerics.widen(inputs)
        return ops.cast(wide * ops.cast(z, wide.dtype), self.compute_dtype)

    def _active(
        self, log_alpha: Tensor, temperature: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Return the expected number of an example's gates that are not 0."""
        open_ = open_probability(
            log_alpha, temperature, self.stretch, self.noise_scale
        )
        if mask is not None:
            open_ = ops.where(mask, open_, 0.0)
        # An empty batch has no open gate.
        rows = ops.cast(ops.shape(open_)[0], open_.dtype)
        return ops.sum(ops.sum(open_, axis=0) / ops.maximum(rows, 1.0))

    def gates(self) -> Tensor:
        """Return the noise-free gates, shaped as `log_alpha`: 0 is prunable."""
        return noiseless_gates(
            ops.convert_to_tensor(self.log_alpha), self.stretch
        )

    def expected_active(self) -> Tensor:
        """Return the expected number of nonzero gates, a float32 scalar.

        It uses the live temperature, and has a gradient to `log_alpha`.
        """
        log_alpha = ops.reshape(self.log_alpha, self._gates_shape)
        return self._active(log_alpha, self.temperature, None)

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        """Return the shape of the inputs."""
        return tuple(inputs_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; live numbers are weights."""
        axis = self.axis
        return {
            **super().get_config(),
            "axis": axis if isinstance(axis, int) else list(axis),
            "l0_weight": self._live["l0_weight"].config(),
            "stretch": list(self.stretch),
            "log_alpha_initializer": keras.initializers.serialize(
                self.log_alpha_initializer
            ),
        }
