"""Blocks of `torch.utils.checkpoint`, which torch runs again by itself.

Before the second run torch restores its own generators, but no streams. So the
first run's draws are stored with the block, which is found on the stack, and
given again.
"""

from collections.abc import Callable
from typing import Any

import torch

from keras_gumbel._typing import Tensor
from keras_gumbel.backend import frames

_MODULE = "torch.utils.checkpoint"
_KEPT = "_keras_gumbel_decided"


def once(decide: Callable[[], Tensor]) -> Tensor:
    """Return `decide()`, called once in the two runs of each block around."""
    return _once(decide, _blocks())


def _once(decide: Callable[[], Tensor], blocks: list[tuple[Any, bool]]) -> Any:
    if not blocks:
        return decide()
    (block, again), *around = blocks
    if again:
        return _given_before(block)
    value = _once(decide, around)
    if not hasattr(block, _KEPT):
        setattr(block, _KEPT, ([], {}))
    getattr(block, _KEPT)[0].append(value)
    return value


def _given_before(block: Any) -> Tensor:
    """Return the first run's next decision, in this backward pass."""
    nothing: tuple[list[Tensor], dict[int, int]] = ([], {})
    decided, places = getattr(block, _KEPT, nothing)
    number = torch._C._current_graph_task_id()
    place = places.get(number, 0)
    if place >= len(decided):
        raise ValueError(
            "A block of `torch.utils.checkpoint` must draw as often when it "
            "runs again in the backward pass as it did before. Received: more "
            "draws"
        )
    places[number] = place + 1
    return decided[place]


def _blocks() -> list[tuple[Any, bool]]:
    """Return the blocks on the stack, innermost first, and if each reruns."""
    found = []
    for module, frame in frames.callers():
        if module != _MODULE:
            continue
        name, values = frame.f_code.co_name, frame.f_locals
        if name == "unpack_hook":
            found.append((values["frame"], True))
        elif name == "checkpoint" and "gen" in values:
            inside = values["gen"].gi_frame
            found.append((inside.f_locals["new_frame"], False))
        elif name in ("forward", "backward") and "ctx" in values:
            # This is the older kind, with `use_reentrant=True`.
            found.append((values["ctx"], name == "backward"))
    return found
