"""A sampled entry of a learned codebook."""

from typing import Any

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import check_integer, check_kind
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers.categorical import CategoricalLayer
from keras_gumbel.ops.sample_embedding import sample_embedding


@keras.saving.register_keras_serializable(package="keras_gumbel")
class GumbelEmbedding(CategoricalLayer):
    """Look up the vector of a sampled class, in a learned table.

    Noise is drawn in training only: `model(x)` and `predict` are inference,
    and give the likeliest class's vector unless `inference` says otherwise.

        embeddings[index],  index ~ Categorical(softmax(logits))

    Use it for codebooks and vocabularies of thousands of classes. It equals
    `GumbelSoftmax(hard=True)` followed by a `Dense` without bias, in value and
    gradients, at the cost of the sampling alone: it gathers the row, and keeps
    nothing of the logits' size for the backward pass.

    Args:
        input_dim: Positive integer, the number of classes.
        output_dim: Positive integer, the length of each vector.
        embeddings_initializer: Initializer of the table. Defaults to
            `"uniform"`.
        embeddings_regularizer: Optional regularizer of the table. Defaults to
            `None`.
        embeddings_constraint: Optional constraint on the table. Defaults to
            `None`.
        temperature: Positive number, dimensionless, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the layer's
            training calls, counted from 0. Defaults to `1.0`.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule of hard samples. Defaults to `"st_gumbel"`.
        inference: Behaviour when not training. `"argmax"` (what `None`
            means): the likeliest class's vector. `"softmax"`: the mean
            vector. `"sample"`: a sample as in training. Defaults to `None`.
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
        logits: Float tensor `(..., input_dim)`, unnormalised
            log-probabilities in nats.
        class_mask: Optional bool tensor, True where a class is allowed. A row
            with none allowed gives zeros.
        temperature: Optional, in place of the layer's own in this call.
        training: True to sample. False and None are inference.
        mask: Optional bool tensor, Keras's own mask, False where there is
            padding. A mask of the logits' shape forbids padded classes, and
            stops here. A mask of earlier axes is passed on.

    Returns:
        A tensor `(..., output_dim)` in the compute dtype.

    Attributes:
        embeddings: The table, `(input_dim, output_dim)`.
        temperature: The live temperature, a float32 variable: assignable,
            saved with the weights, no retracing.

    Gradient:
        To the table: exact for the sampled rows. To the logits: biased, see
        the estimator.

    Raises:
        ValueError: For a temperature, mask, seed, `inference` or `estimator`
            out of range, and for sizes that are not positive or do not fit
            the logits.
        TypeError: For arguments of another type, integer logits among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelEmbedding(512, 16)
    >>> codes = layer(keras.random.normal((4, 10, 512)), training=True)
    >>> tuple(codes.shape)
    (4, 10, 16)

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, section 2.2, https://arxiv.org/abs/1611.01144
    """

    _drops_classes = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        *,
        temperature: float | LearningRateSchedule = 1.0,
        estimator: str | Estimator = "st_gumbel",
        inference: str | None = None,
        noise_scale: float | LearningRateSchedule = 1.0,
        from_logits: bool = True,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        check_integer(input_dim, "input_dim", minimum=1)
        check_integer(output_dim, "output_dim", minimum=1)
        super().__init__(
            temperature,
            True,
            -1,
            estimator=estimator,
            inference=inference,
            noise_scale=noise_scale,
            from_logits=from_logits,
            seed=seed,
            **kwargs,
        )
        self.input_dim = int(input_dim)
        self.output_dim = int(output_dim)
        self.embeddings_initializer = check_kind(
            keras.initializers.get(embeddings_initializer),
            "embeddings_initializer",
            "initializer",
        )
        self.embeddings_regularizer = check_kind(
            keras.regularizers.get(embeddings_regularizer),
            "embeddings_regularizer",
            "regularizer",
        )
        self.embeddings_constraint = check_kind(
            keras.constraints.get(embeddings_constraint),
            "embeddings_constraint",
            "constraint",
        )

    def build(self, logits_shape: Shape) -> None:
        """Create the table."""
        if logits_shape[-1] not in (None, self.input_dim):
            raise ValueError(
                "`input_dim` must be the number of classes. Received: "
                f"input_dim={self.input_dim}, logits of shape {logits_shape}"
            )
        # Keras checks every later call against this.
        self.input_spec = keras.InputSpec(axes={-1: self.input_dim})
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
            autocast=False,
        )
        super().build(logits_shape)

    def compute_output_shape(self, logits_shape: Shape) -> Shape:
        """Return the shape with a vector in place of the classes."""
        return *logits_shape[:-1], self.output_dim

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return sample_embedding(
            logits,
            self._table,
            temperature,
            estimator=self.current_estimator,
            class_mask=class_mask,
            noise_scale=self.noise_scale,
            seed=self.seed_generator,
        )

    def _read(self, choice: Tensor) -> Tensor:
        table = self._table
        return numerics.matmul(ops.cast(choice, table.dtype), table)

    @property
    def _table(self) -> Tensor:
        # Stay wide and cast the rows later: the gradient of a table cast here
        # would be summed in half precision.
        return numerics.widen(ops.convert_to_tensor(self.embeddings))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        for fixed in ("hard", "axis"):
            del config[fixed]
        return {
            **config,
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": keras.initializers.serialize(
                self.embeddings_initializer
            ),
            "embeddings_regularizer": keras.regularizers.serialize(
                self.embeddings_regularizer
            ),
            "embeddings_constraint": keras.constraints.serialize(
                self.embeddings_constraint
            ),
        }
