"""What the layers that sample from logits share."""

from typing import Any, ClassVar

import keras
from keras import ops

from keras_gumbel import formulas
from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import check_flag, check_logits
from keras_gumbel.layers.given_noise import given_noise
from keras_gumbel.layers.sampling import SamplingLayer
from keras_gumbel.ops.portable import check_can_draw, check_precision


class LogitsLayer(SamplingLayer):
    """Base of the layers whose input is unnormalised log-probabilities.

    A subclass says how to draw (`_draw`), and what remains without noise:
    the likeliest state (`_mode`) or the relaxation (`_relax`), which has a
    name of its own among the `inference` modes (`_relaxed_mode`).
    """

    _relaxed_mode: ClassVar[str] = "softmax"

    def __init__(
        self,
        temperature: float | LearningRateSchedule = 1.0,
        hard: bool = False,
        *,
        inference: str | None = None,
        noise_scale: float = 1.0,
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
        """`inference`, with None resolved by `hard`."""
        if self.inference is not None:
            return self.inference
        return "argmax" if self.hard else self._relaxed_mode

    def call(
        self,
        logits: Tensor,
        class_mask: Tensor | None = None,
        temperature: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Sample when training; otherwise do what `inference` says."""
        if not self.from_logits:
            probs = ops.convert_to_tensor(logits)
            check_logits(probs)
            logits = self._logits(formulas.widen(probs))
        output = self._choose(logits, class_mask, temperature, training)
        return ops.cast(output, self._output_dtype)

    def _choose(
        self,
        logits: Tensor,
        class_mask: Tensor | None,
        temperature: Tensor | None,
        training: bool | None,
    ) -> Tensor:
        """What `_draw`, `_mode` or `_relax` gives in such a call."""
        check_precision(self.name, self.compute_dtype)
        temperature = self.current_temperature(temperature, training)
        what = "sample" if training else self.resolved_inference
        noise = given_noise(self, logits)
        if noise is not None:
            what = "argmax" if self.hard else self._relaxed_mode
            logits = self._near(formulas.allowed(logits, class_mask))
            logits = logits + self.noise_scale * ops.cast(noise, logits.dtype)
            class_mask = None
        elif what == "sample":
            check_can_draw(self.name)
        give = {"sample": self._draw, "argmax": self._mode}
        return give.get(what, self._relax)(logits, temperature, class_mask)

    def _near(self, logits: Tensor) -> Tensor:
        """The logits, moved to where noise keeps its digits beside them.

        By what changes nothing of the law, if there is such.
        """
        return logits

    @property
    def _output_dtype(self) -> str:
        dtype: str = self.compute_dtype
        return dtype

    def _logits(self, probs: Tensor) -> Tensor:
        return formulas.log_or_forbidden(probs)

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        raise NotImplementedError

    def _mode(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        raise NotImplementedError

    def _relax(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "hard": self.hard,
            "from_logits": self.from_logits,
        }
