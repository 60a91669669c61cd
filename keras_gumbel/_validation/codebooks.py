"""Checks of a quantizer's arguments: features, codes, and its own sizes."""

import math
from typing import Any

import numpy as np

from keras_gumbel import backend
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation.scalars import (
    check_integer,
    check_not_negative,
    check_sequence,
)
from keras_gumbel._validation.tensors import (
    broadcasts,
    check_temperature,
    dtype_name,
)

_MOST_CODES = 2**31 - 1


def check_codebook_sizes(
    num_codes: Any, code_dim: Any, num_groups: Any
) -> None:
    """Raise unless all are positive integers, with equal parts per group."""
    check_integer(num_codes, "num_codes", minimum=1)
    check_integer(code_dim, "code_dim", minimum=1)
    check_integer(num_groups, "num_groups", minimum=1)
    if code_dim % num_groups:
        raise ValueError(
            "`code_dim` must be divisible by `num_groups`: each group gives "
            "an equal part of the vector. "
            f"Received: code_dim={code_dim}, num_groups={num_groups}"
        )


def check_stage_sizes(num_codes: Any, num_groups: Any, num_stages: Any) -> None:
    """Raise unless all are positive integers."""
    check_integer(num_codes, "num_codes", minimum=1)
    check_integer(num_groups, "num_groups", minimum=1)
    check_integer(num_stages, "num_stages", minimum=1)


def check_are_vectors(features: int | None, code_dim: int) -> None:
    """Raise unless features are as long as the codes compared with them."""
    if features != code_dim:
        raise ValueError(
            "`code_dim` must be the size of the inputs' last axis where "
            "`similarity` is 'distance'. "
            f"Received: code_dim={code_dim}, features={features}"
        )


def check_diversity_weight(diversity_weight: Any) -> None:
    """Raise unless it is a finite number, zero or more."""
    check_not_negative(diversity_weight, "diversity_weight")


def check_levels(levels: Any) -> tuple[int, ...]:
    """Return the levels: integers from 2 on, with an int32 number of codes."""
    check_sequence(levels, "levels")
    for level in levels:
        check_integer(level, "levels", minimum=2)
    if not len(levels) > 0 or math.prod(map(int, levels)) > _MOST_CODES:
        raise ValueError(
            "`levels` must have a level at least, and a product of at most "
            f"2**31 - 1: codes are int32. Received: levels={levels}"
        )
    return tuple(map(int, levels))


def check_is_binary(levels: tuple[int, ...], entropy_weight: Any) -> None:
    """Raise if there is a penalty of bits, but a level is not 2."""
    if entropy_weight is not None and set(levels) != {2}:
        raise ValueError(
            "`entropy_weight` must be None unless every level is 2: the "
            "penalty is of bits. Received: "
            f"entropy_weight={entropy_weight}, levels={levels}"
        )


def check_scalars(shape: Shape, levels: tuple[int, ...]) -> None:
    """Raise unless there are as many numbers as levels."""
    if not shape or shape[-1] not in (None, len(levels)):
        raise ValueError(
            "`inputs` must have the shape (..., len(levels)). Received: "
            f"inputs of shape {tuple(shape)}, levels={levels}"
        )


def check_integers(codes: Any, num_codes: int) -> None:
    """Raise unless codes are integers, and in range if values are known."""
    if "int" not in dtype_name(codes):
        raise TypeError(
            "`codes` must be integers. "
            f"Received: codes of dtype {dtype_name(codes)}"
        )
    values = backend.static_value(codes)
    if values is None:
        return
    wrong = values[(values < 0) | (values >= num_codes)]
    if np.size(wrong):
        raise ValueError(
            "`codes` must be in [0, num_codes). "
            f"Received: a code of {wrong[0]}, num_codes={num_codes}"
        )


def check_fraction(value: Any, name: str, *, below_one: bool = False) -> None:
    """Raise unless it is a number in [0, 1], or in [0, 1)."""
    check_not_negative(value, name)
    if value > 1 or (below_one and value == 1):
        interval = "[0, 1)" if below_one else "[0, 1]"
        raise ValueError(
            f"`{name}` must be in {interval}. Received: {name}={value}"
        )


def check_temperature_of_vectors(
    temperature: Any, shape: Shape, num_groups: int | None
) -> None:
    """Raise unless it is a number, or one for each group of each vector.

    If `num_groups` is None, one for each number of the vectors.
    """
    check_temperature(temperature)
    given = tuple(getattr(temperature, "shape", ()))
    target, wanted = tuple(shape), "to the inputs"
    if num_groups is not None:
        target = *target[:-1], num_groups, 1
        wanted = "to (..., num_groups, 1)"
    if not broadcasts(given, target):
        raise ValueError(
            f"`temperature` must broadcast {wanted}. Received: temperature of "
            f"shape {given}, inputs of shape {tuple(shape)}"
        )


def check_restart_after(restart_after: Any) -> None:
    """Raise unless it is a positive integer or None."""
    if restart_after is not None:
        check_integer(restart_after, "restart_after", minimum=1)


def check_divides(shape: Shape, num_groups: int) -> None:
    """Raise unless vectors have a known length that splits in equal parts."""
    check_known_features(shape)
    if (shape[-1] or 0) % num_groups:
        raise ValueError(
            "`inputs` must have a last axis that `num_groups` divides: each "
            "group codes an equal part of the vector. Received: inputs of "
            f"shape {tuple(shape)}, num_groups={num_groups}"
        )


def check_is_noisy_layer(layer: Any, value: Any) -> None:
    """Raise: a layer made to choose the nearest code has no noise."""
    raise ValueError(
        "`noise_scale` of this layer is 0 for good: it was made to choose the "
        "nearest code. Make it with a number above 0 or with a schedule. "
        f"Received: noise_scale={value!r}, layer={layer.name!r}"
    )


def check_is_outside_of_loops(layer: Any, is_inside: bool) -> None:
    """Raise inside a loop: a layer's losses and states cannot leave it."""
    if is_inside:
        raise ValueError(
            f"{type(layer).__name__} cannot be trained inside a loop or a "
            "branch of another layer, such as `keras.layers.RNN`: its losses "
            "do not get out. Unroll the loop (`unroll=True`). "
            f"Received: layer={layer.name!r}"
        )


def check_kl_weight(kl_weight: Any) -> None:
    """Raise unless it is a finite number, zero or more."""
    check_not_negative(kl_weight, "kl_weight")


def check_weight_is_live(weight: Any, name: str) -> None:
    """Raise if the layer was made without the loss to weigh."""
    if weight is None:
        raise ValueError(
            f"`{name}` of this layer is None: it adds no such loss. Make it "
            "with a number (0.0 to begin without) or with a schedule. "
            f"Received: layer.{name}=None"
        )


def check_features(inputs: Any, features: int | None) -> None:
    """Raise unless it is a float tensor with the features of the build."""
    shape = backend.static_shape(inputs)
    if "float" not in dtype_name(inputs):
        raise TypeError(
            "`inputs` must be a float tensor of features. "
            f"Received: inputs of dtype {dtype_name(inputs)}"
        )
    if not shape or (features and shape[-1] not in (None, features)):
        raise ValueError(
            "`inputs` must have the shape (..., features), with the features "
            f"of the first call. Received: inputs of shape {shape}, "
            f"features={features}"
        )


def check_vectors(vectors: Any) -> None:
    """Raise unless it is a float tensor of at least one axis."""
    if "float" not in dtype_name(vectors):
        raise TypeError(
            "`vectors` must be a float tensor. "
            f"Received: vectors of dtype {dtype_name(vectors)}"
        )
    if not tuple(vectors.shape):
        raise ValueError(
            "`vectors` must have the shape (..., dim). "
            "Received: vectors of shape ()"
        )


def check_codebook(table: Any, vectors: Any) -> None:
    """Raise unless it is a float tensor (num_codes, dim) with codes."""
    if "float" not in dtype_name(table):
        raise TypeError(
            "`table` must be a float tensor. "
            f"Received: table of dtype {dtype_name(table)}"
        )
    shape, given = backend.static_shape(table), backend.static_shape(vectors)
    fits = len(shape) == 2 and shape[0] != 0
    if not fits or (
        None not in (shape[1], given[-1]) and shape[1] != given[-1]
    ):
        raise ValueError(
            "`table` must have the shape (num_codes, dim), with a code at "
            "least and the last axis of the vectors. Received: table of shape "
            f"{shape}, vectors of shape {given}"
        )


def check_known_features(shape: Shape) -> None:
    """Raise unless the features are known: each has a row of weights."""
    if not shape or shape[-1] is None:
        raise ValueError(
            "`inputs` must have a known last axis, the features, when the "
            f"layer is built. Received: inputs of shape {tuple(shape)}"
        )


def check_codes_of_groups(
    codes: Any, num_groups: int, num_codes: int, built: bool
) -> None:
    """Raise unless codes are integers in range, of a codebook that exists."""
    if not built:
        raise ValueError(
            "`decode` needs the codebook, which the first call makes, or "
            "`layer.build(inputs_shape)`. Received: a layer that is not built"
        )
    shape = backend.static_shape(codes)
    if "int" not in dtype_name(codes):
        raise TypeError(
            "`codes` must be integers. "
            f"Received: codes of dtype {dtype_name(codes)}"
        )
    if not shape or shape[-1] not in (None, num_groups):
        raise ValueError(
            "`codes` must have the shape (..., num_groups). Received: codes "
            f"of shape {shape}, num_groups={num_groups}"
        )
    check_integers(codes, num_codes)


def check_mask(mask: Tensor, inputs: Tensor) -> None:
    """Raise unless it is bool, of the positions' shape or its first axes."""
    shape, given = backend.static_shape(mask), backend.static_shape(inputs)
    target = given[:-1]
    fits = len(shape) <= len(target) and all(
        size in (goal, 1, None) or goal is None
        for size, goal in zip(shape, target, strict=False)
    )
    if dtype_name(mask) != "bool" or not fits:
        raise ValueError(
            "`mask` must be bool, of the shape of the inputs without their "
            "last axis, or the first axes of that. Received: mask of shape "
            f"{shape} and dtype {dtype_name(mask)}, inputs of shape {given}"
        )
