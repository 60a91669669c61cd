"""Base of the layers that sample from logits."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._tracing import has_keys, is_sampling, mask_of
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    check_flag,
    check_keras_mask,
    check_logits,
    dense,
)
from keras_gumbel.layers import sources
from keras_gumbel.layers.sampling import SamplingLayer
from keras_gumbel.numerics.portable import check_can_draw, check_precision


class LogitsLayer(SamplingLayer):
    """Base of the layers whose input is unnormalised log-probabilities.

    A subclass says how to draw (`_draw`), and what remains without noise:
    the likeliest state (`_mode`) or the relaxation (`_relax`), which has a
    name of its own among the `inference` modes (`_relaxed_mode`).
    """

    _input_name = "logits"
    _relaxed_mode: ClassVar[str] = "softmax"
    # The distribution of the noise that perturbs the logits.
    _law: ClassVar[str] = "gumbel"
    # Whether the output lacks the category axis.
    _drops_classes: ClassVar[bool] = False

    def __init__(
        self,
        temperature: float | LearningRateSchedule = 1.0,
        hard: bool = False,
        *,
        inference: str | None = None,
        noise_scale: float | LearningRateSchedule = 1.0,
        from_logits: bool = True,
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
        self.hard = check_flag(hard, "hard")
        self.from_logits = check_flag(from_logits, "from_logits")

    @property
    def _inference_modes(self) -> tuple[str | None, ...]:
        return None, "argmax", self._relaxed_mode, "sample"

    @property
    def resolved_inference(self) -> str:
        """Return the mode when not training; `hard` resolves None."""
        if is_sampling():
            return "sample"
        if self.inference is not None:
            return self.inference
        return "argmax" if self.hard else self._relaxed_mode

    def call(
        self,
        logits: Tensor,
        class_mask: Tensor | None = None,
        temperature: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Sample when training; otherwise do what `inference` says."""
        return self._output_of(logits, class_mask, temperature, training, mask)

    def _output_of(
        self,
        logits: Tensor,
        class_mask: Tensor | None,
        temperature: Tensor | None,
        training: bool | None,
        mask: Tensor | None,
        *more: Tensor,
    ) -> Tensor:
        """Return the output; a subclass may pass `more` for each sample."""
        # Keras passes a mask only if the logits are a single tensor.
        mask = mask_of(logits) if mask is None else mask
        if not self.from_logits:
            probs = dense(logits, "logits")
            check_logits(probs)
            logits = self._logits(numerics.widen(probs))
        if mask is not None:
            logits = self._without_padding(logits, mask)
        output = self._choose(logits, class_mask, temperature, training, *more)
        return ops.cast(output, self._output_dtype)

    def _without_padding(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the logits, -inf where a Keras mask of classes is False."""
        logits, mask = dense(logits, "logits"), dense(mask, "mask")
        check_logits(logits)
        check_keras_mask(mask, logits.shape)
        real = self._covering(mask, logits)
        if real is None:
            return logits
        return ops.cast(numerics.allowed(logits, real), logits.dtype)

    def _covering(self, mask: Tensor, logits: Tensor) -> Tensor | None:
        """Return the mask so that it broadcasts; None if not of classes."""
        shape = tuple(logits.shape)
        axis = self._class_axis(shape)
        if len(mask.shape) != axis + 1:
            return None
        for _ in shape[axis + 1 :]:
            mask = ops.expand_dims(mask, -1)
        return mask

    def _class_axis(self, shape: Shape) -> int:
        """Return the last axis of a mask that covers the classes."""
        return len(shape) - 1

    def compute_mask(self, logits: Tensor, previous_mask: Any) -> Any:
        """Return the mask unchanged; None if it covers a dropped axis."""
        if previous_mask is None:
            return None
        if not hasattr(previous_mask, "shape"):
            previous_mask = ops.convert_to_tensor(previous_mask)
        rank = len(previous_mask.shape)
        if self._drops_classes and self._class_axis(logits.shape) < rank:
            return None
        return previous_mask

    def _choose(
        self,
        logits: Tensor,
        class_mask: Tensor | None,
        temperature: Tensor | None,
        training: bool | None,
        *more: Tensor,
    ) -> Tensor:
        """Call `_draw`, `_mode` or `_relax`, by `training` and `inference`."""
        check_precision(self.name, self.compute_dtype)
        temperature = self.current_temperature(temperature, training)
        what = "sample" if training else self.resolved_inference
        chosen = self._chosen(logits, class_mask)
        if chosen is not None:
            return self._mode(chosen, temperature, None)
        noise = sources.noise(self, logits, self._law)
        if noise is not None:
            return self._by_noise(logits, class_mask, temperature, noise, *more)
        if what == "sample":
            check_can_draw(self.name)
        by_name = {"sample": self._draw, "argmax": self._mode}
        give: Callable[..., Tensor] = by_name.get(what, self._relax)
        return give(logits, temperature, class_mask, *more)

    def _chosen(
        self, logits: Tensor, class_mask: Tensor | None
    ) -> Tensor | None:
        """Return logits that forbid all classes but the one a key draws.

        None if there is no key, or if the layer draws by noise.
        """
        axis = self._one_axis
        if axis is None or not self.hard or not has_keys():
            return None
        x = numerics.allowed(logits, class_mask)
        return sources.chosen(self, self.estimator, x, axis)

    def _by_noise(
        self,
        logits: Tensor,
        class_mask: Tensor | None,
        temperature: Tensor,
        noise: Tensor,
        *more: Tensor,
    ) -> Tensor:
        """Return the sample that this noise gives."""
        give: Callable[..., Tensor] = self._mode if self.hard else self._relax
        perturbed = self._perturbed(logits, class_mask, noise)
        return give(perturbed, temperature, None, *more)

    def _perturbed(
        self, logits: Tensor, class_mask: Tensor | None, noise: Tensor
    ) -> Tensor:
        """Return the logits plus the noise, forbidden ones -inf."""
        near = self._near(numerics.allowed(logits, class_mask))
        scale = numerics.scale_or_nan(self.noise_scale, near)
        return numerics.moved(near, scale * ops.cast(noise, near.dtype))

    def _near(self, logits: Tensor) -> Tensor:
        """Move the logits to where adding noise loses no digits.

        Use a shift that leaves the distribution unchanged, if there is one.
        """
        return logits

    @property
    def _one_axis(self) -> int | None:
        """Return the axis along which an estimator chooses, or None."""
        return None

    @property
    def _output_dtype(self) -> str:
        dtype: str = self.compute_dtype
        return dtype

    def _logits(self, probs: Tensor) -> Tensor:
        return numerics.log_or_forbidden(probs)

    @abstractmethod
    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        """Draw a sample."""

    @abstractmethod
    def _mode(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        """Return the likeliest state."""

    @abstractmethod
    def _relax(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        """Return the relaxation, without noise."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "hard": self.hard,
            "from_logits": self.from_logits,
        }
