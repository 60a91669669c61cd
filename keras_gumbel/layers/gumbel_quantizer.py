"""Vectors of learned codebooks, chosen by sampling."""

from typing import Any, Self

import keras
from keras import ops

from keras_gumbel import estimators, numerics
from keras_gumbel._tracing import is_exported, mask_of
from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import check_is_outside_of_loops, dense
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers.code_states import read_as_assigned
from keras_gumbel.layers.counted_codebooks import CountedCodebooks
from keras_gumbel.ops._noiseless import mode, noiseless_softmax
from keras_gumbel.ops.codebook import (
    codes_of,
    for_each_position,
    likeliest,
    look_up,
    mix,
)
from keras_gumbel.ops.gumbel_softmax import gumbel_softmax
from keras_gumbel.ops.penalty import is_in_inner_graph
from keras_gumbel.ops.sample_embedding import sample_codebooks
from keras_gumbel.ops.straight_through import straight_through


@keras.saving.register_keras_serializable(package="keras_gumbel")
class GumbelQuantizer(CountedCodebooks):
    """Replace features by vectors of learned codebooks, by sampled codes.

    Noise is drawn in training only: `model(x)` and `predict` are inference,
    and give the vectors of the likeliest codes unless `inference` says
    otherwise.

        logits = inputs @ kernel + bias, as (..., num_groups, num_codes)
        hard:  code_g ~ Categorical(softmax(logits_g))
               output = concatenate_g embeddings[g, code_g]
        soft:  y = gumbel_softmax(logits, temperature)
               output = concatenate_g y_g @ embeddings[g]

    It is the quantizer of wav2vec 2.0 (several groups, hard), and the
    bottleneck of DALL-E's discrete VAE (one group; trained soft, used hard).
    A hard layer gathers rows, as `GumbelEmbedding` does.

    Args:
        num_codes: Positive integer, the codes of each group.
        code_dim: Positive integer, the length of the output vector, divisible
            by `num_groups`.
        num_groups: Positive integer; each group has a codebook of its own.
            Defaults to `1`.
        temperature: Positive number, or a `LearningRateSchedule` of the
            training calls. Defaults to `1.0`.
        hard: True for rows of the codebooks, False for mixtures of them.
            Defaults to `True`.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule of hard samples. Defaults to `"st_gumbel"`.
        kl_weight: Number >= 0, or a schedule of the training calls. Each call
            adds the loss `kl_weight * KL`, in nats, where KL is the sum over
            groups of KL(softmax(logits) || uniform over the codes), averaged
            over unmasked positions. Inside a loop, such as
            `keras.layers.RNN`, a layer cannot add losses: unroll the loop, or
            add `keras_gumbel.losses.categorical_kl` outside. `None` adds
            none. Defaults to `None`.
        kernel_initializer: Initializer of the projection. Defaults to
            `"glorot_uniform"`.
        use_bias: False for a projection without bias. Defaults to `True`.
        embeddings_initializer: Initializer of the codebooks, given the shape
            `(num_groups * num_codes, code_dim / num_groups)`. Defaults to
            `"uniform"`.
        similarity: `"projection"` for the logits above. With `"distance"`,
            the logits are minus the squared distance between the inputs (in
            each group, their part) and the codes' vectors, times a scale that
            the first batch sets (30 over its mean squared distance from its
            mean); the inputs must then have the size `code_dim`. Defaults to
            `"projection"`.
        diversity_weight: Number >= 0 or a schedule, as for `kl_weight`: the
            weight of `losses.diversity_loss`, which makes a batch use all
            codes alike. `None`: no such loss. Defaults to `0.1`.
        init_from_data: Whether codes begin at vectors of the first batches; a
            projection then gives the logits of the distances to them.
            Defaults to `True`.
        restart_after: Positive integer: a code that so many training calls
            did not choose moves to a vector of the batch, and takes over the
            output of that vector; a projection parts that vector's code.
            `None`: codes stay. Defaults to `50`.
        inference: `"argmax"` for the likeliest codes' vectors, `"softmax"`
            for mean vectors, `"sample"` for samples. `None` is `"argmax"` if
            hard, else `"softmax"`. Defaults to `None`.
        noise_scale: Number >= 0, or a schedule. It multiplies the noise; 0 is
            argmax. Defaults to `1.0`.
        seed: Integer, `keras.random.SeedGenerator`, or None to follow
            `keras.utils.set_random_seed`. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        inputs: Float tensor `(..., features)`.
        class_mask: Optional bool tensor, True where a code is allowed, that
            broadcasts to `(..., num_groups, num_codes)`. A group with none
            allowed gives zeros.
        temperature: Optional, in place of the layer's own in this call; a
            tensor broadcasts to `(..., num_groups, 1)`.
        training: True to sample. False and None are inference.
        mask: Optional bool tensor `(...)`, False for positions, such as
            padding, that the loss and the metrics leave out. Keras passes the
            mask of an `Embedding` or `Masking`. It does not change the output.

    Returns:
        A tensor `(..., code_dim)` in the compute dtype. Logits and samples
        are float32 under any policy (float64 for float64 inputs): half
        precision cannot tell likely codes apart.

    Attributes:
        embeddings: The codebooks,
            `(num_groups, num_codes, code_dim / num_groups)`.
        kernel: The projection, `(features, num_groups * num_codes)`.
        bias: `(num_groups * num_codes,)`, or None.
        temperature: The live temperature, a float32 variable.
        kl_weight: The live weight of the loss, a float32 variable:
            assignable, saved, no retracing. None if the argument is.
        diversity_weight: The live weight of the diversity loss, likewise.
        perplexity: Keras metric, the effective number of codes in use: the
            mean over groups of `metrics.CodePerplexity`, between 1 and
            `num_codes`. (wav2vec 2.0 reports the sum: `num_groups` times
            this.)
        usage: Keras metric, the share of all codes in use.

    The metrics appear in the logs of `fit` and `evaluate` as
    `<name>_perplexity` and `<name>_usage`. They count the chosen codes in
    every call where `training` is True or False: also in `predict`, but not in
    `model(x)`, which is what a SavedModel holds.

    Gradient:
        To the codebooks: exact for the chosen rows, or the relaxed sample.
        To the inputs and the projection: biased if hard, see the estimator;
        exact for the relaxed sample if soft.

    Raises:
        ValueError: For an argument out of range; for a `kl_weight` other than
            0 inside a loop of another layer.
        TypeError: For arguments of another type, integer inputs among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.GumbelQuantizer(320, 256, num_groups=2)
    >>> x = keras.random.normal((4, 10, 128))
    >>> tuple(layer(x, training=True).shape)
    (4, 10, 256)
    >>> codes = layer.encode(x)
    >>> tuple(codes.shape)
    (4, 10, 2)
    >>> bool(keras.ops.all(layer.decode(codes) == layer(x)))
    True

    Reference:
        Baevski, Zhou, Mohamed, Auli, "wav2vec 2.0", 2020, eq. 1,
        https://arxiv.org/abs/2006.11477; Ramesh et al., "Zero-Shot
        Text-to-Image Generation", 2021, section 2.1,
        https://arxiv.org/abs/2102.12092
    """

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
        similarity: str = "projection",
        diversity_weight: float | LearningRateSchedule | None = 0.1,
        init_from_data: bool = True,
        restart_after: int | None = 50,
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
            kl_weight=kl_weight,
            diversity_weight=diversity_weight,
            similarity=similarity,
            init_from_data=init_from_data,
            restart_after=restart_after,
            temperature=temperature,
            hard=hard,
            inference=inference,
            noise_scale=noise_scale,
            seed=seed,
            **kwargs,
        )
        self._init_estimator(estimator)

    def call(
        self,
        inputs: Tensor,
        class_mask: Tensor | None = None,
        temperature: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Choose codes and return their vectors; add losses, and count."""
        inputs = dense(inputs, "inputs")
        # Keras passes a mask only if the inputs are a single tensor.
        mask = mask_of(inputs) if mask is None else mask
        unmasked = None if mask is None else for_each_position(mask, inputs)
        flat = None if mask is None else ops.reshape(unmasked, (-1,))
        if not self.built:
            self.build(tuple(inputs.shape))
        is_inside = is_in_inner_graph()
        learns = bool(training) and self.trainable
        moves = learns and self._moving.states is not None
        check_is_outside_of_loops(self, moves and is_inside)
        with read_as_assigned():
            idle = self._moving.move(inputs, flat) if moves else None
            logits = self.logits(inputs, class_mask)
            vectors, codes = self._choose(logits, None, temperature, training)
        if idle is not None:
            self._moving.used(idle, codes, flat)
        vectors = self._penalised(vectors, logits, unmasked)
        if training is not None and not is_exported():
            self._count(codes, unmasked)
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
        # Look up the rows, as `decode` does: a product may round.
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
        """Return the constructor's arguments; live numbers are weights."""
        return {
            **super().get_config(),
            "estimator": estimators.serialize(self.estimator),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the layer of a configuration, also of an earlier version."""
        if isinstance(config, dict) and not _BEFORE.keys() & config.keys():
            config = {**config, **_BEFORE}
        return super().from_config(config)


# The behaviour of layers before these arguments existed.
_BEFORE = {
    "similarity": "projection",
    "diversity_weight": None,
    "init_from_data": False,
    "restart_after": None,
}
