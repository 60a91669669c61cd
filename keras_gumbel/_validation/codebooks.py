"""Checks of what a quantizer takes: features, codes, and its own sizes."""

from typing import Any

import numpy as np

from keras_gumbel import backend
from keras_gumbel._typing import Shape, Tensor
from keras_gumbel._validation.scalars import check_integer, check_not_negative
from keras_gumbel._validation.tensors import dtype_name


def check_codebook_sizes(
    num_codes: Any, code_dim: Any, num_groups: Any
) -> None:
    """Positive integers, the vector of equal parts."""
    check_integer(num_codes, "num_codes", minimum=1)
    check_integer(code_dim, "code_dim", minimum=1)
    check_integer(num_groups, "num_groups", minimum=1)
    if code_dim % num_groups:
        raise ValueError(
            "`code_dim` must be divisible by `num_groups`: each group gives "
            "an equal part of the vector. "
            f"Received: code_dim={code_dim}, num_groups={num_groups}"
        )


def check_kl_weight(kl_weight: Any) -> None:
    """A finite number, zero or more."""
    check_not_negative(kl_weight, "kl_weight")


def check_kl_weight_is_live(kl_weight: Any) -> None:
    """A layer made without the loss has nothing to weigh."""
    if kl_weight is None:
        raise ValueError(
            "`kl_weight` of this layer is None: it adds no such loss. Make it "
            "with a number (0.0 to begin without) or with a schedule. "
            "Received: layer.kl_weight=None"
        )


def check_features(inputs: Any, features: int | None) -> None:
    """A float tensor; its last axis is what was built for."""
    shape = tuple(inputs.shape)
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


def check_known_features(shape: Shape) -> None:
    """The projection has a row for each feature."""
    if not shape or shape[-1] is None:
        raise ValueError(
            "`inputs` must have a known last axis, the features, when the "
            f"layer is built. Received: inputs of shape {tuple(shape)}"
        )


def check_codes_of_groups(
    codes: Any, num_groups: int, num_codes: int, built: bool
) -> None:
    """Integers of a codebook that exists, within range where that is known."""
    if not built:
        raise ValueError(
            "`decode` needs the codebook, which the first call makes, or "
            "`layer.build(inputs_shape)`. Received: a layer that is not built"
        )
    shape = tuple(codes.shape)
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
    values = backend.static_value(codes)
    if values is None:
        return
    wrong = values[(values < 0) | (values >= num_codes)]
    if np.size(wrong):
        raise ValueError(
            "`codes` must be in [0, num_codes). "
            f"Received: a code of {wrong[0]}, num_codes={num_codes}"
        )


def check_mask(mask: Tensor, inputs: Tensor) -> None:
    """Bool, of the shape of the positions or its first axes."""
    shape, target = tuple(mask.shape), tuple(inputs.shape)[:-1]
    fits = len(shape) <= len(target) and all(
        size in (goal, 1, None) or goal is None
        for size, goal in zip(shape, target, strict=False)
    )
    if dtype_name(mask) != "bool" or not fits:
        raise ValueError(
            "`mask` must be bool, of the shape of the inputs without their "
            "last axis, or the first axes of that. Received: mask of shape "
            f"{shape} and dtype {dtype_name(mask)}, inputs of shape "
            f"{tuple(inputs.shape)}"
        )
