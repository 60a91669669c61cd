"""Vectors of codebooks that stay alive: the nearest ones, or a sample."""

from typing import Any

import keras
from keras import ops

from keras_gumbel import estimators, numerics
from keras_gumbel._tracing import is_exported
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    check_is_outside_of_loops,
    check_temperature_of_vectors,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.layers import sources
from keras_gumbel.layers.learning_codes import LearningCodes
from keras_gumbel.numerics.portable import check_can_draw, check_precision
from keras_gumbel.ops.codebook import (
    likeliest,
    look_up,
    plus,
)
from keras_gumbel.ops.nearest_code import minus_distances, nearest_codes
from keras_gumbel.ops.penalty import is_in_inner_graph
from keras_gumbel.ops.sample_embedding import sample_codebooks
from keras_gumbel.ops.straight_through import straight_through


@keras.saving.register_keras_serializable(package="keras_gumbel")
class VectorQuantizer(LearningCodes):
    """Replace vectors by their nearest codes, and keep the codes alive.

        code = argmin_k |x - c_k|**2,  output = c_code

    With groups, each group codes an equal part of the vector by a codebook of
    its own. With stages, each stage codes the rest of the stages before, and
    the output is the sum: the error falls from stage to stage, and the codes
    of one vector are a coarse-to-fine identifier.

    A code begins as a vector of the first batches. If it was nearest to no
    vector for `restart_after` training calls, it moves onto a vector of the
    batch. Without both, most codes of a large codebook are never used.

    Args:
        num_codes: Positive integer, the codes of each group and stage.
        num_groups: Positive integer that divides the size of the vectors.
            Defaults to `1`.
        num_stages: Positive integer. Defaults to `1`.
        temperature: Positive number or schedule, for the estimator's backward
            rule. Defaults to `1.0`.
        noise_scale: Number >= 0 or schedule. Above 0, training draws the code
            from softmax(-|x - c_k|**2 / noise_scale). A layer made with 0
            never has noise, and stores nothing of the size
            (rows, num_codes). Defaults to `0.0`.
        estimator: An estimator for the gradient to the inputs (and, through
            the output, to the codes), as for `GumbelSoftmax`; `None` for the
            identity, as in VQ-VAE. Defaults to `None`.
        distance: `"euclidean"`, or `"cosine"`: inputs and codes are then
            scaled to length 1 (in each group), and so is the output of one
            stage; later stages code the rest by euclidean distance. Defaults
            to `"euclidean"`.
        update: How codes learn: `"ema"`, by moving averages (below), or
            `"loss"`, by the loss |sg(x) - c|**2 and the optimizer. Defaults
            to `"ema"`.
        commitment_weight: Number >= 0 or schedule, the weight of the loss
            |x - sg(c)|**2, a mean over vectors and their entries and a sum
            over stages. Defaults to `0.25`.
        decay: Number in [0, 1), the decay of the moving averages. Defaults to
            `0.99`.
        init_from_data: Whether codes begin as vectors of the first batches.
            Defaults to `True`.
        restart_after: Positive integer, the training calls that a code may go
            unused, or None. Defaults to `50`.
        stage_dropout: Number in [0, 1], the probability that an example, in
            training, passes only a random number of stages, uniform from 1 to
            `num_stages`. Defaults to `0.0`.
        embeddings_initializer: Initializer of the codebooks, given the shape
            `(num_stages * num_groups * num_codes, dim / num_groups)`.
            Defaults to `"uniform"`.
        inference: `"argmax"`, which `None` means, for the nearest code, or
            `"sample"`. Defaults to `None`.
        seed: As for `GumbelSoftmax`. Defaults to `None`.
        **kwargs: Arguments of `keras.layers.Layer`: `name`, `dtype`, ...

    Call arguments:
        inputs: Float tensor `(..., dim)`.
        temperature: Optional, in place of the layer's own in this call; a
            tensor broadcasts to `(..., num_groups, 1)`.
        training: True to learn codes, unless the layer is frozen
            (`trainable = False`), and for noise and stage dropout.
        mask: Optional bool tensor `(...)`, False for positions, such as
            padding, that losses, averages, restarts and metrics leave out.

    Returns:
        A tensor of the inputs' shape in the compute dtype.

    Attributes:
        embeddings: `(num_stages, num_groups, num_codes, dim / num_groups)`.
            With `update="loss"` it is the part of the codes that trains.
        tables: The codes that calls choose from, in that shape.
        commitment_weight: The live weight of the loss, a float32 variable.
        perplexity: A Keras metric for each stage, the effective number of
            codes in use, in the logs as `<name>_perplexity`, with `_1`,
            `_2`, ... where there are several.
        usage: Likewise the share of codes in use, `<name>_usage`.

    Moving averages, with n vectors of a batch that chose the code:
        N <- decay N + (1 - decay) n
        m <- decay m + (1 - decay) (sum of these vectors)
        c = m / N

    Replicas of a strategy sum n and the vectors over all of them, and choose
    restarts together: their codebooks stay identical.

    Gradient:
        Without an estimator, the inputs get the gradient of the identity, as
        if nothing had been coded: biased. With one, in training, it is the
        gradient of the sampled one-hot times the codebook, from the logits
        -|x - c_k|**2. The losses have their own gradients.

    Raises:
        ValueError: For an argument out of range; for inputs that groups do
            not divide; in training inside a loop of another layer.
        TypeError: For arguments of another type, integer inputs among them.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> layer = kg.VectorQuantizer(16, num_stages=2, seed=1)
    >>> x = keras.random.normal((100, 8), seed=2)
    >>> y = layer(x, training=True)
    >>> codes = layer.encode(x)
    >>> tuple(codes.shape)
    (100, 2)
    >>> bool(keras.ops.all(layer.decode(codes) == layer(x)))
    True

    Reference:
        van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation
        Learning", 2017, eq. 1 to 3 and appendix A.1,
        https://arxiv.org/abs/1711.00937; Zeghidour et al., "SoundStream",
        2021 (stages, their dropout, restarts),
        https://arxiv.org/abs/2107.03312
    """

    def __init__(
        self,
        num_codes: int,
        num_groups: int = 1,
        num_stages: int = 1,
        *,
        temperature: float | LearningRateSchedule = 1.0,
        noise_scale: float | LearningRateSchedule = 0.0,
        estimator: str | Estimator | None = None,
        distance: str = "euclidean",
        update: str = "ema",
        commitment_weight: float | LearningRateSchedule = 0.25,
        decay: float = 0.99,
        init_from_data: bool = True,
        restart_after: int | None = 50,
        stage_dropout: float = 0.0,
        embeddings_initializer: Any = "uniform",
        inference: str | None = None,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_codes,
            num_groups,
            num_stages,
            temperature=temperature,
            noise_scale=noise_scale,
            distance=distance,
            update=update,
            commitment_weight=commitment_weight,
            decay=decay,
            init_from_data=init_from_data,
            restart_after=restart_after,
            stage_dropout=stage_dropout,
            embeddings_initializer=embeddings_initializer,
            inference=inference,
            seed=seed,
            **kwargs,
        )
        if estimator is None:
            self.estimator = None
        else:
            self._init_estimator(estimator)

    def call(
        self,
        inputs: Tensor,
        temperature: Tensor | None = None,
        training: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the codes' vectors; learn the codebooks when training."""
        check_precision(self.name, self.compute_dtype)
        is_inside = is_in_inner_graph()
        learns = bool(training) and self.trainable
        check_is_outside_of_loops(self, learns and is_inside)
        x = self._vectors(inputs)
        lead = ops.shape(inputs)[:-1]
        tau = self.current_temperature(temperature, training)
        check_temperature_of_vectors(tau, inputs.shape, self.num_groups)
        tau = self._of_rows(tau, lead)
        counted = self._counted(inputs, mask)
        depth = self._depth(lead) if training else None
        stages = self._read() if learns else self._fixed()
        rest, coded = x, []
        total: Tensor = None
        for n, stage in enumerate(stages):
            kept = None if depth is None else depth > n
            here = _both(counted, kept)
            if learns:
                stage = self._settled(stage, rest, here)
            table = stage.table if n else self._on_sphere(stage.table)
            table = ops.cast(table, rest.dtype)
            rows, codes = self._choose(rest, table, tau, training, lead)
            coded.append((rest, look_up(codes, table), here))
            if learns:
                stages[n] = self._learned(stage, rest, codes, here)
            if training is not None and not is_exported():
                self._count(n, codes, here)
            rest = rest - ops.stop_gradient(rows)
            rows = numerics.widen(rows)
            if kept is not None:
                rows = ops.where(kept[:, None, None], rows, 0.0)
            total = plus(total, rows)
        if learns:
            self._write(stages)
        changed = None
        if not is_exported() and (training or not is_inside):
            changed = self._add_losses(coded, is_inside)
        if self.estimator is None or not self._draws(training):
            total = straight_through(total, ops.cast(x, total.dtype))
        if training:
            total = self._unless_noisy(total)
        if changed is not None:
            total = total + ops.cast(changed, total.dtype)
        return self._joined(total, lead)

    def _choose(
        self,
        rest: Tensor,
        table: Tensor,
        temperature: Tensor,
        training: bool | None,
        lead: Shape,
    ) -> tuple[Tensor, Tensor]:
        """Return the codes' vectors, and the codes `(rows, groups)`."""
        draws = self._draws(training)
        if self.estimator is None:
            # The gradient takes another way than through the sample.
            rest, table = ops.stop_gradient(rest), ops.stop_gradient(table)
        if not self._is_noisy and (self.estimator is None or not draws):
            codes = nearest_codes(rest, table)
            return look_up(codes, table), codes
        logits = minus_distances(rest, table)
        # Whoever gives the noise gives it for each position.
        of_positions = ops.reshape(logits, (*lead, *ops.shape(logits)[1:]))
        rule = self.estimator or _ONE_NUMBER
        given = sources.perturbed(self, rule, of_positions)
        if given is not None:
            codes = ops.reshape(likeliest(given), ops.shape(logits)[:-1])
            return look_up(codes, table), codes
        if not draws:
            codes = nearest_codes(rest, table)
            return look_up(codes, table), codes
        check_can_draw(self.name)
        return sample_codebooks(
            logits,
            table,
            temperature if self.estimator else 1.0,
            estimator=self.current_estimator if self.estimator else _ONE_NUMBER,
            noise_scale=self.noise_scale,
            seed=self.seed_generator,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; live numbers are weights."""
        rule = self.estimator
        return {
            **super().get_config(),
            "estimator": None if rule is None else estimators.serialize(rule),
        }


# Without an estimator a sample takes one random number per row.
_ONE_NUMBER = estimators.StraightThrough()


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Return where both are True; None is True everywhere."""
    if a is None or b is None:
        return b if a is None else a
    return a & b
