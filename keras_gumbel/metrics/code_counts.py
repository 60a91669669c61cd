"""Base of a codebook's metrics: how often each code was seen."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    check_codes,
    check_codes_are_known,
    check_config,
    check_has_no_predictions,
    check_integer,
    check_is_whole,
    check_sample_weight,
    check_stored_shape,
)

_LARGEST_HALF = 65504
# Integers beyond int32.
_WIDE = ("uint32", "int64", "uint64")


def _of_codes_alone(update_state: Callable[..., None]) -> Callable[..., None]:
    """Have `update_state` say what to do if `compile` calls it."""

    @functools.wraps(update_state)
    def update(self: "CodeCounts", *args: Any, **kwargs: Any) -> None:
        check_has_no_predictions(self, len(args) + len(kwargs))
        update_state(self, *args, **kwargs)

    return update


class CodeCounts(keras.Metric, ABC):
    """Base of the metrics that are a function of the codes' histogram.

    A subclass says what it makes of the counts (`_summary`).

    Args:
        num_codes: Positive integer.
        name: String.
        dtype: Dtype of the result.
    """

    def __init__(self, num_codes: int, name: str, dtype: Any) -> None:
        check_integer(num_codes, "num_codes", minimum=1)
        super().__init__(name=name, dtype=dtype or _default_dtype())
        self.num_codes = int(num_codes)
        # Float32 would stop counting at 2**24, float64 does at 2**53; without
        # float64, another variable holds the digits that a sum loses.
        self._counts = self._zeros("counts")
        exact = backend.widest_float() == "float64"
        self._lost = None if exact else self._zeros("lost")
        self._is_held = False

    def _zeros(self, name: str) -> keras.Variable:
        dtype = backend.widest_float()
        return self.add_variable(
            (self.num_codes,), "zeros", dtype=dtype, name=name
        )

    def be_held(self) -> None:
        """Put the counts in `held`, for a layer that counts in its `call`.

        Where Keras trains by values, a call has the values of its layer's
        variables, but of no metric's; elsewhere this changes nothing.
        """
        self._is_held = backend.trains_by_values()

    @property
    def held(self) -> list[keras.Variable]:
        """Return the counts, if a layer holds them."""
        return list(self._variables) if self._is_held else []

    @property
    def variables(self) -> list[keras.Variable]:
        """Return the counts, unless a layer holds them."""
        return [] if self._is_held else super().variables

    def reset_state(self) -> None:
        """Set all counts to 0."""
        for variable in self._variables:
            variable.assign(ops.zeros(variable.shape, variable.dtype))

    @backend.unchecked
    @_of_codes_alone
    def update_state(
        self, codes: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Count the codes, each as often as its weight says."""
        codes = backend.to_tensor(codes)
        rows = check_codes(codes, self.num_codes)
        weight = _weight(sample_weight, codes[..., 0] if rows else codes)
        if rows:
            inside = ops.all((codes >= 0) & (codes <= 1), axis=-1)
        else:
            # Compare in a type wide enough for codes, valid or not.
            inside = _is_in(codes, self.num_codes)
            codes = ops.cast(codes, "int")
        # Padding, of weight 0, may hold anything.
        known = inside | (weight == 0)
        check_codes_are_known(known, codes, self.num_codes)
        # If the values are not known now, the result must show the error.
        weight = ops.where(known & (weight >= 0), weight, float("nan"))
        count = _sum_rows if rows else self._histogram
        self.add(count(codes, weight, inside))

    def add(self, counts: Tensor) -> None:
        """Add counts from elsewhere: a number for each code."""
        backend.check_can_change(self._counts)
        if self._lost is None:
            self._counts.assign_add(counts)
            return
        # Knuth's sum gives the rounding error to the last bit.
        before = ops.convert_to_tensor(self._counts)
        after = before + counts
        added = after - before
        lost = (before - (after - added)) + (counts - added)
        self._counts.assign(after)
        self._lost.assign_add(lost)

    def save_own_variables(self, store: Any) -> None:
        """Save the counts, in the same form on every backend."""
        parts = map(ops.convert_to_numpy, self._variables)
        store["0"] = sum(part.astype("float64") for part in parts)

    def load_own_variables(self, store: Any) -> None:
        """Load the counts, which files of version 0.1 lack."""
        if "0" not in store:
            return
        left = np.asarray(store["0"], "float64")
        for variable in self._variables:
            check_stored_shape(left, variable, "0")
            variable.assign(left.astype(variable.dtype))
            left = left - left.astype(variable.dtype)

    def _histogram(
        self, codes: Tensor, weight: Tensor, inside: Tensor
    ) -> Tensor:
        codes = ops.where(inside, codes, 0)
        return backend.segment_sum(
            ops.reshape(weight, (-1,)),
            ops.reshape(codes, (-1,)),
            self.num_codes,
        )

    @backend.unchecked
    def result(self) -> Tensor:
        """Return the metric over everything since the last reset."""
        if not all(map(backend.has_value, self._variables)):
            # A step of training by values; the epoch's result is right.
            return ops.convert_to_tensor(float("nan"), self._result_dtype)
        counts = ops.convert_to_tensor(self._counts)
        if self._lost is not None:
            counts = counts + ops.convert_to_tensor(self._lost)
        total = ops.sum(counts)
        summary = self._summary(counts, ops.where(total == 0, 1.0, total))
        # The total is NaN after an invalid code.
        summary = ops.where(ops.isnan(total), float("nan"), summary)
        return ops.cast(ops.where(total == 0, 0.0, summary), self._result_dtype)

    @property
    def _result_dtype(self) -> str:
        """Return float32 if so many codes would overflow float16."""
        dtype: str = self.dtype
        small = dtype == "float16" and self.num_codes > _LARGEST_HALF
        return "float32" if small else dtype

    @abstractmethod
    def _summary(self, counts: Tensor, total: Tensor) -> Tensor:
        """Summarise the counts."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make the metric of a configuration that misses no argument."""
        check_config(cls, config)
        metric = cls(**config)
        check_is_whole(metric, config)
        return metric

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "num_codes": self.num_codes}


def _default_dtype() -> str:
    """Return the floatx, but float32 for a half: a sum loses its digits."""
    dtype: str = keras.config.floatx()
    return dtype if dtype == "float64" else "float32"


def _weight(sample_weight: Tensor | None, codes: Tensor) -> Tensor:
    """Return one weight for each code; trailing axes share theirs."""
    shape = ops.shape(codes)
    if sample_weight is None:
        return ops.ones(shape, backend.widest_float())
    weight = ops.cast(backend.to_tensor(sample_weight), backend.widest_float())
    check_sample_weight(weight, codes)
    trailing = (1,) * (len(shape) - len(weight.shape))
    weight = ops.reshape(weight, (*ops.shape(weight), *trailing))
    return ops.broadcast_to(weight, shape)


def _is_in(codes: Tensor, num_codes: int) -> Tensor:
    if keras.backend.standardize_dtype(codes.dtype) not in _WIDE:
        codes = ops.cast(codes, "int")
    return (codes >= 0) & (codes < num_codes)


def _sum_rows(rows: Tensor, weight: Tensor, inside: Tensor) -> Tensor:
    rows = ops.where(inside[..., None], ops.cast(rows, weight.dtype), 0.0)
    weighted = rows * weight[..., None]
    return ops.sum(weighted, axis=tuple(range(len(rows.shape) - 1)))
