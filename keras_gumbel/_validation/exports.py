"""Checks of models that draw by a given seed."""

from typing import Any

from keras_gumbel import backend
from keras_gumbel._typing import Shape


def check_draws(model: Any, draws: int) -> None:
    """Raise unless a call makes at least one draw."""
    if not draws:
        raise ValueError(
            "`model` must have a sampling layer that draws: every one that it "
            "has was made with `noise_scale=0`. "
            f"Received: model={model!r}"
        )


def check_name_is_free(name: str, taken: list[str]) -> None:
    """Raise if an input of the model already has the name."""
    if name in taken:
        raise ValueError(
            f"`model` must have no input of the name {name!r}, which is that "
            f"of the seed. Received: inputs={taken}"
        )


def check_seed_words(shape: Shape, dtype: str) -> None:
    """Raise unless it is two 32-bit integers, or integers of unknown number."""
    if "int" not in dtype or tuple(shape) not in ((2,), (None,)):
        raise ValueError(
            "`seed` must be two integers, int32 of shape (2,): a seed, and a "
            "count of calls from 0. "
            f"Received: seed of shape {tuple(shape)} and dtype {dtype}"
        )


def check_is_not_repeated(name: str, is_inside: bool) -> None:
    """Raise inside a loop: each step would draw the same."""
    if is_inside:
        raise ValueError(
            "A model that draws by a seed must not sample inside a loop of "
            "another layer: each step would draw the same. Unroll it "
            f"(`unroll=True`). Received: a sampling layer, {name!r}"
        )


def check_can_be_repeated(name: str, rule: Any, can: bool) -> None:
    """Raise unless the estimator's way to draw is known."""
    if not can:
        raise ValueError(
            "A model that draws by a seed must know how its estimators draw: "
            "by `Estimator.forward`, or as `StraightThroughGumbel`. Export "
            "`keras_gumbel.export.with_noise_input(model)`. Received: a "
            f"sampling layer, {name!r}, with estimator={rule!r}"
        )


def check_can_be_summed(shape: Shape, axis: int, most: int) -> None:
    """Raise if there are too many classes for sums of 32 bits."""
    classes = backend.static_shape(shape)[axis]
    if classes is not None and classes > most:
        raise ValueError(
            "A model that draws by a seed must have at most "
            f"{most} classes, for an estimator that draws a class by one "
            f"random number. Received: {classes} classes"
        )
