"""Base of the layers that draw no noise unless they are asked to."""

from typing import Any

import keras
from keras import ops

from keras_gumbel._tracing import is_sampling
from keras_gumbel._validation import check_is_noisy_layer
from keras_gumbel.layers.sampling import SamplingLayer
from keras_gumbel.ops.penalty import zero_or_nan


class QuietLayer(SamplingLayer):
    """Base of the layers in which `noise_scale` is 0 by default.

    A layer made with 0 never has noise in its programs.

    Args:
        **kwargs: Arguments of `SamplingLayer`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        live = self._live["noise_scale"]
        self._is_noisy = bool(live.schedule or live.initial)

    @property
    def noise_scale(self) -> keras.Variable:
        """Return the live scale of the noise, a float32 variable."""
        return self._live["noise_scale"].variable

    @noise_scale.setter
    def noise_scale(self, value: float) -> None:
        if not self._is_noisy and value != 0:
            check_is_noisy_layer(self, value)
        self._live["noise_scale"].assign(value)

    @property
    def _inference_modes(self) -> tuple[str | None, ...]:
        return None, "argmax", "sample"

    @property
    def resolved_inference(self) -> str:
        """Return the mode when not training: `"argmax"` or `"sample"`."""
        return "sample" if is_sampling() else self.inference or "argmax"

    def _draws(self, training: bool | None) -> bool:
        """Return whether a call draws noise, if there is any."""
        return bool(training) or self.resolved_inference == "sample"

    def _unless_noisy(self, output: Any) -> Any:
        """Return the output; NaN if the variable was given a scale anyway."""
        if self._is_noisy:
            return output
        return output + ops.cast(zero_or_nan(self.noise_scale), output.dtype)
