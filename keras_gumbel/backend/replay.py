"""What a block that is run twice decides once: for every framework."""

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras

# Keras keeps to itself what its layers find around them.
from keras.src.backend.common import global_state
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.layers.layer import CallContext

from keras_gumbel._typing import Tensor

_CALL, _AUTOCAST = "current_call_ctx", "autocast_scope"


class Run:
    """One of the two runs of a block that `remat` makes.

    Args:
        place: The graph that it is traced in, or None.
        decided: What the first run decided, where this is the second.

    Attributes:
        decided: What changed a state to be had, in order.
        handed: Tensors that leave the block by another way than its output,
            each with what then takes it.
    """

    def __init__(self, place: Any, decided: list[Tensor] | None = None) -> None:
        self._place = place
        self._left = None if decided is None else iter(decided)
        self._around = _NOW.run
        self.decided: list[Tensor] = []
        self.handed: list[tuple[Callable[[Tensor], None], Tensor]] = []

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """In this context the block is being run."""
        before, _NOW.run = _NOW.run, self
        try:
            yield
        finally:
            _NOW.run = before

    def once(self, decide: Callable[[], Tensor], place: Any) -> Tensor:
        """What `decide` gives; in the second run, what it gave in the first."""
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
    """What `decide` gives, once in the two runs of a block of `remat`."""
    run = _NOW.run
    return decide() if run is None else run.once(decide, place)


def is_running() -> bool:
    """Whether this is within a block of `remat`."""
    return _NOW.run is not None


def hand_on(take: Callable[[Tensor], None], value: Tensor) -> None:
    """`take(value)`; from a block of `remat`, once, with the gradient to it."""
    run = _NOW.run
    if run is None:
        take(value)
    else:
        run.handed.append((take, value))


class Surroundings:
    """What Keras's layers find around them, kept for the second run."""

    def __init__(self) -> None:
        call = global_state.get_global_attribute(_CALL)
        # Where there is none, a layer would begin one, and lose its losses.
        call = CallContext(None) if call is None else copy.copy(call)
        autocast = global_state.get_global_attribute(_AUTOCAST)
        self._kept = {_CALL: call, _AUTOCAST: autocast}
        scope = get_stateless_scope()
        self._states = {} if scope is None else dict(scope.state_mapping)

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """In this context layers find it, and change no state and no loss."""
        before = {x: global_state.get_global_attribute(x) for x in self._kept}
        scope = keras.StatelessScope(initialize_variables=False)
        scope.state_mapping.update(self._states)
        try:
            for name, value in self._kept.items():
                # Layers write down in it what they were last called with.
                global_state.set_global_attribute(name, copy.copy(value))
            with scope:
                yield
        finally:
            for name, value in before.items():
                global_state.set_global_attribute(name, value)
