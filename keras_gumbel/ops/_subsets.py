"""The number of classes of a subset: one for all rows, or one per row."""

import dataclasses
from typing import ClassVar

from keras_gumbel import backend
from keras_gumbel._tracing import portable_format
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    Arguments,
    check_enough_allowed,
    check_k_fits,
    check_sizes,
    sizes_of_rows,
    too_few_for,
)
from keras_gumbel.ops._op import Op


@dataclasses.dataclass(frozen=True)
class OfSizes(Op):
    """Base class of ops of k classes, where k is another tensor.

    Args:
        most: The most that any row has, as `of_sizes` returns it.
    """

    most: int
    others_are_of_rows: ClassVar[bool] = True

    @property
    def others(self) -> int:
        """Count one other tensor: k."""
        return 1


def of_sizes(
    arguments: Arguments,
    k: int | Tensor,
    max_k: int | None,
    minimum: int = 1,
) -> tuple[Tensor, Tensor, int]:
    """Check how many classes a subset has.

    Args:
        arguments: The sample's arguments.
        k: An integer, or with `max_k` integers for the rows.
        max_k: The most classes of any row, if `k` differs per row.
        minimum: The least integer `k`.

    Returns:
        The logits, with a check that they have enough classes; `k`, int32, a
        number or with size 1 along the axis, -1 where it is out of range; and
        the most.
    """
    logits, axis = arguments.logits, arguments.axis
    check_sizes(k, max_k, minimum)
    most, name = (k, "k") if max_k is None else (max_k, "max_k")
    shape = backend.static_shape(logits)
    check_k_fits(most, shape, axis, name)
    if shape[axis] is None and portable_format() is None:
        message = too_few_for(most, name)
        logits = backend.with_at_least(logits, int(most), axis, message)
    k = sizes_of_rows(k, int(most), backend.static_shape(logits), axis)
    if arguments.class_mask is not None:
        check_enough_allowed(k, arguments.class_mask, logits, axis)
    return logits, k, int(most)
