"""The ops of a categorical sample: as it is, or as an index."""

import dataclasses

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel._validation import Arguments
from keras_gumbel.estimators import Estimator
from keras_gumbel.numerics import Draw, categorical
from keras_gumbel.ops import _program
from keras_gumbel.ops._op import Op


def op_for(
    estimator: Estimator | None, arguments: Arguments, *, index: bool = False
) -> tuple[Op, Arguments]:
    """Return the op, hard or (without estimator) relaxed, and its arguments."""
    if estimator is None:
        return _Relaxed(index), arguments
    estimator, arguments = _program.at_its_temperature(estimator, arguments)
    return _Hard(index, estimator), arguments


@dataclasses.dataclass(frozen=True)
class _Categorical(Op):
    """Base class: a sample, as it is or as its index."""

    index: bool

    @property
    def own_dtype(self) -> bool:
        """Use float32 for indices: half precision cannot hold them."""
        return self.index

    def of_sample(self, dy: Tensor, like: Tensor, axis: int) -> Tensor:
        """Take the gradient `dy` at the result back to the sample."""
        dy = ops.cast(dy, like.dtype)
        if not self.index:
            return dy
        number = ops.cast(numerics.classes(like, axis), like.dtype)
        return ops.expand_dims(dy, axis) * number


class _Relaxed(_Categorical):
    """softmax(perturbed / temperature)."""

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        perturbed = numerics.perturb(draw)
        y = numerics.softmax(perturbed, tau, draw.axis)
        if self.index:
            y = ops.cast(numerics.mean_class(y, draw.axis), "float32")
        return y, perturbed

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        # This lets second derivatives reach the logits.
        x = backend.straight_through(*kept, draw.logits())
        dy = self.of_sample(dy, x, draw.axis)
        return numerics.relaxed_vjp(x, tau, dy, draw.axis)


@dataclasses.dataclass(frozen=True)
class _Hard(_Categorical):
    """The choice of an estimator."""

    estimator: Estimator

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        choice, kept = self.estimator.forward(draw)
        show = categorical.class_number if self.index else categorical.one_hot
        y = show(choice, draw.logits(), draw.axis)
        return (y, choice) if kept is None else (y, choice, kept)

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        choice, *moved = kept
        x = draw.logits()
        if moved:
            # This lets second derivatives reach the logits.
            x = backend.straight_through(*moved, x)
        dy = self.of_sample(dy, x, draw.axis)
        return self.estimator.scaled_backward(draw, x, choice, tau, dy)
