"""The sampled row of a table, for codebooks and vocabularies."""

# Without this, tracing would evaluate annotations of nested functions.
from __future__ import annotations

import dataclasses
from typing import ClassVar

from keras import ops

from keras_gumbel import backend, estimators, numerics
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import (
    Arguments,
    categorical_arguments,
    check_table,
    dense,
)
from keras_gumbel.estimators import Estimator
from keras_gumbel.numerics import Draw, categorical
from keras_gumbel.ops import _program
from keras_gumbel.ops._blocks import Block, for_blocks
from keras_gumbel.ops._ladder import in_rows
from keras_gumbel.ops._op import Op

# Up to this many elements, copying a table costs less than a new program.
_SMALL_TABLE = 2**18


def sample_embedding(
    logits: Tensor,
    table: Tensor,
    temperature: Tensor = 1.0,
    *,
    estimator: str | Estimator = "st_gumbel",
    class_mask: Tensor | None = None,
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> Tensor:
    """Sample a class, and return its row of `table`.

        forward:  table[index],  index ~ Categorical(softmax(logits))
        backward: the gradient of one_hot(index) @ table, by `estimator`

    The result equals `gumbel_softmax(logits, hard=True, ...) @ table` in value
    and in every gradient, without the product: it gathers the row, and sums
    the table's gradient over the rows that were picked. Beyond 2**19 logits it
    works block by block and draws the noise again in the backward pass, so no
    residual has the logits' size. There are no second derivatives and no
    forward mode: `tf.autodiff.ForwardAccumulator` raises a LookupError. The
    product above has both.

    Args:
        logits: Float tensor `(..., num_classes)`, unnormalised
            log-probabilities in nats.
        table: Float tensor `(num_classes, dim)`, one row a class.
        temperature: Positive number, or float tensor of positive numbers
            that broadcasts to the logits with size 1 along the last axis.
        estimator: Name or object of `keras_gumbel.estimators`, the backward
            rule of a hard sample.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. A row with no class allowed gives zeros.
        noise_scale: Number >= 0, or a scalar float tensor, that multiplies
            the noise; 0 leaves it out.
        seed: An integer for the same sample at every call, shared with
            `gumbel_softmax`; a `keras.random.SeedGenerator` for its stream;
            None to follow `keras.utils.set_random_seed`. On JAX also a key, on
            torch also a `torch.Generator`.

    Returns:
        A tensor `(..., dim)` in the dtype of `table`.

    Gradient:
        To `table`: exact for the sampled rows, summed in float32 where the
        table is in half precision. To `logits`, and to a tensor
        `temperature`: biased, see the estimator.

    Raises:
        ValueError: As `gumbel_softmax`, and for a `table` whose shape does
            not fit.
        TypeError: As `gumbel_softmax`.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> table = keras.ops.convert_to_tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> logits = keras.ops.convert_to_tensor([[50.0, 0.0], [0.0, 50.0]])
    >>> vectors = kg.ops.sample_embedding(logits, table)
    >>> keras.ops.convert_to_numpy(vectors).tolist()
    [[1.0, 2.0], [3.0, 4.0]]

    Reference:
        Jang, Gu, Poole, "Categorical Reparameterization with
        Gumbel-Softmax", 2017, section 2.2, https://arxiv.org/abs/1611.01144
    """
    rule = estimators.get(estimator)
    arguments = categorical_arguments(logits, temperature, -1, class_mask)
    table = dense(table, "table")
    check_table(table, arguments.logits)
    return _sample(_Rows(rule), arguments, table, noise_scale, seed)[0]


def sample_codebooks(
    logits: Tensor,
    tables: Tensor,
    temperature: Tensor = 1.0,
    *,
    estimator: str | Estimator = "st_gumbel",
    noise_scale: Tensor = 1.0,
    seed: Seed = None,
) -> tuple[Tensor, Tensor]:
    """Run `sample_embedding` on several tables; return rows and classes.

    Args:
        logits: Float tensor `(..., groups, num_classes)`.
        tables: Float tensor `(groups, num_classes, dim)`, one for each group.
        temperature: As for `sample_embedding`.
        estimator: As for `sample_embedding`.
        noise_scale: As for `sample_embedding`.
        seed: As for `sample_embedding`; for one group, the same sample.

    Returns:
        The rows `(..., groups, dim)`; and their classes, int32
        `(..., groups)`, -1 where no class is allowed or a logit is NaN.
    """
    rule = estimators.get(estimator)
    arguments = categorical_arguments(logits, temperature, -1, None)
    groups, classes, dim = tables.shape
    table = ops.reshape(tables, (groups * classes, dim))
    return _sample(_Rows(rule, groups), arguments, table, noise_scale, seed)


def _sample(
    op: _Rows,
    arguments: Arguments,
    table: Tensor,
    noise_scale: Tensor,
    seed: Seed,
) -> tuple[Tensor, Tensor]:
    """Return the rows, and their classes."""
    rule, arguments = _program.at_its_temperature(op.estimator, arguments)
    op = dataclasses.replace(op, estimator=rule)
    lead = ops.shape(arguments.logits)[:-1]
    arguments = in_rows(arguments, len(arguments.logits.shape) - 1)
    rows, choice = _program.run(op, arguments, noise_scale, seed, table)
    rows = ops.reshape(rows, (*lead, table.shape[-1]))
    return rows, ops.reshape(choice, lead)


@dataclasses.dataclass(frozen=True)
class _Rows(Op):
    """Sampled rows of a table, for logits (rows, classes); and the choices.

    A choice is -1 where there is none. With groups, row i belongs to group i
    modulo their number, and the table holds one group after the other.
    """

    estimator: Estimator
    groups: int = 1
    outputs: ClassVar[int] = 2
    classes_stay: ClassVar[tuple[int, ...]] = (0, 0)
    trained_once: ClassVar[str] = "sample_embedding"

    @property
    def others(self) -> int:
        """Count one other tensor: the table."""
        return 1

    @property
    def own_dtype(self) -> bool:
        """Return True: the result has the table's dtype."""
        return True

    @property
    def unit(self) -> int:
        """Return the number of groups: a row of each stays together."""
        return self.groups

    def with_classes(
        self, others: Tensors, count: Tensor | int
    ) -> Tensors | None:
        """Return tables padded to `count` classes, if they are small."""
        (table,) = others
        size, dim = table.shape
        if None in (size, dim) or size * dim > _SMALL_TABLE:
            return None
        tables = ops.reshape(table, (self.groups, size // self.groups, dim))
        tables = backend.enlarged(tables, (self.groups, count, dim), 0.0)
        return (ops.reshape(tables, (-1, dim)),)

    def forward(self, draw: Draw, tau: Tensor, *others: Tensor) -> Tensors:
        (table,), like = others, draw.logits()

        def step(block: Block, filled: tuple[Tensor]) -> tuple[Tensor]:
            choice, _ = self.estimator.forward(_of_block(draw, block))
            return (block.put(*filled, choice),)

        none = ops.zeros((ops.shape(like)[0], 1), "int32")
        (choice,) = for_blocks(like, self.groups, step, (none,))
        known = ops.where(choice == ops.shape(like)[1], -1, choice)
        rows = categorical.row(table, _place(choice, table, self.groups))
        return rows, known, choice

    def backward(
        self,
        draw: Draw,
        kept: Tensors,
        tau: Tensor,
        dy: Tensor,
        *others: Tensor,
    ) -> Tensors:
        (choice,), (table,), logits = kept, others, draw.sources[0]
        wide = tau.dtype

        def step(
            block: Block, filled: tuple[Tensor, Tensor]
        ) -> tuple[Tensor, Tensor]:
            here = _of_block(draw, block)
            d_rows = _to_one_hot(block.of(dy), table, self.groups)
            d_logits, d_temperature = self.estimator.scaled_backward(
                here,
                _kept_again(self.estimator, here),
                block.of(choice),
                block.of(tau),
                ops.cast(d_rows, wide),
            )
            d_temperature = ops.sum(d_temperature, axis=1, keepdims=True)
            return (
                block.put(filled[0], ops.cast(d_logits, logits.dtype)),
                block.put(filled[1], d_temperature),
            )

        none = ops.zeros((ops.shape(logits)[0], 1), wide)
        found = for_blocks(
            logits, self.groups, step, (ops.zeros_like(logits), none)
        )
        place = _place(choice, table, self.groups)
        return *found, categorical.row_transpose(dy, place, table)


def _of_block(draw: Draw, block: Block) -> Draw:
    return draw.of_rows(block.of, block.first)


def _place(choice: Tensor, table: Tensor, groups: int) -> Tensor:
    """Return the choice among all groups' rows, with the same marks."""
    if groups == 1:
        return choice
    size = ops.shape(table)[0]
    group = ops.arange(ops.shape(choice)[0], dtype="int32")[:, None] % groups
    place = ops.where(choice < 0, -1, choice + group * (size // groups))
    return ops.where(choice == size // groups, size, place)


def _to_one_hot(d_rows: Tensor, table: Tensor, groups: int) -> Tensor:
    """Take the gradient at rows one_hot @ table back to the one-hots.

    It is in the wide dtype, as is the sum over the rows' entries.
    """
    d_rows, table = numerics.widen(d_rows), numerics.widen(table)
    if groups == 1:
        return d_rows @ ops.transpose(table)
    dim = ops.shape(table)[1]
    tables = ops.reshape(table, (groups, -1, dim))
    d_rows = ops.reshape(d_rows, (-1, groups, dim))
    d_one_hot = ops.transpose(d_rows, (1, 0, 2)) @ ops.transpose(
        tables, (0, 2, 1)
    )
    return ops.reshape(
        ops.transpose(d_one_hot, (1, 0, 2)), (-1, ops.shape(tables)[1])
    )


def _kept_again(estimator: Estimator, draw: Draw) -> Tensor:
    """Recompute the residual of the forward pass, noise included."""
    _, kept = estimator.forward(draw)
    return draw.logits() if kept is None else kept
