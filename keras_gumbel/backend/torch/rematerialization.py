"""Blocks that run again in the backward pass."""

from collections.abc import Callable
from typing import Any

from torch.utils.checkpoint import checkpoint

from keras_gumbel.backend import replay


def remat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `function` run again in the backward pass, by the same decisions.

    Only its decisions and its arguments are kept between the passes.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        around, first = replay.Surroundings(), replay.Run(None)
        has_run = False

        def block(*args: Any, **kwargs: Any) -> Any:
            nonlocal has_run
            if has_run:
                again = replay.Run(None, first.decided)
                with around.again(), again.active():
                    result = function(*args, **kwargs)
                return result, [value for _, value in again.handed]
            has_run = True
            with first.active():
                result = function(*args, **kwargs)
            return result, [value for _, value in first.handed]

        result, handed = checkpoint(block, *args, use_reentrant=False, **kwargs)
        for (take, _), value in zip([*first.handed], handed, strict=True):
            replay.hand_on(take, value)
        return result

    return run
