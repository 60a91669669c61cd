"""Several samples of one distribution, on a new first axis.

They equal samples of logits repeated along an axis before the classes, which
are on the last axis here. If a class is drawn without noise, the logits are
not repeated: a row's probabilities are summed once for all its samples.
"""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_gumbel import numerics
from keras_gumbel._typing import Seed, Tensor, Tensors
from keras_gumbel._validation import Arguments
from keras_gumbel.estimators import Estimator
from keras_gumbel.numerics import Draw, categorical
from keras_gumbel.ops import _program
from keras_gumbel.ops._ladder import in_rows
from keras_gumbel.ops._op import Op


def choices(
    rule: Estimator,
    arguments: Arguments,
    count: int,
    noise_scale: Tensor,
    seed: Seed,
    *,
    index: bool,
) -> Tensor:
    """Draw one-hots, or indices without a last axis, by one sum per row."""
    lead = ops.shape(arguments.logits)[:-1]
    rule, arguments = _program.at_its_temperature(rule, arguments)
    matrix = len(lead) == 1
    if not matrix:
        arguments = in_rows(arguments, arguments.axis)
    op = (_Indices if index else _OneHots)(int(count), rule)
    y = _program.run(op, arguments, noise_scale, seed)
    if not matrix:
        y = ops.reshape(y, (*lead, *ops.shape(y)[1:]))
    return ops.moveaxis(y, len(lead), 0)


def repeated(arguments: Arguments, count: int) -> Arguments:
    """Repeat the logits along a new axis before the classes."""
    logits, temperature, class_mask, axis, learned = arguments
    *lead, classes = ops.shape(logits)
    logits = ops.expand_dims(logits, -2)
    # Tensors of lower rank already broadcast to the new axis.
    if len(temperature.shape) > 1:
        temperature = ops.expand_dims(temperature, -2)
    if class_mask is not None and len(class_mask.shape) > 1:
        class_mask = ops.expand_dims(class_mask, -2)
    logits = ops.broadcast_to(logits, (*lead, count, classes))
    return Arguments(logits, temperature, class_mask, axis + 1, learned)


def samples_first(y: Tensor, repeated: Arguments) -> Tensor:
    """Return samples of repeated logits, their new axis the first."""
    return ops.moveaxis(y, len(repeated.logits.shape) - 2, 0)


@dataclasses.dataclass(frozen=True)
class _Several(Op):
    """Base class: `count` choices of an estimator per row of the logits."""

    count: int
    estimator: Estimator

    def choices(self, draw: Draw) -> Tensor:
        """Draw the choices, (rows, count)."""
        return categorical.several(draw, self.count)

    def vjp(
        self, draw: Draw, choices: Tensor, tau: Tensor, dy: Tensor
    ) -> Tensors:
        """Apply the estimator's rule to each choice, and sum the gradients.

        `dy` is the gradient at the one-hots, (rows, count, classes).
        """

        def repeated() -> Tensor:
            return ops.broadcast_to(draw.logits()[:, None], ops.shape(dy))

        sizes = draw.sizes
        if sizes is not None:
            count = ops.convert_to_tensor([self.count], sizes.dtype)
            sizes = ops.concatenate([count, sizes])
        each = draw._replace(logits=repeated, axis=2, sizes=sizes)
        tau = ops.expand_dims(tau, 1) if len(tau.shape) else tau
        choices = ops.expand_dims(choices, 2)
        found = self.estimator.scaled_backward(
            each, repeated(), choices, tau, dy
        )
        return tuple(ops.sum(one, axis=1) for one in found)


class _OneHots(_Several):
    """1 at each choice."""

    @property
    def copies(self) -> int:
        """Return the number of choices."""
        return self.count

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        choices, like = self.choices(draw), draw.logits()[:, None]
        return categorical.one_hot(choices[..., None], like, 2), choices

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        (choices,) = kept
        return self.vjp(draw, choices, tau, dy)


class _Indices(_Several):
    """The number of each choice."""

    classes_stay: ClassVar[tuple[int, ...]] = (0,)

    @property
    def own_dtype(self) -> bool:
        """Use float32: half precision cannot hold the indices."""
        return True

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        choices, like = self.choices(draw), draw.logits()[:, None]
        return categorical.class_number(choices[..., None], like, 2), choices

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        x = draw.logits()
        number = ops.cast(numerics.classes(x, 1), x.dtype)
        dy = ops.cast(dy, x.dtype)[..., None] * number
        (choices,) = kept
        return self.vjp(draw, choices, tau, dy)
