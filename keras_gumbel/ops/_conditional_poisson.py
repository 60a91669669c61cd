"""Conditional Poisson subsets: a sample, the marginals, and their gradient."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel._validation import Arguments, categorical_arguments
from keras_gumbel.numerics import Draw, conditional_poisson
from keras_gumbel.ops._rows import Rows
from keras_gumbel.ops._subsets import OfSizes, of_sizes


def arguments_of(
    logits: Tensor,
    k: int | Tensor,
    max_k: int | None,
    axis: int,
    class_mask: Tensor | None,
) -> tuple[Arguments, Tensor, int]:
    """Return the arguments of a subset, k, and the most that k can be."""
    found = categorical_arguments(logits, 1.0, axis, class_mask)
    logits, k, most = of_sizes(found, k, max_k, minimum=0)
    return found._replace(logits=logits), k, max(most, 1)


class _Table:
    """The table of chances, and its results in the shape of the logits."""

    def __init__(self, draw: Draw, k: Tensor, most: int) -> None:
        x = draw.logits()
        self._rows = Rows(x, draw.axis)
        x = ops.cast(self._rows.of(x), "float64")
        # A row with NaN or +inf, or with `k` out of range.
        bad = ops.any(ops.isnan(x) | (x == float("inf")), axis=1, keepdims=True)
        k = ops.broadcast_to(self._rows.of_number(k), ops.shape(bad))
        self._bad = bad | (k < 0)
        x = ops.where(self._bad, 0.0, x)
        allowed = ops.sum(
            ops.cast(x > numerics.FORBIDDEN, "int32"), axis=1, keepdims=True
        )
        k = backend.minimum(backend.maximum(k, ops.zeros_like(k)), allowed)
        self._k = k[:, 0]
        x = conditional_poisson.near_the_kth(x, k, most)
        self._chance = conditional_poisson.chances(ops.transpose(x), most)

    def marginals(self) -> Tensor:
        """Return the probability of each class."""
        return self._back(
            conditional_poisson.marginals(self._chance, self._visit())
        )

    def sample(self, unit: Tensor) -> Tensor:
        """Draw a subset, with one uniform number per logit."""
        unit = ops.transpose(self._rows.of(unit))
        found = conditional_poisson.sample(self._chance, unit, self._k)
        return self._back(found[:, 0])

    def vjp(self, dy: Tensor) -> Tensor:
        """Take the gradient at the marginals back to the logits."""
        visit = self._visit()
        v = ops.transpose(ops.cast(self._rows.of(dy), "float64"))
        # A certain class gets no gradient and adds to none, even if its own
        # is infinite, such as the gradient of a log at 0.
        p = conditional_poisson.marginals(self._chance, visit)
        v = ops.where((p > 0.0) & (p < 1.0), v, 0.0)
        return self._back(
            conditional_poisson.covariance_product(self._chance, visit, v)
        )

    def _visit(self) -> Tensor:
        return conditional_poisson.visits(self._chance, self._k)

    def _back(self, x: Tensor) -> Tensor:
        x = ops.cast(ops.transpose(x), "float64")
        return self._rows.back(ops.where(self._bad, float("nan"), x))


@dataclasses.dataclass(frozen=True)
class Marginals(OfSizes):
    """P(z_i = 1 | k classes)."""

    trained_once: ClassVar[str] = "conditional_poisson_marginals"

    def forward(self, draw: Draw, tau: Tensor, *others: Tensor) -> Tensors:
        (k,) = others
        return (_Table(draw, k, self.most).marginals(),)

    def backward(
        self,
        draw: Draw,
        kept: Tensors,
        tau: Tensor,
        dy: Tensor,
        *others: Tensor,
    ) -> Tensors:
        (k,) = others
        # There is no temperature, and an integer has no gradient.
        return _Table(draw, k, self.most).vjp(dy), None, None


@dataclasses.dataclass(frozen=True)
class Subset(Marginals):
    """1 at the classes of a sample; the gradient is the marginals'."""

    trained_once: ClassVar[str] = "conditional_poisson_subset"

    def forward(self, draw: Draw, tau: Tensor, *others: Tensor) -> Tensors:
        (k,) = others
        shape = ops.shape(draw.logits())
        # In one dimension compilers vectorise even for two classes.
        flat = ops.shape(ops.reshape(draw.logits(), (-1,)))
        unit = numerics.random_unit(
            flat, draw.key, "float64", draw.places((-1,))
        )
        unit = ops.reshape(unit, shape)
        return (_Table(draw, k, self.most).sample(unit),)
