"""One-hot or relaxed categorical samples."""

import keras

from keras_gumbel._typing import Shape, Tensor
from keras_gumbel.layers.categorical import CategoricalLayer
from keras_gumbel.ops.gumbel_softmax import gumbel_softmax


@keras.saving.register_keras_serializable(package="keras_gumbel")
class GumbelSoftmax(CategoricalLayer):
    """Choose one of K classes, inside a network that still trains.

    Noise is drawn in training only: `model(x)` and `predict` are inference,
    and give the noise-free choice unless `inference="sample"`.

        perturbed = logits + noise_scale * gumbel
        soft:  softmax(perturbed / temperature)
        hard:  one_hot(argmax(perturbed)), gradient by the `estimator`

    A hard sample follows softmax(logits) whatever the temperature.

    Args:
        temperature: Positive number, dimensionless, or a
            `keras.optimizers.schedules.LearningRateSchedule`. With a schedule
            the layer counts its own training calls, from 0, and sets its
            temperature inside the program: exact under
            `steps_per_execution` and XLA. (A layer used twice in a model
            counts twice per step.) Defaults to `1.0`.
        hard: True for exactly one-hot samples. Defaults to `False`.
        axis: Integer, the category axis; or several integers, whose cells
            are the classes: `(1, 2)` for one cell of images `(batch, height,
            width)`. Defaults to `-1`.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule of hard samples: `"st_gumbel"`, `"gumbel_rao"`, `"st"`,
            `"reinmax"` or `"gapped_st"`. Defaults to `"st_gumbel"`.
        inference: Behaviour when not training. `"argmax"`: one-hot of the
            likeliest class, the first on ties. `"softmax"`: the noise-free
            softmax at the live temperature. `"sample"`: a sample as in
            training. `None`: `"argmax"` if hard, else `"softmax"`. The first
            two have the gradient of the softmax. Defaults to `None`.
        noise_scale: Number >= 0, dimensionless, or a schedule of the layer's
            training calls. It multiplies the noise: a hard sample follows
            softmax(logits / noise_scale), so that a larger scale explores
            more, and 0 is argmax. `temperature` shapes the gradient. An
            estimator that is unbiased at temperature 1 is then unbiased at
            temperature `noise_scale`. Defaults to `1.0`.
        from_logits: False if the input holds probabilities, whose log is then
            taken (0 stays impossible). Defaults to `True`.
        seed: An integer in [0, 2**32) for a reproducible stream, a
            `keras.random.SeedGenerator` to share one, None to follow
            `keras.utils.set_random_seed`. An integer's first draw equals
            `keras_gumbel.ops.gumbel_softmax` with the same seed, and two
            layers with one integer draw the same noise. Replicas of a
            `tf.distribute` strategy draw different noise. The stream is
            saved and restored with the weights. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Forbidden classes get exactly 0 and no
            gradient; a row with none allowed is all zeros.
        temperature: Optional, in place of the layer's own in this call:
            positive number, or float tensor that broadcasts to the logits
            with size 1 along `axis` (`(batch, 1)` for one per example).
        training: True to sample. False and None are inference.
        mask: Optional bool tensor, Keras's own mask, False where there is
            padding, with the shape of the logits or of their first axes.
            Keras passes the mask of an `Embedding` or `Masking`. A mask that
            ends with `axis` covers the classes: it forbids padding, in
            addition to `class_mask`. Any other mask changes nothing here.
            Either is passed on with the output.

    Returns:
        A tensor of the shape of the logits, in the compute dtype. Noise and
        softmax are float32 under any policy (float64 for float64 logits), and
        one-hot is exact in every dtype.

    Attributes:
        temperature: The live temperature, a float32 variable: assignable,
            saved with the weights, no retracing.
        noise_scale: The live scale of the noise, also a float32 variable. It
            is in `variables` but not in `weights`.

    Gradient:
        Soft: exact for the relaxed sample. Hard: biased, see the estimator.

    Raises:
        ValueError: For a temperature, axis, mask, seed, `inference` or
            `estimator` out of range.
        TypeError: For arguments of another type, integer logits, and ragged
            or sparse tensors among them.
        AttributeError: If a setting, such as `hard`, is assigned after the
            layer is built.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelSoftmax(temperature=0.5, hard=True, seed=1)
    >>> logits = keras.ops.log([[0.1, 0.2, 0.7]])
    >>> float(keras.ops.sum(layer(logits, training=True)))
    1.0
    >>> keras.ops.convert_to_numpy(layer(logits)).tolist()
    [[0.0, 0.0, 1.0]]

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, eq. 2, https://arxiv.org/abs/1611.01144
    """

    def compute_output_shape(self, logits_shape: Shape) -> Shape:
        """Return the shape of the logits."""
        return tuple(logits_shape)

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return gumbel_softmax(
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
        return choice
