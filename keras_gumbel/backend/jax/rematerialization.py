"""Blocks that run again in the backward pass."""

from collections.abc import Callable
from typing import Any

import jax

from keras_gumbel.backend import replay
from keras_gumbel.backend.jax.programs import is_array
from keras_gumbel.backend.jax.states import Pure


def remat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `function` run again in the backward pass, by the same decisions.

    Both runs begin with the same place of each stream.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = jax.tree.flatten((args, kwargs))
        places = [n for n, x in enumerate(leaves) if is_array(x)]
        first = replay.Run(None)

        def block(*arrays: Any) -> Any:
            given = [*leaves]
            for n, x in zip(places, arrays, strict=True):
                given[n] = x
            args_, kwargs_ = jax.tree.unflatten(structure, given)
            first.handed.clear()
            with first.active():
                result = function(*args_, **kwargs_)
            return result, [value for _, value in first.handed]

        arrays = [leaves[n] for n in places]
        result, handed = Pure(block).checkpointed(*arrays)
        for (take, _), value in zip([*first.handed], handed, strict=True):
            replay.hand_on(take, value)
        return result

    return run
