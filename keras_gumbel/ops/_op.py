"""An op: the formulas of a sample, and how a program uses them."""

from abc import ABC, abstractmethod
from typing import ClassVar

from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel._validation import Arguments
from keras_gumbel.numerics import Draw


class Op(ABC):
    """Base class of ops: the formulas of a sample's two passes.

    A subclass is a frozen dataclass: its fields are numbers and rules that a
    program is compiled for. `_program` handles masks, wider types, the
    temperature's checks and the sum of its gradient, compilation and the
    gradient rule.
    """

    # How many results there are; those after the first have no gradient.
    outputs: ClassVar[int] = 1
    # Whether the other tensors, as the temperature, are per row or one for all.
    others_are_of_rows: ClassVar[bool] = False
    # How many axes of each result have a place per class: its last axes before
    # those behind the classes.
    classes_stay: ClassVar[tuple[int, ...]] = (1,)
    # The op's name in the error for a second derivative, if it has none.
    trained_once: ClassVar[str | None] = None

    @property
    def others(self) -> int:
        """Count its tensors besides logits, temperature and mask."""
        return 0

    @property
    def own_dtype(self) -> bool:
        """Return whether the first result's dtype differs from the logits'."""
        return False

    @property
    def forward_is_compiled(self) -> bool:
        """Return whether the forward pass is a program, or plain operations."""
        return True

    @property
    def unit(self) -> int:
        """Return how many rows stay together."""
        return 1

    @property
    def copies(self) -> int:
        """Return how many elements the result has per logit."""
        return 1

    def with_classes(
        self, others: Tensors, count: Tensor | int
    ) -> Tensors | None:
        """Return its other tensors for `count` classes; None if too costly."""
        del count
        return others

    def first_axis_of_a_row(self, arguments: Arguments) -> int:
        """Return the first axis of one sample; axes before it are rows."""
        return arguments.axis

    @abstractmethod
    def forward(self, draw: Draw, tau: Tensor, *others: Tensor) -> Tensors:
        """Return the results, then the residuals for the backward pass."""

    @abstractmethod
    def backward(
        self,
        draw: Draw,
        kept: Tensors,
        tau: Tensor,
        dy: Tensor,
        *more: Tensor,
    ) -> Tensors:
        """Return the gradient to the logits, and parts of the temperature's.

        The parts broadcast to the logits, and are summed to the temperature.
        A gradient follows for each of `more`, the op's other tensors.
        """
