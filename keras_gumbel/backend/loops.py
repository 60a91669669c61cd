"""Loops, for the frameworks whose programs have them."""

from collections.abc import Callable

from keras import ops

from keras_gumbel._typing import Tensor, Tensors


def loop(
    count: Tensor | int, step: Callable[..., Tensors], state: Tensors
) -> Tensors:
    """Return `state` after `state = step(n, *state)` for each n < count."""
    _, *found = ops.while_loop(
        lambda n, *_: n < count,
        lambda n, *state: (n + 1, *step(n, *state)),
        (ops.cast(0, "int32"), *state),
    )
    return tuple(found)


def loops_are_written_out() -> bool:
    """Return False: a program has each loop's body once."""
    return False
