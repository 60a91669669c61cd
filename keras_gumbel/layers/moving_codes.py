"""Codes of a projection or a distance that are moved onto data."""

from typing import Any

import keras
from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import Tensor
from keras_gumbel.layers.code_states import (
    CodeStates,
    after,
    assign,
    is_unset,
    read,
    state,
)
from keras_gumbel.ops.codebook import likeliest, look_up, uses_and_sums
from keras_gumbel.ops.restarts import Moves, sum_over_replicas, uniform

# Logits are minus this times squared distances over a batch's mean squared
# distance from its mean: enough that a vector nearly always gets its own code.
_SHARPNESS = 30.0
_LEAST = 1e-12


class MovingCodes:
    """Shifts that a codebook layer adds to its weights, to move codes.

    A call must not set a weight that trains: where Keras trains by values,
    the new value would be lost. So the layer adds a shift to it.

    Args:
        layer: A codebook layer with its weights.
        init_from_data: Whether codes begin as vectors of the first batches.
        restart_after: Positive integer, or None.
    """

    def __init__(
        self,
        layer: Any,
        *,
        init_from_data: bool,
        restart_after: int | None,
    ) -> None:
        self._layer = layer
        self.states: CodeStates | None = None
        self._shifts: dict[str, keras.Variable] = {}
        self._sharpness = None
        if layer.similarity == "distance":
            # Negative until it is known.
            initial = -1.0 if init_from_data else 1.0
            self._sharpness = state(layer, "sharpness", (), initial)
        if not init_from_data and restart_after is None:
            return
        self.states = CodeStates(
            layer,
            (layer.num_groups, layer.num_codes),
            init_from_data=init_from_data,
            restart_after=restart_after,
        )
        for name in ("kernel", "bias", "embeddings"):
            weight = getattr(layer, name)
            if weight is not None:
                shift = state(layer, f"{name}_shift", weight.shape, 0.0)
                self._shifts[name] = shift

    def named(self) -> dict[str, keras.Variable]:
        """Return the variables by their names in files."""
        found = {f"{name}_shift": x for name, x in self._shifts.items()}
        if self.states is not None:
            found["idle"] = self.states.idle
        if self._sharpness is not None:
            found["sharpness"] = self._sharpness
        return found

    def settle(self) -> None:
        """Take all codes as set: in an older file they are."""
        if self.states is not None:
            idle = self.states.idle
            idle.assign(ops.zeros(idle.shape))

    def _value(self, name: str) -> Tensor | None:
        weight = getattr(self._layer, name)
        if weight is None:
            return None
        wide = numerics.widen(ops.convert_to_tensor(weight))
        if name not in self._shifts:
            return wide
        return wide + ops.cast(read(self._shifts[name]), wide.dtype)

    def projection(self, dtype: str) -> tuple[Tensor, Tensor | None]:
        """Return kernel and bias, with their shifts."""
        kernel, bias = self._value("kernel"), self._value("bias")
        return (
            ops.cast(kernel, dtype),
            None if bias is None else ops.cast(bias, dtype),
        )

    def tables(self) -> Tensor:
        """Return the codebooks, with their shift; float32 at least."""
        return self._value("embeddings")

    @property
    def sharpness(self) -> Tensor:
        """Return the factor of squared distances."""
        found = read(self._sharpness)
        return ops.where(found < 0, 1.0, found)

    def move(self, inputs: Tensor, counted: Tensor | None) -> Tensor | None:
        """Move the codes that are due onto vectors of the batch.

        Returns:
            The counts, for `used`; None if no code moves.
        """
        layer = self._layer
        features = layer.input_spec.axes[-1]
        x = ops.reshape(numerics.widen(inputs), (-1, features))
        x = ops.cast(ops.stop_gradient(x), "float32")
        sharpness = self._sharpness_of(x, counted)
        if self._sharpness is not None:
            now = read(self._sharpness)
            sharpness = ops.where(now < 0, sharpness, now)
            assign(self._sharpness, sharpness)
        if self.states is None:
            return None
        idle = self.states.read()
        unit = uniform((layer.num_groups,), layer.seed_generator)
        moves = self.states.choose(idle, counted, ops.shape(x)[0], unit)
        if layer.similarity == "distance":
            groups = ops.reshape(x, (ops.shape(x)[0], layer.num_groups, -1))
            tables = ops.stop_gradient(self.tables())
            self._shift("embeddings", moves.of(groups, tables))
        else:
            codes = likeliest(layer.logits(x))
            self._split(codes, moves, idle)
            self._point(x, codes, moves, idle, sharpness, counted)
        return ops.where(moves.settled, 0.0, idle)

    def _point(
        self,
        x: Tensor,
        codes: Tensor,
        moves: Moves,
        idle: Tensor,
        sharpness: Tensor,
        counted: Tensor | None,
    ) -> None:
        """Point the projection of the due codes at their rows of the batch.

            never set:  -s |x - v|**2, less s |x|**2 for all codes
            dead:       logit of c + s (|x - u|**2 - |x - v|**2)

        where v is the row that a code gets, c the code that the row has had,
        and u the mean of the batch's rows with that code. So a dead code takes
        from c what is nearer to v than to the mean, however large logits have
        become.
        """
        layer = self._layer
        kernel, bias = self.projection("float32")
        shape = layer.num_groups, layer.num_codes
        features = x.shape[-1]
        weights = ops.reshape(ops.transpose(kernel), (*shape, features))
        if bias is not None:
            constant = ops.reshape(bias, (*shape, 1))
            weights = ops.concatenate([weights, constant], axis=-1)

        def toward(v: Tensor) -> Tensor:
            slope = 2 * sharpness * v
            if bias is None:
                return slope
            square = ops.sum(ops.square(v), axis=-1, keepdims=True)
            return ops.concatenate([slope, -sharpness * square], axis=-1)

        each = x[:, None] + ops.zeros((layer.num_groups, 1), x.dtype)
        uses, sums = uses_and_sums(codes, each, counted, layer.num_codes)
        uses, sums = sum_over_replicas(uses), sum_over_replicas(sums)
        mean = sums / ops.maximum(uses, 1.0)[..., None]
        split = look_up(codes, weights - toward(mean)) + toward(each)
        found = ops.where(
            is_unset(idle)[..., None],
            moves.of(toward(each), weights),
            moves.of(split, weights),
        )
        # The other codes must not change by a single bit.
        found = ops.where(moves.due[..., None], found, weights)
        found = ops.reshape(found, (-1, found.shape[-1]))
        self._shift("kernel", ops.transpose(found[:, :features]))
        if bias is not None:
            self._shift("bias", found[:, features])

    def _split(self, codes: Tensor, moves: Moves, idle: Tensor) -> None:
        """Give a dead code the vector that its row has had until now.

        A code that was never set keeps its initial vector.
        """
        tables = ops.stop_gradient(self.tables())
        given = look_up(codes, tables)
        found = moves.of(ops.cast(given, tables.dtype), tables)
        found = ops.where(is_unset(idle)[..., None], tables, found)
        self._shift("embeddings", found)

    def _shift(self, name: str, value: Tensor) -> None:
        weight = ops.convert_to_tensor(getattr(self._layer, name))
        weight = numerics.widen(weight)
        assign(self._shifts[name], ops.cast(value, weight.dtype) - weight)

    def _sharpness_of(self, x: Tensor, counted: Tensor | None) -> Tensor:
        """Return it by the mean squared distance of rows from their mean."""
        real = ops.all(ops.isfinite(x), axis=-1)
        if counted is not None:
            real = real & counted
        x = ops.where(real[:, None], x, 0.0)
        count = ops.sum(ops.cast(real, "float32"))
        count = ops.maximum(sum_over_replicas(count), 1.0)
        mean = sum_over_replicas(ops.sum(x, axis=0)) / count
        apart = ops.where(real[:, None], x - mean, 0.0)
        spread = sum_over_replicas(ops.sum(ops.square(apart))) / count
        return _SHARPNESS / ops.maximum(spread, _LEAST)

    def used(self, idle: Tensor, codes: Tensor, counted: Tensor | None) -> None:
        """Store which codes a call has used."""
        groups = self._layer.num_groups
        codes = ops.reshape(codes, (-1, groups))
        uses, _ = uses_and_sums(codes, None, counted, self._layer.num_codes)
        uses = sum_over_replicas(uses)
        if self.states is not None:
            self.states.write(after(idle, uses > 0))
