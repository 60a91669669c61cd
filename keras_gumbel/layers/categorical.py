"""What the layers over a categorical distribution share."""

from typing import Any, ClassVar

import keras
from keras import ops

from keras_gumbel import estimators, formulas
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    canonical_axis,
    check_integer,
    check_logits,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers.sampling import SamplingLayer
from keras_gumbel.ops.mode import mode, noiseless_softmax


class CategoricalLayer(SamplingLayer):
    """Base of `GumbelSoftmax` and `SampleArgmaxIndex`.

    A subclass says how to draw (`_draw`) and how to read a noise-free
    one-hot or relaxed choice (`_read`).
    """

    _inference_modes: ClassVar[tuple[str | None, ...]] = (
        None,
        "argmax",
        "softmax",
        "sample",
    )

    def __init__(
        self,
        temperature: float | LearningRateSchedule = 1.0,
        hard: bool = False,
        axis: int = -1,
        *,
        estimator: str | Estimator = "st_gumbel",
        inference: str | None = None,
        noise_scale: float = 1.0,
        from_logits: bool = True,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            temperature,
            hard,
            inference=inference,
            noise_scale=noise_scale,
            seed=seed,
            **kwargs,
        )
        check_integer(axis, "axis")
        self.axis = int(axis)
        self.estimator = estimators.get(estimator)
        self.from_logits = bool(from_logits)

    def build(self, logits_shape: Shape) -> None:
        """Check the axis against the shape; there is nothing to create."""
        canonical_axis(self.axis, logits_shape)
        self.built = True

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
            logits = formulas.log_or_forbidden(formulas.widen(probs))
        temperature = self.current_temperature(temperature, training)
        choice = "sample" if training else self.resolved_inference
        if choice == "sample":
            output = self._draw(logits, temperature, class_mask)
        else:
            noiseless = mode if choice == "argmax" else noiseless_softmax
            output = self._read(
                noiseless(
                    logits, temperature, axis=self.axis, class_mask=class_mask
                )
            )
        return ops.cast(output, self._output_dtype)

    @property
    def _output_dtype(self) -> str:
        dtype: str = self.compute_dtype
        return dtype

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        raise NotImplementedError

    def _read(self, choice: Tensor) -> Tensor:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "estimator": estimators.serialize(self.estimator),
            "from_logits": self.from_logits,
        }
