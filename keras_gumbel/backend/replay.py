"""Decisions that both runs of a block share, for every framework."""

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

# Keras keeps the context of its layers private.
from keras.src.backend.common import global_state
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.layers.layer import CallContext

from keras_gumbel._typing import Tensor

_CALL, _AUTOCAST = "current_call_ctx", "autocast_scope"


class Run:
    """One of the two runs of a block of `remat`.

    Args:
        place: The graph that traces it, or None.
        decided: The first run's decisions, if this is the second.

    Attributes:
        decided: Values whose computation changed a state, in order.
        handed: Tensors that leave the block beside its output, each with
            the function that takes it.
    """

    def __init__(self, place: Any, decided: list[Tensor] | None = None) -> None:
        self._place = place
        self._left = None if decided is None else iter(decided)
        self._around = _NOW.run
        self.decided: list[Tensor] = []
        self.handed: list[tuple[Callable[[Tensor], None], Tensor]] = []

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make this the active run in this context."""
        before, _NOW.run = _NOW.run, self
        try:
            yield
        finally:
            _NOW.run = before

    def once(self, decide: Callable[[], Tensor], place: Any) -> Tensor:
        """Return `decide()`; in the second run, the result of the first."""
        if self._left is not None:
            return self._again()
        if place is not self._place:
            raise ValueError(
                "A block of `kg.remat` cannot draw, or count a call, in a "
                "loop, a branch or a `tf.function` within it: apply "
                "`kg.remat` within that, or write the loop out "
                "(`keras.layers.RNN(unroll=True)`). "
                f"Received: a draw in {place} of a block in {self._place}"
            )
        around = self._around
        value = decide() if around is None else around.once(decide, place)
        self.decided.append(value)
        return value

    def _again(self) -> Tensor:
        for value in self._left or ():
            return value
        raise ValueError(
            "A function of `kg.remat` must draw as often when it runs again "
            "in the backward pass as it did before. Received: more draws"
        )


class _Now(threading.local):
    run: Run | None = None


_NOW = _Now()


def once(decide: Callable[[], Tensor], place: Any) -> Tensor:
    """Return `decide()`, called once in the two runs of a block."""
    run = _NOW.run
    return decide() if run is None else run.once(decide, place)


def is_running() -> bool:
    """Return whether this is within a block of `remat`."""
    return _NOW.run is not None


def hand_on(take: Callable[[Tensor], None], value: Tensor) -> None:
    """Call `take(value)`; in a block of `remat`, once, with its gradient."""
    run = _NOW.run
    if run is None:
        take(value)
    else:
        run.handed.append((take, value))


class Surroundings:
    """The context of Keras's layers, saved for the second run."""

    def __init__(self) -> None:
        call = global_state.get_global_attribute(_CALL)
        # Without one, a layer would begin its own and lose its losses.
        call = CallContext(None) if call is None else copy.copy(call)
        autocast = global_state.get_global_attribute(_AUTOCAST)
        self._kept = {_CALL: call, _AUTOCAST: autocast}
        scope = get_stateless_scope()
        self._states = {} if scope is None else dict(scope.state_mapping)

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Restore it within this context, where no state or loss changes."""
        before = {x: global_state.get_global_attribute(x) for x in self._kept}
        scope = keras.StatelessScope(initialize_variables=False)
        scope.state_mapping.update(self._states)
        try:
            for name, value in self._kept.items():
                # Layers record their last call in it, so each gets a copy.
                global_state.set_global_attribute(name, copy.copy(value))
            with scope:
                yield
        finally:
            for name, value in before.items():
                global_state.set_global_attribute(name, value)
