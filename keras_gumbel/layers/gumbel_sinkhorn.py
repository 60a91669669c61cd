"""Matrices of permutations and matchings, hard or relaxed."""

from typing import Any

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    check_integer,
    check_matrix_shape,
    is_wide,
)
from keras_gumbel.layers.logits import LogitsLayer
from keras_gumbel.ops.gumbel_sinkhorn import gumbel_sinkhorn, noiseless_sinkhorn


@keras.saving.register_keras_serializable(package="keras_gumbel")
class GumbelSinkhorn(LogitsLayer):
    """Choose a permutation or matching, inside a network that still trains.

    Noise is drawn in training only: `model(x)` and `predict` are inference,
    and give the noise-free matching unless `inference="sample"`.

        perturbed = logits + noise_scale * gumbel
        soft:  exp(perturbed / temperature), with rows and columns normalised
               in turn, `num_iterations` times: each row sums to 1
               approximately, each column to 1 if n = m, and to at most 1 if
               n < m (m - n rows of equal logits are then added for the
               iterations)
        hard:  the matrix P of zeros and ones with the largest
               sum(P * perturbed) that has one 1 in each row, and at most
               one in each column

    To sort `items` of shape (batch, n, d) by the result P, use
    `matmul(transpose(P), items)`: row i of P is item i, and column j is place
    j. The m - n places without an item are then zeros.

    Args:
        temperature: Positive number, dimensionless, or a
            `keras.optimizers.schedules.LearningRateSchedule`. With a schedule
            the layer counts its own training calls, from 0, and sets its
            temperature inside the program. Defaults to `1.0`.
        num_iterations: Integer >= 1. More iterations bring the sums of rows
            closer to 1; low temperatures need more. Defaults to `20`.
        hard: True for matrices of exactly 0 and 1, from an exact solver that
            takes O(n**2 m). The solver is part of the compiled program in
            eager, graph and XLA code alike, and of a SavedModel; it does not
            call SciPy. Defaults to `False`.
        inference: Behaviour when not training. `"argmax"`: the best
            matching for the logits. `"sinkhorn"`: the relaxation without
            noise, at the live temperature. `"sample"`: a sample as in
            training. `None`: `"argmax"` if hard, else `"sinkhorn"`. The first
            two have the gradient of `"sinkhorn"`. Each is a compiled program,
            which a SavedModel holds. Defaults to `None`.
        noise_scale: Number >= 0, dimensionless, or a schedule of the layer's
            training calls. It multiplies the noise; 0 gives the best
            matching. Defaults to `1.0`.
        from_logits: False if the input holds affinities, positive numbers
            whose log is then taken (0 forbids a pair). Defaults to `True`.
        seed: An integer in [0, 2**32) for a reproducible stream, a
            `keras.random.SeedGenerator` to share one, None to follow
            `keras.utils.set_random_seed`. An integer's first draw equals
            `keras_gumbel.ops.gumbel_sinkhorn` with the same seed. The stream
            is saved and restored with the weights. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        logits: Float tensor `(..., n, m)`, n <= m: how well row i fits column
            j, in nats. -inf forbids a pair.
        class_mask: Optional bool tensor, True where a pair is allowed, that
            broadcasts to the logits. Forbidden pairs get exactly 0 and no
            gradient; rows and columns with nothing allowed are zeros, as in
            padded sets.
        temperature: Optional, in place of the layer's own in this call:
            positive number, or float tensor that broadcasts to the logits
            with size 1 along the last two axes (`(batch, 1, 1)`).
        training: True to sample. False and None are inference.
        mask: Optional bool tensor, Keras's own mask, False where there is
            padding. A mask `(..., n)` covers the items: padded rows are
            zeros, and if n = m so are the columns of the same indices, so
            that the other items are permuted among themselves. A mask of the
            logits' shape forbids pairs. Any other mask changes nothing here.
            All are passed on with the output.

    Returns:
        A tensor of the shape of the logits, in the compute dtype. It is
        computed in float32 under any policy (float64 for float64 logits).

    Attributes:
        temperature: The live temperature, a float32 variable: assignable,
            saved with the weights, no retracing.
        noise_scale: The live scale of the noise, also a float32 variable. It
            is in `variables` but not in `weights`.

    Gradient:
        Soft: exact for the relaxed sample. Hard: biased, the gradient of the
        soft sample with the same noise. A second derivative raises a
        LookupError, and so does `tf.autodiff.ForwardAccumulator`.

    Raises:
        ValueError: For logits with more rows than columns, a temperature,
            number of iterations, mask, seed or `inference` out of range.
        TypeError: For arguments of another type, integer logits among them.
        AttributeError: If a setting, such as `hard`, is assigned after the
            layer is built.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelSinkhorn(hard=True, seed=1)
    >>> logits = keras.ops.convert_to_tensor([[9.0, 8.0], [7.0, 1.0]])
    >>> best = layer(logits)  # 8 + 7 is more than 9 + 1
    >>> keras.ops.convert_to_numpy(best).tolist()
    [[0.0, 1.0], [1.0, 0.0]]

    Reference:
        Mena, Belanger, Linderman, Snoek, "Learning Latent Permutations with
        Gumbel-Sinkhorn Networks", 2018, sections 3 and 4,
        https://arxiv.org/abs/1802.08665
    """

    _relaxed_mode = "sinkhorn"

    def __init__(
        self,
        temperature: float | LearningRateSchedule = 1.0,
        num_iterations: int = 20,
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
            hard,
            inference=inference,
            noise_scale=noise_scale,
            from_logits=from_logits,
            seed=seed,
            **kwargs,
        )
        check_integer(num_iterations, "num_iterations", minimum=1)
        self.num_iterations = int(num_iterations)

    def build(self, logits_shape: Shape) -> None:
        """Check that each row has a column; create nothing."""
        check_matrix_shape(logits_shape)
        self.built = True

    def compute_output_shape(self, logits_shape: Shape) -> Shape:
        """Return the shape of the logits."""
        return tuple(logits_shape)

    def _covering(self, mask: Tensor, logits: Tensor) -> Tensor | None:
        """Return a mask of pairs; one of rows covers places too if n = m."""
        if len(mask.shape) == len(logits.shape) - 1:
            n, m = ops.shape(logits)[-2:]
            return numerics.pairs_of_items(mask, n, m, is_wide(logits))
        return super()._covering(mask, logits)

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return gumbel_sinkhorn(
            logits,
            temperature,
            self.num_iterations,
            hard=self.hard,
            class_mask=class_mask,
            noise_scale=self.noise_scale,
            seed=self.seed_generator,
        )

    def _near(self, logits: Tensor) -> Tensor:
        return numerics.near_matrices(logits, self.noise_scale, is_wide(logits))

    def _mode(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return self._without_noise(logits, temperature, class_mask, True)

    def _relax(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return self._without_noise(logits, temperature, class_mask, False)

    def _without_noise(
        self,
        logits: Tensor,
        temperature: Tensor,
        class_mask: Tensor | None,
        hard: bool,
    ) -> Tensor:
        return noiseless_sinkhorn(
            logits,
            temperature,
            self.num_iterations,
            hard=hard,
            class_mask=class_mask,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "num_iterations": self.num_iterations,
        }
