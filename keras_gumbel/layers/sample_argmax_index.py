"""The index of a categorical sample."""

from typing import Any

import keras

from keras_gumbel import numerics
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation import check_index_is_exact
from keras_gumbel.layers.categorical import CategoricalLayer
from keras_gumbel.ops._cells import Cells
from keras_gumbel.ops.gumbel_softmax import gumbel_softmax
from keras_gumbel.ops.sample_argmax_index import sample_argmax_index


@keras.saving.register_keras_serializable(package="keras_gumbel")
class SampleArgmaxIndex(CategoricalLayer):
    """Sample a class, and return its index as a number with a gradient.

    Noise is drawn in training only: `model(x)` and `predict` are inference,
    and give the noise-free index unless `inference="sample"`.

        index = sum_k k * y_k,  y = GumbelSoftmax(...)(logits)

    A hard index is the sampled class, exactly one of 0, 1, ..., K - 1, and
    follows softmax(logits). A soft index is the mean under the relaxed sample,
    which lies between classes.

    Args:
        temperature: Positive number, dimensionless, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the layer's
            training calls, counted from 0. Defaults to `1.0`.
        hard: True for whole indices. Defaults to `False`.
        axis: Integer, the category axis, which the output lacks; or several
            integers, whose cells are the classes. The output then lacks them
            all, and its last axis has the coordinates of the cell, in the
            order of the integers. Defaults to `-1`.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule of hard samples. Defaults to `"st_gumbel"`.
        inference: Behaviour when not training. `"argmax"`: the index of
            the likeliest class. `"softmax"`: the mean index under the
            noise-free softmax. `"sample"`: a sample as in training. `None`:
            `"argmax"` if hard, else `"softmax"`. Defaults to `None`.
        noise_scale: Number >= 0, dimensionless, or a schedule of the layer's
            training calls. It multiplies the noise: hard samples follow
            softmax(logits / noise_scale), and 0 is argmax. Defaults to `1.0`.
        from_logits: False if the input holds probabilities, whose log is then
            taken (0 stays impossible). Defaults to `True`.
        seed: An integer in [0, 2**32) for a reproducible stream, a
            `keras.random.SeedGenerator` to share one, None to follow
            `keras.utils.set_random_seed`. The stream is saved and restored
            with the weights. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        logits: Float tensor, unnormalised log-probabilities in nats.
        class_mask: Optional bool tensor, True where a class is allowed. A row
            with none allowed gives 0.
        temperature: Optional, in place of the layer's own in this call.
        training: True to sample. False and None are inference.
        mask: Optional bool tensor, Keras's own mask, False where there is
            padding. A mask that ends with `axis` forbids padded classes, and
            stops here. A mask of earlier axes is passed on.

    Returns:
        A float32 tensor of the logits' shape without `axis` (but with the
        coordinates last, if it is several), under any policy: float16 cannot
        hold an index above 2048. If there are more than 2**24 classes, and
        their number is known only when the program runs, it is NaN.

    Gradient:
        The gradient of `GumbelSoftmax`, weighted by the class numbers. It
        helps only if the order of the classes has a meaning, as for positions.

    Raises:
        ValueError: For a temperature, axis, mask, seed, `inference` or
            `estimator` out of range, and for more than 2**24 classes, whose
            numbers float32 would round.
        TypeError: For arguments of another type, integer logits among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.SampleArgmaxIndex(hard=True)
    >>> index = layer(keras.ops.convert_to_tensor([[0.1, 0.7, 0.2]]))
    >>> keras.ops.convert_to_numpy(index).tolist()
    [1.0]

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, eq. 2, https://arxiv.org/abs/1611.01144
    """

    _drops_classes = True

    def build(self, logits_shape: Shape) -> None:
        """Check the axis, and that float32 holds every index."""
        super().build(logits_shape)
        for axis in self._axes(logits_shape):
            check_index_is_exact(tuple(logits_shape), axis)

    def compute_output_shape(self, logits_shape: Shape) -> Shape:
        """Return the shape of the logits without the category axes."""
        axes = self._axes(logits_shape)
        left = (n for i, n in enumerate(logits_shape) if i not in axes)
        last = () if isinstance(self.axis, int) else (len(axes),)
        return *left, *last

    def compute_mask(self, logits: Tensor, previous_mask: Any) -> Any:
        """Return the mask unchanged; None if it covers a dropped axis."""
        mask = super().compute_mask(logits, previous_mask)
        gone = mask is not None and len(mask.shape) > min(
            self._axes(logits.shape)
        )
        return None if gone else mask

    def compute_output_spec(
        self, logits: Tensor, *args: Any, **kwargs: Any
    ) -> keras.KerasTensor:
        """Return a float32 spec; Keras would assume the policy's dtype."""
        spec = super().compute_output_spec(logits, *args, **kwargs)
        return keras.KerasTensor(spec.shape, self._output_dtype)

    @property
    def _output_dtype(self) -> str:
        return "float32"

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        draw = sample_argmax_index
        if not isinstance(self.axis, int):
            draw, logits = gumbel_softmax, numerics.widen(logits)
        return draw(
            logits,
            temperature,
            hard=self.hard,
            axis=self._one_axis,
            estimator=self.current_estimator,
            class_mask=class_mask,
            noise_scale=self.noise_scale,
            seed=self.seed_generator,
        )

    def _read(self, choice: Tensor) -> Tensor:
        if not isinstance(self.axis, int):
            return choice
        check_index_is_exact(tuple(choice.shape), self.axis)
        return numerics.mean_class(choice, self.axis)

    def _split(self, cells: Cells, y: Tensor) -> Tensor:
        return cells.coordinates(y)
