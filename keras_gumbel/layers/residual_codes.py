"""Base of the layers that code vectors in stages: codebooks and counts."""

from typing import Any

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import LearningRateSchedule, Shape, Tensor
from keras_gumbel._validation import (
    check_choice,
    check_codes_of_groups,
    check_divides,
    check_features,
    check_flag,
    check_fraction,
    check_kind,
    check_not_negative,
    check_restart_after,
    check_stage_sizes,
    dense,
)
from keras_gumbel.layers.code_states import CodeStates, state
from keras_gumbel.layers.quiet import QuietLayer
from keras_gumbel.metrics import CategoryUsage
from keras_gumbel.metrics.group_perplexity import GroupPerplexity
from keras_gumbel.ops.codebook import (
    histogram,
    look_up,
    plus,
)
from keras_gumbel.ops.nearest_code import nearest_codes

# A vector of at most this squared length has no direction.
_SHORTEST = 1e-12


class ResidualCodes(QuietLayer):
    """Base of the layers whose stages code the rest of earlier ones.

    Args:
        num_codes: Positive integer, the codes of each group and stage.
        num_groups: Positive integer.
        num_stages: Positive integer.
        distance: `"euclidean"` or `"cosine"`.
        update: `"loss"` or `"ema"`.
        decay: Decay of the moving averages, in [0, 1).
        init_from_data: Whether codes begin as vectors of the first batches.
        restart_after: Positive integer, or None.
        commitment_weight: Number >= 0, or a schedule.
        embeddings_initializer: Initializer of the codebooks, as one matrix.
        **kwargs: Arguments of `QuietLayer`.
    """

    _live_names = (*QuietLayer._live_names, "commitment_weight")

    def __init__(
        self,
        num_codes: int,
        num_groups: int,
        num_stages: int,
        *,
        distance: str,
        update: str,
        decay: float,
        init_from_data: bool,
        restart_after: int | None,
        commitment_weight: float | LearningRateSchedule,
        embeddings_initializer: Any,
        **kwargs: Any,
    ) -> None:
        check_stage_sizes(num_codes, num_groups, num_stages)
        check_choice(distance, "distance", ("euclidean", "cosine"))
        check_choice(update, "update", ("ema", "loss"))
        check_fraction(decay, "decay", below_one=True)
        check_restart_after(restart_after)
        super().__init__(**kwargs)
        self.num_codes = int(num_codes)
        self.num_groups = int(num_groups)
        self.num_stages = int(num_stages)
        self.distance = distance
        self.update = update
        self.decay = float(decay)
        self.init_from_data = check_flag(init_from_data, "init_from_data")
        self.restart_after = restart_after and int(restart_after)
        self.embeddings_initializer = check_kind(
            keras.initializers.get(embeddings_initializer),
            "embeddings_initializer",
            "initializer",
        )
        self._add_live_scalar(
            "commitment_weight", commitment_weight, _check_commitment_weight
        )
        self._make_metrics()

    def _make_metrics(self) -> None:
        """Make the metrics of each stage, for the logs of `fit`."""
        several = self.num_stages > 1
        ends = [f"_{n + 1}" if several else "" for n in range(self.num_stages)]
        sizes = self.num_groups, self.num_codes
        self.perplexity = [
            GroupPerplexity(*sizes, f"{self.name}_perplexity{end}")
            for end in ends
        ]
        self.usage = [
            CategoryUsage(sizes[0] * sizes[1], f"{self.name}_usage{end}")
            for end in ends
        ]
        for metric in (*self.perplexity, *self.usage):
            metric.be_held()

    @property
    def variables(self) -> list[keras.Variable]:
        """Return the variables, with counts that no metric can hold."""
        counts = (*self.perplexity, *self.usage)
        held = [variable for metric in counts for variable in metric.held]
        return [*super().variables, *held]

    @property
    def commitment_weight(self) -> keras.Variable:
        """Return the live weight of the commitment loss, a float32 variable."""
        return self._live["commitment_weight"].variable

    @commitment_weight.setter
    def commitment_weight(self, value: float) -> None:
        self._live["commitment_weight"].assign(value)

    def build(self, inputs_shape: Shape) -> None:
        """Create the codebooks, and the state of each code."""
        check_divides(inputs_shape, self.num_groups)
        codes = self.num_stages, self.num_groups, self.num_codes
        dim = (inputs_shape[-1] or 0) // self.num_groups
        rows = self.num_stages * self.num_groups * self.num_codes

        # Start from a matrix, which every initializer supports.
        def codebooks(shape: Shape, dtype: str | None = None) -> Tensor:
            table = self.embeddings_initializer((rows, dim), dtype=dtype)
            return ops.reshape(table, shape)

        by_loss = self.update == "loss"
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(*codes, dim),
            initializer=codebooks,
            trainable=by_loss,
            autocast=False,
        )
        self._states = self._shift = None
        moves = self.init_from_data or self.restart_after is not None
        if moves:
            self._states = CodeStates(
                self,
                codes,
                init_from_data=self.init_from_data,
                restart_after=self.restart_after,
            )
        if moves and by_loss:
            # Where Keras trains by values, no call can set this weight.
            self._shift = state(self, "shift", (*codes, dim), 0.0)
        self._averages = None
        if not by_loss:
            weight = 1.0 - self.decay
            embeddings = self.embeddings
            self._averages = (
                state(self, "counts", codes, weight),
                state(
                    self,
                    "sums",
                    (*codes, dim),
                    lambda shape, dtype=None: ops.cast(
                        weight * ops.cast(embeddings, "float32"), dtype
                    ),
                ),
            )
        self.input_spec = keras.InputSpec(
            min_ndim=1, axes={-1: inputs_shape[-1]}
        )
        self.built = True

    def compute_output_shape(self, inputs_shape: Shape) -> Shape:
        """Return the shape of the inputs."""
        return tuple(inputs_shape)

    @property
    def tables(self) -> Tensor:
        """Return codes `(num_stages, num_groups, num_codes, dim / num_groups)`.

        These are the float32 codes that calls choose from: moved codes in
        their places, and for the cosine distance the first stage at length 1.
        """
        table = ops.convert_to_tensor(self.embeddings)
        table = numerics.widen(table)
        if self._shift is not None:
            table = table + ops.cast(self._shift, table.dtype)
        first, *others = ops.unstack(table)
        return ops.stack([self._on_sphere(first), *others])

    def _vectors(self, inputs: Tensor) -> Tensor:
        """Return inputs as `(rows, num_groups, dim / num_groups)`, wide."""
        inputs = dense(inputs, "inputs")
        dim = None
        if self.built:
            dim = self.num_groups * self.embeddings.shape[-1]
        check_features(inputs, dim)
        if not self.built:
            self.build(tuple(inputs.shape))
        x = numerics.widen(inputs)
        size = self.embeddings.shape[-1]
        return self._on_sphere(ops.reshape(x, (-1, self.num_groups, size)))

    def _on_sphere(self, x: Tensor) -> Tensor:
        """Scale vectors to length 1, for the cosine distance."""
        if self.distance == "euclidean":
            return x
        square = ops.sum(ops.square(x), axis=-1, keepdims=True)
        return x / ops.sqrt(ops.where(square > _SHORTEST, square, _SHORTEST))

    def encode(self, inputs: Tensor) -> Tensor:
        """Return the nearest codes, int32 `(..., num_stages * num_groups)`.

        They are in the order of the stages; ties give the first code. There
        is no noise and no gradient. A non-finite vector gives -1.
        """
        rest, codes = self._vectors(inputs), []
        for table in ops.unstack(self.tables):
            codes.append(nearest_codes(rest, ops.cast(table, rest.dtype)))
            rest = rest - ops.cast(look_up(codes[-1], table), rest.dtype)
        shape = *ops.shape(inputs)[:-1], self.num_stages * self.num_groups
        return ops.reshape(ops.concatenate(codes, axis=-1), shape)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors `(..., dim)` of codes as `encode` gives them.

        They have the compute dtype and equal the layer's output at inference,
        bit for bit. Codes of only the first stages give their sum. A code out
        of range is an error if its value is known, and otherwise gives NaN.
        """
        codes = dense(codes, "codes")
        check_codes_of_groups(
            codes, self._some_stages(codes), self.num_codes, self.built
        )
        lead = ops.shape(codes)[:-1]
        stages = self._some_stages(codes) // self.num_groups
        codes = ops.reshape(codes, (-1, stages, self.num_groups))
        tables = ops.unstack(self.tables)[:stages]
        total = None
        for n, table in enumerate(tables):
            total = plus(total, look_up(codes[:, n], table))
        return self._joined(total, lead)

    def _some_stages(self, codes: Tensor) -> int:
        """Return the number of codes per vector: of some stages or all."""
        given = codes.shape[-1] if len(codes.shape) else None
        sizes = [self.num_groups * (n + 1) for n in range(self.num_stages)]
        return given if given in sizes else sizes[-1]

    def _joined(self, vectors: Tensor, lead: Shape) -> Tensor:
        """Return rows of groups in the inputs' shape and compute dtype."""
        dim = self.num_groups * self.embeddings.shape[-1]
        vectors = ops.reshape(vectors, (*lead, dim))
        return ops.cast(vectors, self.compute_dtype)

    def _count(self, stage: int, codes: Tensor, counted: Tensor | None) -> None:
        """Count the chosen codes in the metrics of a stage."""
        counts = histogram(codes, counted, self.num_codes)
        self.perplexity[stage].add(counts)
        self.usage[stage].add(counts)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; live numbers are weights."""
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "num_groups": self.num_groups,
            "num_stages": self.num_stages,
            "distance": self.distance,
            "update": self.update,
            "commitment_weight": self._live["commitment_weight"].config(),
            "decay": self.decay,
            "init_from_data": self.init_from_data,
            "restart_after": self.restart_after,
            "embeddings_initializer": keras.initializers.serialize(
                self.embeddings_initializer
            ),
        }


def _check_commitment_weight(value: Any) -> None:
    check_not_negative(value, "commitment_weight")
