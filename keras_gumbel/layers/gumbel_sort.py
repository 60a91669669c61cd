"""A random order of scores."""

from typing import Any

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    canonical_axis,
    check_choice,
    check_flag,
    check_index_is_exact,
)
from keras_gumbel.layers.logits import LogitsLayer
from keras_gumbel.ops.gumbel_sort import SHOWN, noiseless_order, sample_order


@keras.saving.register_keras_serializable(package="keras_gumbel")
class GumbelSort(LogitsLayer):
    """Order n scores at random, inside a network that still trains.

    Use it to learn rankings, or to put items in order. Noise is drawn in
    training only: `model(x)` and `predict` are inference, and give the order
    of the scores themselves unless `inference="sample"`.

        perturbed = scores + noise_scale * gumbel
        order:  the entries by their perturbed scores, the largest first
        w_ij = exp(-|perturbed[order[i]] - perturbed[j]| / temperature)

        output         hard                  soft
        "permutation"  1 at j = order[i]     w_ij / sum_j w_ij
        "sorted"       scores[order[i]]      sum_j w_ij scores_j / sum_j w_ij
        "ranks"        i where order[i] = j  sum_i i w_ij / sum_i w_ij

    A hard order draws one entry after another from softmax(scores), each time
    without the entries drawn before (Plackett-Luce), at any temperature. If
    the n x n matrix is not the output, no pass of a sample holds it, and the
    sums of weights take O(n log n).

    Args:
        temperature: Positive number, dimensionless, or a
            `keras.optimizers.schedules.LearningRateSchedule`, as for
            `GumbelSoftmax`. Defaults to `1.0`.
        hard: True for exact orders. Defaults to `False`.
        output: `"permutation"`: the matrix P, row i for place i, so that
            `matmul(P, items)` puts items in order. `"sorted"`: the scores in
            order. `"ranks"`: the place of each score, 0 the first. Defaults
            to `"permutation"`.
        descending: False for the smallest first. Defaults to `True`.
        inference: Behaviour when not training. `"argmax"`: the order of
            the scores, the first on ties. `"softsort"`: the relaxation without
            noise, at the live temperature. `"sample"`: a sample as in
            training. `None`: `"argmax"` if hard, else `"softsort"`. The first
            two have the gradient of `"softsort"`, which holds a matrix
            whatever the output. Defaults to `None`.
        noise_scale: Number >= 0, dimensionless, or a schedule, as for
            `GumbelSoftmax`. Defaults to `1.0`.
        from_logits: False if the input holds positive weights, whose log is
            then taken (0 is a missing entry), also by `"sorted"`.
            Defaults to `True`.
        seed: An integer in [0, 2**32) for a reproducible stream, a
            `keras.random.SeedGenerator` to share one, None to follow
            `keras.utils.set_random_seed`; as for `GumbelSoftmax`. Defaults
            to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        logits: Float tensor `(..., n)`, the scores: unnormalised
            log-probabilities of coming first, in nats. -inf is a missing
            entry.
        class_mask: Optional bool tensor, True where an entry exists, that
            broadcasts to the scores. Missing entries have no place: a column
            of zeros, rank 0, no gradient; and the places after the last entry
            are zeros.
        temperature: Optional, in place of the layer's own in this call:
            positive number, or float tensor that broadcasts to the scores
            with size 1 along the last axis (`(batch, 1)`).
        training: True to sample. False and None are inference.
        mask: Optional bool tensor, Keras's own mask. A mask of the scores'
            shape marks padding as missing entries. Any other mask changes
            nothing here. With ranks it is passed on unchanged. Otherwise a
            mask of places is passed on: True for the first m places, where m
            is the number of entries.

    Returns:
        A tensor of the shape `(..., n, n)` for `"permutation"`, else
        `(..., n)`, in the compute dtype; ranks are float32 under any policy.
        It is computed in float32 (float64 for float64 scores).

    Attributes:
        temperature: The live temperature, a float32 variable: assignable,
            saved with the weights, no retracing.
        noise_scale: The live scale of the noise, likewise, except that it is
            in `variables` but not in `weights`.

    Gradient:
        Soft: exact for the relaxed sample. Hard: biased, the gradient of the
        soft sample with the same noise (straight through). A second
        derivative or forward mode raises a LookupError.

    Raises:
        ValueError: For an `output`, temperature, mask, seed or `inference`
            out of range, and for ranks of more than 2**24 entries.
        TypeError: For arguments of another type, integer scores among them.
        AttributeError: If a setting, such as `hard`, is assigned after the
            layer is built.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> scores = keras.ops.convert_to_tensor([[0.3, 0.9, 0.1]])
    >>> in_order = kg.GumbelSort(hard=True, output="sorted")(scores)
    >>> keras.ops.convert_to_numpy(in_order).round(1)
    array([[0.9, 0.3, 0.1]], dtype=float32)
    >>> ranks = kg.GumbelSort(hard=True, output="ranks")(scores)
    >>> keras.ops.convert_to_numpy(ranks).tolist()
    [[1.0, 0.0, 2.0]]

    Reference:
        Prillo, Eisenschlos, "SoftSort: A Continuous Relaxation for the
        argsort Operator", 2020, eq. 3, https://arxiv.org/abs/2006.16038
    """

    _relaxed_mode = "softsort"
    # The attribute that holds the argument `output`.
    _settings = LogitsLayer._settings | {"shown"}

    def __init__(
        self,
        temperature: float | LearningRateSchedule = 1.0,
        hard: bool = False,
        *,
        output: str = "permutation",
        descending: bool = True,
        inference: str | None = None,
        noise_scale: float | LearningRateSchedule = 1.0,
        from_logits: bool = True,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        check_choice(output, "output", tuple(SHOWN))
        super().__init__(
            temperature,
            hard,
            inference=inference,
            noise_scale=noise_scale,
            from_logits=from_logits,
            seed=seed,
            **kwargs,
        )
        # Keras uses the attribute `output` for a layer's output tensor.
        self.shown = output
        self.descending = check_flag(descending, "descending")

    def build(self, logits_shape: Shape) -> None:
        """Check that there is something to sort; create nothing."""
        canonical_axis(-1, logits_shape)
        if self.shown == "ranks":
            check_index_is_exact(tuple(logits_shape), -1)
        self.built = True

    def compute_output_shape(self, logits_shape: Shape) -> Shape:
        """Return the output's shape: a matrix, or a number per entry."""
        shape = tuple(logits_shape)
        return (*shape, shape[-1]) if self.shown == "permutation" else shape

    def compute_output_spec(
        self, logits: Tensor, *args: Any, **kwargs: Any
    ) -> keras.KerasTensor:
        """Return the output's spec; ranks are float32 under any policy."""
        spec = super().compute_output_spec(logits, *args, **kwargs)
        return keras.KerasTensor(spec.shape, dtype=self._output_dtype)

    def compute_mask(self, logits: Tensor, previous_mask: Any) -> Any:
        """Return the mask unchanged, or the mask of places."""
        mask = super().compute_mask(logits, previous_mask)
        if self.shown == "ranks" or mask is None:
            return mask
        if len(mask.shape) != len(logits.shape):
            return mask
        real = ops.cast(mask, "int32")
        place = ops.cumsum(ops.ones_like(real), axis=-1)
        return place <= ops.sum(real, axis=-1, keepdims=True)

    @property
    def _output_dtype(self) -> str:
        # torch's compiler reads no property by `super`.
        dtype: str = self.compute_dtype
        return "float32" if self.shown == "ranks" else dtype

    def _near(self, logits: Tensor) -> Tensor:
        far = numerics.offset(logits, self.noise_scale, -1)
        return numerics.less(logits, far)

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return sample_order(
            logits,
            temperature,
            output=self.shown,
            hard=self.hard,
            descending=self.descending,
            class_mask=class_mask,
            noise_scale=self.noise_scale,
            seed=self.seed_generator,
        )

    def _mode(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return self._noiseless(logits, temperature, class_mask, hard=True)

    def _relax(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> Tensor:
        return self._noiseless(logits, temperature, class_mask, hard=False)

    def _noiseless(
        self,
        logits: Tensor,
        temperature: Tensor,
        class_mask: Tensor | None,
        *,
        hard: bool,
        output: str | None = None,
    ) -> Tensor:
        return noiseless_order(
            logits,
            temperature,
            output=output or self.shown,
            hard=hard,
            descending=self.descending,
            class_mask=class_mask,
        )

    def _by_noise(
        self,
        logits: Tensor,
        class_mask: Tensor | None,
        temperature: Tensor,
        noise: Tensor,
        *more: Tensor,
    ) -> Tensor:
        """Return the sample of this noise; sorted scores contain no noise."""
        if self.shown != "sorted":
            return super()._by_noise(
                logits, class_mask, temperature, noise, *more
            )
        perturbed = self._perturbed(logits, class_mask, noise)
        matrix = self._noiseless(
            perturbed,
            temperature,
            None,
            hard=self.hard,
            output="permutation",
        )
        scores = numerics.allowed(logits, class_mask)
        scores = numerics.select(scores <= numerics.FORBIDDEN, 0.0, scores)
        return ops.squeeze(
            numerics.matmul(matrix, ops.expand_dims(scores, -1)), -1
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "output": self.shown,
            "descending": self.descending,
        }
