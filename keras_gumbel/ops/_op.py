"""An op: the formulas of a sample, and what they are for."""

from abc import ABC, abstractmethod
from typing import ClassVar

from keras_gumbel._typing import Tensor, Tensors
from keras_gumbel._validation import Arguments
from keras_gumbel.numerics import Draw


class Op(ABC):
    """The formulas of a sample, of its two passes.

    A subclass is a frozen dataclass: its fields are numbers and rules that a
    program is compiled for. Masks, wider types, the temperature's checks and
    the sum of its gradient are not its business, nor are compilation and the
    gradient rule.
    """

    # How many results there are; those after the first have no gradient.
    outputs: ClassVar[int] = 1
    # Whether these are numbers for each row, or for all, as the temperature.
    others_are_of_rows: ClassVar[bool] = False
    # How many axes of each result, its last but for those behind the classes,
    # have a place for each class.
    classes_stay: ClassVar[tuple[int, ...]] = (1,)
    # Its name, in the error for a second derivative, where there is none.
    trained_once: ClassVar[str | None] = None

    @property
    def others(self) -> int:
        """How many tensors it has besides logits, temperature and mask."""
        return 0

    @property
    def own_dtype(self) -> bool:
        """Whether the first result has a dtype that is not the logits'."""
        return False

    @property
    def forward_is_compiled(self) -> bool:
        """Whether the forward pass is a program, and not plain operations."""
        return True

    @property
    def unit(self) -> int:
        """How many rows stay together."""
        return 1

    @property
    def copies(self) -> int:
        """How many elements of the result there are for one of the logits."""
        return 1

    def with_classes(
        self, others: Tensors, count: Tensor | int
    ) -> Tensors | None:
        """Return its other tensors for so many classes; None if too dear."""
        del count
        return others

    def first_axis_of_a_row(self, arguments: Arguments) -> int:
        """The axes before it are rows, each with a sample of its own."""
        return arguments.axis

    @abstractmethod
    def forward(self, draw: Draw, tau: Tensor, *others: Tensor) -> Tensors:
        """The results, and after them what the backward pass is to have."""

    @abstractmethod
    def backward(
        self,
        draw: Draw,
        kept: Tensors,
        tau: Tensor,
        dy: Tensor,
        *more: Tensor,
    ) -> Tensors:
        """The gradient to the logits, and the parts of the temperature's.

        These broadcast to the logits, and are summed to the temperature. A
        gradient follows for each of `more`, which are what the op has
        besides.
        """
