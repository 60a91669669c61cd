"""Several classes without replacement."""

from typing import Any

import keras

from keras_gumbel import numerics
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    canonical_axis,
    check_integer,
    check_k,
    check_k_fits,
)
from keras_gumbel.layers.logits import LogitsLayer
from keras_gumbel.ops.gumbel_top_k import noiseless_subset, sample_subset


@keras.saving.register_keras_serializable(package="keras_gumbel")
class GumbelTopK(LogitsLayer):
    """Choose `k` of n classes without replacement, and train through them.

    Use it to select features, recommend items, or route to experts. Noise is
    drawn in training only: `model(x)` and `predict` are inference, and give
    the noise-free choice unless `inference="sample"`.

        perturbed = logits + noise_scale * gumbel
        hard:  1 at the k largest of perturbed, 0 elsewhere
        soft:  a_1 + ... + a_k,  w_1 = perturbed,
               a_j = softmax(w_j / temperature),  w_{j+1} = w_j + log(1 - a_j)

    A hard sample draws one class after another from softmax(logits), each
    time without the classes drawn before, at any temperature. A soft sample
    sums to k; unless the temperature is small, single entries can exceed 1.

    Args:
        k: Positive integer, the number of classes to choose, at most all; if
            calls pass a `k` of their own, the largest of any row. If the
            number of classes is known only when the program runs, and is
            below `k`, the program stops with an error.
        temperature: Positive number, dimensionless, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the layer's
            training calls, counted from 0. Defaults to `1.0`.
        hard: True for exactly k-hot samples. Defaults to `False`.
        axis: Integer, the category axis. Defaults to `-1`.
        inference: Behaviour when not training. `"argmax"`: k-hot of the
            likeliest classes, the first on ties. `"softmax"`: the noise-free
            relaxation at the live temperature. `"sample"`: a sample as in
            training. `None`: `"argmax"` if hard, else `"softmax"`. The first
            two have the gradient of the relaxation. Defaults to `None`.
        noise_scale: Number >= 0, dimensionless, or a schedule of the layer's
            training calls. It multiplies the noise: a hard sample then draws
            from softmax(logits / noise_scale), and 0 takes the k likeliest.
            Defaults to `1.0`.
        from_logits: False if the input holds probabilities, whose log is then
            taken (0 stays impossible). Defaults to `True`.
        seed: An integer in [0, 2**32) for a reproducible stream, a
            `keras.random.SeedGenerator` to share one, None to follow
            `keras.utils.set_random_seed`. The stream is saved with the
            weights. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        logits: Float tensor, unnormalised log-probabilities in nats. -inf
            forbids a class.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Forbidden classes get exactly 0 and no
            gradient. A row that allows only m < k classes raises an error
            if the mask's values are known at the call. If they are known
            only when the program runs, all m are taken, and the row sums to
            m; a row that allows none is all zeros.
        temperature: Optional, in place of the layer's own in this call:
            positive number, or float tensor that broadcasts to the logits
            with size 1 along `axis` (`(batch, 1)` for one per example).
        training: True to sample. False and None are inference.
        mask: Optional bool tensor, Keras's own mask, False where there is
            padding. A mask that ends with `axis` forbids padded classes. If
            it leaves m < k classes, all m are taken, and the row sums to m.
        k: Optional, in place of the layer's own in this call: integer tensor
            from 0 to the layer's `k`, the number of classes per row. It
            broadcasts to the rows, which are the logits without `axis`
            (`(batch,)`; or with size 1 along it, `(batch, 1)`). A value out
            of range that is only known when the program runs gives a NaN row.

    Returns:
        A tensor of the shape of the logits, in the compute dtype, which sums
        to k along `axis`. It is computed in float32 under any policy (float64
        for float64 logits). (The classes in the order of drawing come from
        `keras_gumbel.ops.gumbel_top_k`.)

    Attributes:
        temperature: The live temperature, a float32 variable: assignable,
            saved with the weights, no retracing.
        noise_scale: The live scale of the noise, also a float32 variable. It
            is in `variables` but not in `weights`.

    Gradient:
        Soft: exact for the relaxed sample. Hard: biased, the gradient of the
        soft sample with the same noise (straight through). A second
        derivative or forward mode raises a LookupError.

    Raises:
        ValueError: For a `k`, temperature, axis, mask, seed or `inference`
            out of range.
        InvalidArgumentError: On TensorFlow, for a `k` above a number of
            classes that is known only when the program runs.
        TypeError: For arguments of another type, integer logits among them.
        AttributeError: If a setting, such as `hard`, is assigned after the
            layer is built.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelTopK(2, hard=True, seed=1)
    >>> logits = keras.ops.log([[0.1, 0.2, 0.3, 0.4]])
    >>> float(keras.ops.sum(layer(logits, training=True)))
    2.0
    >>> keras.ops.convert_to_numpy(layer(logits)).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    >>> keras.ops.convert_to_numpy(layer(logits, k=[1])).tolist()
    [[0.0, 0.0, 0.0, 1.0]]

    Reference:
        Kool, van Hoof, Welling, "Stochastic Beams and Where to Find Them",
        2019, section 2.3, https://arxiv.org/abs/1903.06059;
        Xie, Ermon, "Reparameterizable Subset Sampling via Continuous
        Relaxations", 2019, algorithm 1, https://arxiv.org/abs/1901.10517
    """

    def __init__(
        self,
        k: int,
        temperature: float | LearningRateSchedule = 1.0,
        hard: bool = False,
        axis: int = -1,
        *,
        inference: str | None = None,
        noise_scale: float | LearningRateSchedule = 1.0,
        from_logits: bool = True,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        check_k(k)
        check_integer(axis, "axis")
        super().__init__(
            temperature,
            hard,
            inference=inference,
            noise_scale=noise_scale,
            from_logits=from_logits,
            seed=seed,
            **kwargs,
        )
        self.k = int(k)
        self.axis = int(axis)

    def build(self, logits_shape: Shape) -> None:
        """Check `k` and the axis against the shape; create nothing."""
        check_k_fits(
            self.k, logits_shape, canonical_axis(self.axis, logits_shape)
        )
        self.built = True

    def call(
        self,
        logits: Tensor,
        class_mask: Tensor | None = None,
        temperature: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
        k: Tensor | None = None,
    ) -> Tensor:
        """Sample when training; otherwise do what `inference` says."""
        return self._output_of(
            logits, class_mask, temperature, training, mask, k
        )

    def compute_output_shape(self, logits_shape: Shape) -> Shape:
        """Return the shape of the logits."""
        return tuple(logits_shape)

    def _class_axis(self, shape: Shape) -> int:
        return canonical_axis(self.axis, shape)

    def _sizes(self, k: Tensor | None) -> dict[str, Any]:
        """Return the functions' arguments for the number of classes."""
        return {"k": self.k} if k is None else {"k": k, "max_k": self.k}

    def _draw(
        self,
        logits: Tensor,
        temperature: Tensor,
        class_mask: Tensor | None,
        k: Tensor | None = None,
    ) -> Tensor:
        return sample_subset(
            logits,
            temperature=temperature,
            **self._sizes(k),
            hard=self.hard,
            axis=self.axis,
            class_mask=class_mask,
            noise_scale=self.noise_scale,
            seed=self.seed_generator,
        )

    def _near(self, logits: Tensor) -> Tensor:
        far = numerics.offset(logits, self.noise_scale, self.axis)
        return numerics.less(logits, far)

    def _mode(
        self,
        logits: Tensor,
        temperature: Tensor,
        class_mask: Tensor | None,
        k: Tensor | None = None,
    ) -> Tensor:
        return self._noiseless(logits, temperature, class_mask, k, hard=True)

    def _relax(
        self,
        logits: Tensor,
        temperature: Tensor,
        class_mask: Tensor | None,
        k: Tensor | None = None,
    ) -> Tensor:
        return self._noiseless(logits, temperature, class_mask, k, hard=False)

    def _noiseless(
        self,
        logits: Tensor,
        temperature: Tensor,
        class_mask: Tensor | None,
        k: Tensor | None,
        *,
        hard: bool,
    ) -> Tensor:
        return noiseless_subset(
            logits,
            temperature=temperature,
            **self._sizes(k),
            hard=hard,
            axis=self.axis,
            class_mask=class_mask,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "k": self.k, "axis": self.axis}
