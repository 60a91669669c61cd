"""Ways to show a random order: a matrix, sorted scores, or ranks."""

import dataclasses
from abc import abstractmethod
from typing import ClassVar

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._tracing import portable_format
from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel.numerics import Draw, sorting
from keras_gumbel.numerics.portable import finite_if_empty, marked
from keras_gumbel.numerics.sorting import Places
from keras_gumbel.ops._op import Op
from keras_gumbel.ops._rows import Rows


@dataclasses.dataclass(frozen=True)
class Order(Op):
    """Base class: the order of perturbed scores, or its relaxation.

    A subclass says how to show it. It takes matrices, with one order per row,
    and its result has the same first axis.
    """

    hard: bool
    descending: bool
    noiseless: bool = False

    trained_once: ClassVar[str] = "gumbel_sort"

    @property
    def forward_is_compiled(self) -> bool:
        """Return False without noise: every format has those operations."""
        return not self.noiseless

    def forward(self, draw: Draw, tau: Tensor, *_: Tensor) -> Tensors:
        x = self.perturbed(draw)
        rows = Rows(x, draw.axis)
        flat = finite = rows.of(x)
        if portable_format():
            finite = finite_if_empty(flat, 1)
        order = sorting.order_of(finite, self.descending)
        places = Places.of(finite, order, self.descending)
        tau = rows.of_number(tau)
        scores = rows.of(draw.logits())
        if self.hard:
            y = self.show(finite, scores, places)
        else:
            y = self.relax(finite, scores, places, tau)
        deep = len(y.shape) > 2
        # These still hold NaN, even in a format that loses infinity.
        given = scores if self.noiseless else flat
        given = ops.expand_dims(given, 1) if deep else given
        if portable_format():
            some = ops.any(given > numerics.FORBIDDEN, axis=-1, keepdims=True)
            y = numerics.select(some, y, 0.0)
        y = marked(
            y,
            given,
            -1,
            None if self.hard else sorting.of_a_matrix(tau) if deep else tau,
        )
        order = self.entries(flat, places)
        results = rows.back(y), rows.back(order)
        return *results[: self.outputs], x, rows.back(places.order)

    def backward(
        self, draw: Draw, kept: Tensors, tau: Tensor, dy: Tensor, *_: Tensor
    ) -> Tensors:
        x, order = kept
        rows = Rows(x, draw.axis)
        flat = rows.of(x)
        places = Places.of(flat, rows.of(order), self.descending)
        found = self.vjp(
            flat,
            rows.of(draw.logits()),
            places,
            rows.of_number(tau),
            rows.of_results(ops.cast(dy, x.dtype)),
        )
        return tuple(rows.back(marked(d, flat, 1)) for d in found)

    def perturbed(self, draw: Draw) -> Tensor:
        """Return the numbers to sort, with +inf in place of NaN."""
        if not self.noiseless:
            return numerics.perturb(draw, numerics.less)
        x = draw.logits()
        far = numerics.offset(x, 1.0, draw.axis)
        return numerics.nan_to_inf(numerics.less(x, far))

    def entries(self, x: Tensor, places: Places) -> Tensor:
        """Return the entry at each place, -1 where there is none."""
        bad = numerics.maximum(x, 1) == float("inf")
        return ops.where(bad | (places.real == 0.0), -1, places.order)

    @abstractmethod
    def show(self, x: Tensor, scores: Tensor, places: Places) -> Tensor:
        """Return the hard sample, from perturbed and original scores."""

    @abstractmethod
    def relax(
        self, x: Tensor, scores: Tensor, places: Places, tau: Tensor
    ) -> Tensor:
        """Return the soft sample."""

    @abstractmethod
    def vjp(
        self,
        x: Tensor,
        scores: Tensor,
        places: Places,
        tau: Tensor,
        dy: Tensor,
    ) -> Tensors:
        """Return the soft sample's gradients to scores and temperature."""

    def mean(self, values: Tensor, places: Places, tau: Tensor) -> Tensor:
        """Return the mean of `values`, by the weights at each place."""
        if self.noiseless:
            return sorting.mean_by_matrix(values, places, tau)
        return sorting.mean(values, places, tau)[0]


@dataclasses.dataclass(frozen=True)
class Permutation(Order):
    """The matrix of an order, and the order."""

    outputs: ClassVar[int] = 2
    classes_stay: ClassVar[tuple[int, ...]] = (2, 1)

    def show(self, x: Tensor, scores: Tensor, places: Places) -> Tensor:
        number = numerics.classes(x, 1)[:, None]
        hot = number == places.order[..., None]
        return ops.cast(hot, x.dtype) * places.real[..., None]

    def relax(
        self, x: Tensor, scores: Tensor, places: Places, tau: Tensor
    ) -> Tensor:
        return sorting.permutation(x, places, tau)

    def vjp(
        self,
        x: Tensor,
        scores: Tensor,
        places: Places,
        tau: Tensor,
        dy: Tensor,
    ) -> Tensors:
        return sorting.permutation_vjp(x, places, tau, dy)


@dataclasses.dataclass(frozen=True)
class Sorted(Order):
    """The scores, as they were before noise, in an order."""

    def show(self, x: Tensor, scores: Tensor, places: Places) -> Tensor:
        return self._in_order(scores, places)

    def relax(
        self, x: Tensor, scores: Tensor, places: Places, tau: Tensor
    ) -> Tensor:
        values, near = self._near(scores, places)
        return self.mean(near, places, tau) + values * places.real

    def vjp(
        self,
        x: Tensor,
        scores: Tensor,
        places: Places,
        tau: Tensor,
        dy: Tensor,
    ) -> Tensors:
        _, near = self._near(scores, places)
        d_values, dx, parts = sorting.mean_vjp(near, places, tau, dy)
        return dx + sorting.to_entries(d_values, places.order), parts

    def _in_order(self, scores: Tensor, places: Places) -> Tensor:
        values = backend.take_along_axis(scores, places.order, axis=1)
        return numerics.select(places.real > 0.0, values, 0.0)

    def _near(self, scores: Tensor, places: Places) -> Tensors:
        """Return one value per row, and the distance of the others to it."""
        values = self._in_order(scores, places)
        one = values[:, :1]
        return one, numerics.less(values, one)


@dataclasses.dataclass(frozen=True)
class Ranks(Order):
    """The place of each entry, as a number; or the mean place."""

    @property
    def own_dtype(self) -> bool:
        """Use float32: half precision cannot hold the places."""
        return True

    def show(self, x: Tensor, scores: Tensor, places: Places) -> Tensor:
        if self.noiseless:
            at = backend.argsort(ops.cast(places.order, x.dtype), 1)
            real = ops.cast(x > numerics.FORBIDDEN, x.dtype)
            return self._exact(ops.cast(at, x.dtype) * real, x)
        ranks = sorting.to_entries(
            sorting.numbers(x) * places.real, places.order
        )
        return self._exact(ranks, x)

    def relax(
        self, x: Tensor, scores: Tensor, places: Places, tau: Tensor
    ) -> Tensor:
        at = self.mean(sorting.numbers(x), places, tau)
        if self.noiseless:
            back = backend.argsort(ops.cast(places.order, x.dtype), 1)
            ranks = backend.take_along_axis(at, back, axis=1)
        else:
            ranks = sorting.to_entries(at, places.order)
        return self._exact(ranks, x)

    def vjp(
        self,
        x: Tensor,
        scores: Tensor,
        places: Places,
        tau: Tensor,
        dy: Tensor,
    ) -> Tensors:
        d_at = backend.take_along_axis(dy, places.order, axis=1)
        numbers = sorting.numbers(x)
        _, dx, parts = sorting.mean_vjp(numbers, places, tau, d_at)
        return dx, parts

    def _exact(self, ranks: Tensor, x: Tensor) -> Tensor:
        ranks = ops.cast(ranks, "float32")
        return numerics.exact_or_nan(ranks, x, 1)
