"""Base of the layers over a categorical distribution."""

from abc import abstractmethod
from typing import Any

import keras

from keras_gumbel import estimators, numerics
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import canonical_axis, check_integer
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers.logits import LogitsLayer
from keras_gumbel.ops._noiseless import mode, noiseless_softmax


class CategoricalLayer(LogitsLayer):
    """Base of the layers that choose one class.

    A subclass says how to draw (`_draw`) and how to read a noise-free
    one-hot or relaxed choice (`_read`).
    """

    def __init__(
        self,
        temperature: float | LearningRateSchedule = 1.0,
        hard: bool = False,
        axis: int = -1,
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
        check_integer(axis, "axis")
        self.axis = int(axis)
        self._init_estimator(estimator)

    def build(self, logits_shape: Shape) -> None:
        """Check the axis against the shape; there is nothing to create."""
        canonical_axis(self.axis, logits_shape)
        self.built = True

    def _class_axis(self, shape: Shape) -> int:
        return canonical_axis(self.axis, shape)

    def _near(self, logits: Tensor) -> Tensor:
        far = numerics.offset(logits, self.noise_scale, self.axis)
        return numerics.less(logits, far)

    def _mode(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return self._read(
            mode(logits, temperature, axis=self.axis, class_mask=class_mask)
        )

    def _relax(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return self._read(
            noiseless_softmax(
                logits, temperature, axis=self.axis, class_mask=class_mask
            )
        )

    @abstractmethod
    def _read(self, choice: Tensor) -> Tensor:
        """Return the layer's output for such a choice."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "estimator": estimators.serialize(self.estimator),
        }
