"""Vectors of learned codebooks, chosen by sampling."""

from typing import Any

import keras
from keras import ops

from keras_gumbel import estimators, numerics
from keras_gumbel._tracing import is_exported, mask_of
from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import (
    check_kl_weight,
    check_kl_weight_is_live,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers.codebook import CodebookLayer
from keras_gumbel.losses import categorical_kl
from keras_gumbel.metrics import CategoryUsage
from keras_gumbel.metrics.group_perplexity import GroupPerplexity
from keras_gumbel.ops._noiseless import mode, noiseless_softmax
from keras_gumbel.ops.codebook import (
    codes_of,
    for_each_position,
    histogram,
    likeliest,
    look_up,
    mix,
)
from keras_gumbel.ops.gumbel_softmax import gumbel_softmax
from keras_gumbel.ops.sample_embedding import sample_codebooks
from keras_gumbel.ops.straight_through import straight_through


@keras.saving.register_keras_serializable(package="keras_gumbel")
class GumbelQuantizer(CodebookLayer):
    """Features to vectors of learned codebooks, by a categorical sample.

    Noise is drawn in training only: `model(x)` and `predict` are inference,
    and give the vectors of the likeliest codes unless `inference` says
    otherwise.

        logits = inputs @ kernel + bias, as (..., num_groups, num_codes)
        hard:  code_g ~ Categorical(softmax(logits_g))
               output = concatenate_g embeddings[g, code_g]
        soft:  y = gumbel_softmax(logits, temperature)
               output = concatenate_g y_g @ embeddings[g]

    The quantizer of wav2vec 2.0 (several groups, hard), and the bottleneck of
    DALL-E's discrete VAE (one group; trained soft, and used hard). Hard, the
    rows are gathered, as by `GumbelEmbedding`.

    Args:
        num_codes: Positive integer, the codes of each group.
        code_dim: Positive integer, the length of the output vector, divisible
            by `num_groups`.
        num_groups: Positive integer; each group has a codebook of its own.
            Defaults to `1`.
        temperature: As for `GumbelSoftmax`. Defaults to `1.0`.
        hard: True for rows of the codebooks, False for mixtures of them.
            Defaults to `True`.
        estimator: As for `GumbelSoftmax`. Defaults to `"st_gumbel"`.
        kl_weight: Number >= 0, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the training
            calls. The layer then adds the loss `kl_weight * KL`, in nats,
            where KL is the sum over groups of
            KL(softmax(logits) || uniform over the codes), averaged over
            positions, those that are masked left out. It is added once a
            call: a layer that is shared, or under `TimeDistributed`, adds it
            for each. Out of a loop, such as that of `keras.layers.RNN`, no
            loss gets: unroll the loop, or add one outside, by
            `keras_gumbel.losses.categorical_kl`. `None`: no such loss, and
            nothing of it is computed. Defaults to `None`.
        kernel_initializer: Initializer of the projection. Defaults to
            `"glorot_uniform"`.
        use_bias: False for a projection without bias. Defaults to `True`.
        embeddings_initializer: Initializer of the codebooks, given the shape
            `(num_groups * num_codes, code_dim / num_groups)`. Defaults to
            `"uniform"`.
        inference: As for `GumbelSoftmax`: `"argmax"` gives the likeliest
            codes' vectors, `"softmax"` the mean ones. `None` is `"argmax"` if
            hard, else `"softmax"`. Defaults to `None`.
        noise_scale: As for `GumbelSoftmax`. Defaults to `1.0`.
        seed: As for `GumbelSoftmax`. Defaults to `None`.
        **kwargs: Of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        inputs: Float tensor `(..., features)`.
        class_mask: Optional bool tensor, True where a code is allowed, that
            broadcasts to `(..., num_groups, num_codes)`. A group with none
            allowed gives zeros.
        temperature: Optional, in place of the layer's own in this call; a
            tensor broadcasts to `(..., num_groups, 1)`.
        training: True to sample. False and None are inference.
        mask: Optional bool tensor `(...)`, False for positions, such as
            padding, that the loss and the metrics are to leave out. Keras
            passes what an `Embedding` or `Masking` made. The output is not
            changed by it.

    Returns:
        A tensor `(..., code_dim)` in the compute dtype. The logits, and what
        is drawn from them, are float32 under any policy (float64 for float64
        inputs): half precision cannot tell likely codes apart.

    Attributes:
        embeddings: The codebooks,
            `(num_groups, num_codes, code_dim / num_groups)`.
        kernel: The projection, `(features, num_groups * num_codes)`.
        bias: `(num_groups * num_codes,)`, or None.
        temperature: The live temperature, as of `GumbelSoftmax`.
        kl_weight: The live weight of the loss, a float32 variable:
            assignable, saved, no retracing. None if made so.
        perplexity: Keras metric, the effective number of codes in use: the
            mean over groups of `metrics.CodePerplexity`, between 1 and
            `num_codes`. (wav2vec 2.0 reports the sum: `num_groups` times
            this.)
        usage: Keras metric, the share of all codes that was used.

    The metrics appear in the logs of `fit` and `evaluate` as
    `<name>_perplexity` and `<name>_usage`. They count the codes that were
    chosen, in every call where `training` is True or False: so in `predict`
    too, but not in `model(x)`, which is what a SavedModel holds.

    Gradient:
        To the codebooks: exact for the chosen rows, or the relaxed sample.
        To the inputs and the projection: hard, biased, see the estimator;
        soft, exact for the relaxed sample.

    Raises:
        ValueError: As `GumbelSoftmax`, and for sizes or a `kl_weight` out of
            range; for a `kl_weight` other than 0 inside a loop of another
            layer.
        TypeError: As `GumbelSoftmax`, integer inputs among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelQuantizer(320, 256, num_groups=2)
    >>> x = keras.random.normal((4, 10, 128))
    >>> layer(x, training=True).shape
    TensorShape([4, 10, 256])
    >>> codes = layer.encode(x)
    >>> codes.shape
    TensorShape([4, 10, 2])
    >>> bool(keras.ops.all(layer.decode(codes) == layer(x)))
    True

    Reference:
        Baevski, Zhou, Mohamed, Auli, "wav2vec 2.0", 2020, eq. 1,
        https://arxiv.org/abs/2006.11477; Ramesh et al., "Zero-Shot
        Text-to-Image Generation", 2021, section 2.1,
        https://arxiv.org/abs/2102.12092
    """

    _live_names = (*CodebookLayer._live_names, "kl_weight")

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        num_groups: int = 1,
        temperature: float | LearningRateSchedule = 1.0,
        hard: bool = True,
        *,
        estimator: str | Estimator = "st_gumbel",
        kl_weight: float | LearningRateSchedule | None = None,
        kernel_initializer: Any = "glorot_uniform",
        use_bias: bool = True,
        embeddings_initializer: Any = "uniform",
        inference: str | None = None,
        noise_scale: float | LearningRateSchedule = 1.0,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_codes,
            code_dim,
            num_groups,
            kernel_initializer=kernel_initializer,
            use_bias=use_bias,
            embeddings_initializer=embeddings_initializer,
            temperature=temperature,
            hard=hard,
            inference=inference,
            noise_scale=noise_scale,
            seed=seed,
            **kwargs,
        )
        self._init_estimator(estimator)
        if kl_weight is not None:
            self._add_live_scalar("kl_weight", kl_weight, check_kl_weight)
        groups, codes, name = self.num_groups, self.num_codes, self.name
        self.perplexity = GroupPerplexity(groups, codes, f"{name}_perplexity")
        self.usage = CategoryUsage(groups * codes, f"{name}_usage")
        self.perplexity.be_held()
        self.usage.be_held()

    @property
    def variables(self) -> list[keras.Variable]:
        """The weights and what else is no metric's, or cannot be."""
        return [*super().variables, *self.perplexity.held, *self.usage.held]

    @property
    def kl_weight(self) -> keras.Variable | None:
        """The live weight of the loss, a float32 variable, or None."""
        live = self._live.get("kl_weight")
        return None if live is None else live.variable

    @kl_weight.setter
    def kl_weight(self, value: float) -> None:
        check_kl_weight_is_live(self.kl_weight)
        self._live["kl_weight"].assign(value)

    def call(
        self,
        inputs: Tensor,
        class_mask: Tensor | None = None,
        temperature: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Choose codes and give their vectors; add the loss, and count."""
        logits = self.logits(inputs, class_mask)
        vectors, codes = self._choose(logits, None, temperature, training)
        # Keras passes it only where the inputs are the one tensor.
        mask = mask_of(inputs) if mask is None else mask
        unmasked = None if mask is None else for_each_position(mask, inputs)
        if self.kl_weight is not None:
            changed = self._add_penalty(
                "kl_weight",
                lambda: _mean_kl(logits, unmasked),
                "`weight * losses.categorical_kl(layer.logits(inputs))`",
            )
            if changed is not None:
                vectors += ops.cast(changed, vectors.dtype)
        if training is not None and not is_exported():
            counts = histogram(codes, unmasked, self.num_codes)
            self.perplexity.add(counts)
            self.usage.add(counts)
        return self._joined(vectors)

    def _draw(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.hard:
            return sample_codebooks(
                logits,
                self._tables,
                temperature,
                estimator=self.current_estimator,
                noise_scale=self.noise_scale,
                seed=self.seed_generator,
            )
        y = gumbel_softmax(
            logits,
            temperature,
            noise_scale=self.noise_scale,
            seed=self.seed_generator,
        )
        return self._mixed(y), codes_of(y)

    def _mode(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        mixed = self._mixed(mode(logits, temperature, axis=-1))
        codes = likeliest(logits)
        # The rows themselves, as `decode` gives them: a product may round.
        rows = look_up(codes, self._tables)
        known = ops.expand_dims(codes >= 0, -1)
        rows = numerics.select(known, rows, mixed)
        return straight_through(rows, mixed), codes

    def _relax(
        self, logits: Tensor, temperature: Tensor, class_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        y = noiseless_softmax(logits, temperature, axis=-1)
        return self._mixed(y), likeliest(logits)

    def _mixed(self, y: Tensor) -> Tensor:
        tables = self._tables
        return mix(ops.cast(y, tables.dtype), tables)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the live numbers are weights."""
        live = self.kl_weight is not None
        return {
            **super().get_config(),
            "estimator": estimators.serialize(self.estimator),
            "kl_weight": self._live["kl_weight"].config() if live else None,
        }


def _mean_kl(logits: Tensor, unmasked: Tensor | None) -> Tensor:
    """KL to uniform, summed over groups; 0 where no position is left."""
    kl = ops.cast(ops.sum(categorical_kl(logits), axis=-1), "float32")
    if unmasked is None:
        unmasked = ops.ones_like(kl, "bool")
    # What is masked may be anything, NaN too.
    total = ops.sum(ops.where(unmasked, kl, 0.0))
    return total / ops.maximum(ops.sum(ops.cast(unmasked, "float32")), 1.0)
