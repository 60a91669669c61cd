"""Codebooks with metrics and losses of how their codes are used."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_gumbel._typing import LearningRateSchedule, Tensor
from keras_gumbel._validation import (
    check_diversity_weight,
    check_kl_weight,
    check_weight_is_live,
)
from keras_gumbel.layers.codebook import CodebookLayer
from keras_gumbel.losses import categorical_kl, diversity_loss
from keras_gumbel.metrics import CategoryUsage
from keras_gumbel.metrics.group_perplexity import GroupPerplexity
from keras_gumbel.ops.codebook import histogram


class CountedCodebooks(CodebookLayer):
    """Base of the layers whose logs tell how many codes are in use.

    Args:
        *args: Arguments of `CodebookLayer`.
        kl_weight: Number >= 0, a schedule, or None.
        diversity_weight: Number >= 0, a schedule, or None.
        **kwargs: Arguments of `CodebookLayer`.
    """

    _live_names = (
        *CodebookLayer._live_names,
        "kl_weight",
        "diversity_weight",
    )

    def __init__(
        self,
        *args: Any,
        kl_weight: float | LearningRateSchedule | None,
        diversity_weight: float | LearningRateSchedule | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if kl_weight is not None:
            self._add_live_scalar("kl_weight", kl_weight, check_kl_weight)
        if diversity_weight is not None:
            self._add_live_scalar(
                "diversity_weight", diversity_weight, check_diversity_weight
            )
        groups, codes, name = self.num_groups, self.num_codes, self.name
        self.perplexity = GroupPerplexity(groups, codes, f"{name}_perplexity")
        self.usage = CategoryUsage(groups * codes, f"{name}_usage")
        self.perplexity.be_held()
        self.usage.be_held()

    @property
    def variables(self) -> list[keras.Variable]:
        """Return the variables, with counts that no metric can hold."""
        return [*super().variables, *self.perplexity.held, *self.usage.held]

    @property
    def kl_weight(self) -> keras.Variable | None:
        """Return the live weight of the loss, a float32 variable, or None."""
        live = self._live.get("kl_weight")
        return None if live is None else live.variable

    @kl_weight.setter
    def kl_weight(self, value: float) -> None:
        check_weight_is_live(self.kl_weight, "kl_weight")
        self._live["kl_weight"].assign(value)

    @property
    def diversity_weight(self) -> keras.Variable | None:
        """Return the diversity's live weight, a float32 variable, or None."""
        live = self._live.get("diversity_weight")
        return None if live is None else live.variable

    @diversity_weight.setter
    def diversity_weight(self, value: float) -> None:
        check_weight_is_live(self.diversity_weight, "diversity_weight")
        self._live["diversity_weight"].assign(value)

    def _penalised(
        self, vectors: Tensor, logits: Tensor, unmasked: Tensor | None
    ) -> Tensor:
        """Add the losses; return the vectors, NaN if a loop loses a loss."""
        penalties: dict[str, tuple[Callable[..., Tensor], str]] = {
            "kl_weight": (_mean_kl, "categorical_kl"),
            "diversity_weight": (diversity_loss, "diversity_loss"),
        }
        for name, (penalty, instead) in penalties.items():
            if name in self._live:
                changed = self._add_penalty(
                    name,
                    functools.partial(penalty, logits, unmasked),
                    f"`weight * losses.{instead}(layer.logits(inputs))`",
                )
                if changed is not None:
                    vectors = vectors + ops.cast(changed, vectors.dtype)
        return vectors

    def _count(self, codes: Tensor, unmasked: Tensor | None) -> None:
        """Count the chosen codes in the metrics."""
        counts = histogram(codes, unmasked, self.num_codes)
        self.perplexity.add(counts)
        self.usage.add(counts)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; live numbers are weights."""
        weights = {
            name: live.config() if (live := self._live.get(name)) else None
            for name in ("kl_weight", "diversity_weight")
        }
        return {**super().get_config(), **weights}


def _mean_kl(logits: Tensor, unmasked: Tensor | None) -> Tensor:
    """Return the mean KL to uniform, summed over groups; 0 if all is masked."""
    kl = ops.cast(ops.sum(categorical_kl(logits), axis=-1), "float32")
    if unmasked is None:
        unmasked = ops.ones_like(kl, "bool")
    # Masked entries may be anything, even NaN.
    total = ops.sum(ops.where(unmasked, kl, 0.0))
    return total / ops.maximum(ops.sum(ops.cast(unmasked, "float32")), 1.0)
