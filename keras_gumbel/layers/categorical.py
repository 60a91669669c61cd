"""Base of the layers over a categorical distribution."""

from abc import abstractmethod
from typing import Any

import keras

from keras_gumbel import estimators, numerics
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import check_axes_fit, check_axis
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers.logits import LogitsLayer
from keras_gumbel.ops._cells import Cells
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
        axis: int | tuple[int, ...] = -1,
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
        self.axis = check_axis(axis)
        self._init_estimator(estimator)

    def build(self, logits_shape: Shape) -> None:
        """Check the axis against the shape; create nothing."""
        self._axes(logits_shape)
        self.built = True

    def _axes(self, shape: Shape) -> tuple[int, ...]:
        """Return the axes of the classes, counted from the front."""
        axes = (self.axis,) if isinstance(self.axis, int) else self.axis
        return check_axes_fit(axes, tuple(shape))

    @property
    def _one_axis(self) -> int:
        """Return the class axis of a draw: the last, if cells are merged."""
        return self.axis if isinstance(self.axis, int) else -1

    def _class_axis(self, shape: Shape) -> int:
        return max(self._axes(shape))

    def _choose(
        self,
        logits: Tensor,
        class_mask: Tensor | None,
        temperature: Tensor | None,
        training: bool | None,
        *more: Tensor,
    ) -> Tensor:
        if isinstance(self.axis, int):
            return super()._choose(
                logits, class_mask, temperature, training, *more
            )
        cells = Cells(logits, self.axis)
        merged, temperature, mask = cells.merged(temperature, class_mask)
        y = super()._choose(merged, mask, temperature, training, *more)
        return self._split(cells, y)

    def _split(self, cells: Cells, y: Tensor) -> Tensor:
        """Return the layer's output for a choice among cells."""
        return cells.split(y)

    def _near(self, logits: Tensor) -> Tensor:
        far = numerics.offset(logits, self.noise_scale, self._one_axis)
        return numerics.less(logits, far)

    def _mode(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return self._read(
            mode(
                logits,
                temperature,
                axis=self._one_axis,
                class_mask=class_mask,
            )
        )

    def _relax(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return self._read(
            noiseless_softmax(
                logits,
                temperature,
                axis=self._one_axis,
                class_mask=class_mask,
            )
        )

    @abstractmethod
    def _read(self, choice: Tensor) -> Tensor:
        """Return the layer's output for such a choice."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "axis": self.axis if isinstance(self.axis, int) else [*self.axis],
            "estimator": estimators.serialize(self.estimator),
        }
