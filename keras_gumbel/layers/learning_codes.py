"""How codebooks in stages learn: averages or a loss, and restarts."""

from typing import Any

from keras import ops

from keras_gumbel import numerics
from keras_gumbel._tracing import mask_of
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation import check_fraction
from keras_gumbel.layers.code_states import Stage, after, assign
from keras_gumbel.layers.residual_codes import ResidualCodes
from keras_gumbel.ops.calls import value_once
from keras_gumbel.ops.codebook import for_each_position, uses_and_sums
from keras_gumbel.ops.noise import sample_uniform
from keras_gumbel.ops.restarts import sum_over_replicas, uniform


class LearningCodes(ResidualCodes):
    """Base of the layers whose codebooks learn stage by stage.

    Args:
        *args: Arguments of `ResidualCodes`.
        stage_dropout: Number in [0, 1].
        **kwargs: Arguments of `ResidualCodes`.
    """

    def __init__(self, *args: Any, stage_dropout: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_fraction(stage_dropout, "stage_dropout")
        self.stage_dropout = float(stage_dropout)

    def _counted(self, inputs: Tensor, mask: Tensor | None) -> Tensor | None:
        """Return which rows are not padding; None without a mask."""
        # Keras passes a mask only if the inputs are a single tensor.
        mask = mask_of(inputs) if mask is None else mask
        if mask is None:
            return None
        inputs = ops.convert_to_tensor(inputs)
        return ops.reshape(for_each_position(mask, inputs), (-1,))

    def _of_rows(self, temperature: Tensor, lead: Shape) -> Tensor:
        """Return the temperature per row and group; a scalar stays one."""
        if not getattr(temperature, "shape", ()):
            return temperature
        temperature = ops.convert_to_tensor(temperature)
        shape = *lead, self.num_groups, 1
        each = ops.broadcast_to(temperature, shape)
        return ops.reshape(each, (-1, self.num_groups, 1))

    def _depth(self, lead: Shape) -> Tensor | None:
        """Draw how many stages each row passes; None if all pass all."""
        if self.stage_dropout == 0.0:
            return None
        # One number per example says whether to drop stages, and how many.
        unit = sample_uniform(tuple(lead[:1]), self.seed_generator)
        some = 1.0 + ops.floor(unit / self.stage_dropout * self.num_stages)
        depth = ops.minimum(some, float(self.num_stages))
        depth = ops.reshape(depth, (*lead[:1], *[1] * len(lead[1:])))
        return ops.reshape(ops.broadcast_to(depth, lead), (-1,))

    def _read(self) -> list[Stage]:
        """Return the stages at the beginning of a training call."""
        if self._averages is None:
            table = numerics.widen(ops.convert_to_tensor(self.embeddings))
        else:
            table = numerics.widen(value_once(self.embeddings))
        if self._shift is not None:
            table = table + ops.cast(value_once(self._shift), table.dtype)
        parts = [table]
        parts.append(self._states and self._states.read())
        parts += map(value_once, self._averages or ())
        return [
            Stage(*(None if x is None else x[n] for x in parts))
            for n in range(self.num_stages)
        ]

    def _write(self, stages: list[Stage]) -> None:
        """Store what a training call changed."""
        if self._states is not None:
            self._states.write(ops.stack([x.idle for x in stages]))
        tables = ops.stack([x.table for x in stages])
        if self._averages is not None:
            counts, sums = self._averages
            assign(counts, ops.stack([x.counts for x in stages]))
            assign(sums, ops.stack([x.sums for x in stages]))
            assign(self.embeddings, ops.cast(tables, self.embeddings.dtype))
        elif self._shift is not None:
            embeddings = ops.convert_to_tensor(self.embeddings)
            assign(self._shift, tables - numerics.widen(embeddings))

    def _fixed(self) -> list[Stage]:
        """Return the stages of a call that does not train."""
        return [Stage(table) for table in ops.unstack(self.tables)]

    def _settled(
        self, stage: Stage, rest: Tensor, counted: Tensor | None
    ) -> Stage:
        """Return the stage with its dead codes on vectors of the batch."""
        if self._states is None:
            return stage
        rest = ops.cast(ops.stop_gradient(rest), stage.table.dtype)
        unit = uniform((self.num_groups,), self.seed_generator)
        rows = ops.shape(rest)[0]
        moves = self._states.choose(stage.idle, counted, rows, unit)
        return stage.moved(moves, rest, self.decay)

    def _add_losses(
        self, coded: list[tuple[Tensor, Tensor, Tensor]], is_inside: bool
    ) -> Tensor | None:
        """Add the encoder's commitment, and perhaps the loss of the codes.

        `coded` has for each stage its input, the vectors of its codes, and
        which rows count. Returns what `_add_penalty` does.
        """
        fixed = ops.stop_gradient
        changed = self._add_penalty(
            "commitment_weight",
            lambda: sum(_mean_square(x, fixed(c), own) for x, c, own in coded),
            "`weight * mean((inputs - stop_gradient(outputs))**2)`",
        )
        if self.update == "loss" and self.trainable and not is_inside:
            losses = [_mean_square(fixed(x), c, own) for x, c, own in coded]
            self.add_loss(sum(losses))
        return changed

    def _learned(
        self,
        stage: Stage,
        rest: Tensor,
        codes: Tensor,
        counted: Tensor | None,
    ) -> Stage:
        """Return the stage after this batch has used its codes."""
        rest = ops.cast(ops.stop_gradient(rest), "float32")
        uses, sums = uses_and_sums(
            codes,
            rest if self.update == "ema" else None,
            counted,
            self.num_codes,
        )
        uses = sum_over_replicas(uses)
        if stage.idle is not None:
            stage = stage._replace(idle=after(stage.idle, uses > 0))
        if self.update == "loss":
            return stage
        return stage.averaged(uses, sum_over_replicas(sums), self.decay)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; live numbers are weights."""
        return {**super().get_config(), "stage_dropout": self.stage_dropout}


def _mean_square(a: Tensor, b: Tensor, counted: Tensor | None) -> Tensor:
    """Return the mean square difference of counted rows; 0 without any."""
    difference = ops.cast(a - b, "float32")
    if counted is not None:
        # Masked entries may be anything, even NaN.
        difference = ops.where(counted[:, None, None], difference, 0.0)
    square = ops.square(difference)
    each = ops.mean(square, axis=tuple(range(1, len(square.shape))))
    if counted is None:
        rows = ops.maximum(ops.cast(ops.shape(each)[0], "float32"), 1.0)
        return ops.sum(each) / rows
    rows = ops.maximum(ops.sum(ops.cast(counted, "float32")), 1.0)
    return ops.sum(each) / rows
