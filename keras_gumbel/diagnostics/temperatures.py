"""The result of `temperature_report`."""

import dataclasses
import math
import os
from typing import Any

from keras_gumbel.diagnostics.table import figure, table
from keras_gumbel.diagnostics.temperature_row import TemperatureRow

_HEAD = (
    "estimator",
    "temperature",
    "loss",
    "behind",
    "+-",
    "slope",
    "+-",
    "variance",
    "ms",
)


@dataclasses.dataclass(frozen=True)
class TemperatureReport:
    """A table of temperatures: print it, plot it, or keep its dict.

    Args:
        rows: Tuple of `TemperatureRow`, an estimator's temperatures together.
        monitor: The name of the loss.
        steps: How many training steps are behind each row.
    """

    rows: tuple[TemperatureRow, ...]
    monitor: str
    steps: int

    @property
    def suggestion(self) -> TemperatureRow | None:
        """Return the row of the lowest loss; None if no loss is finite."""
        finite = [row for row in self.rows if math.isfinite(row.loss)]
        return min(finite, key=lambda row: row.loss, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, strings and a tuple of dicts, ready for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return "\n".join(
            (
                self._title(),
                "",
                *table(_HEAD, [*map(_cells, self.rows)]),
                "",
                self._advice(),
            )
        )

    def _title(self) -> str:
        return f"{self.monitor} with hard samples, {self.steps} steps a row"

    def _advice(self) -> str:
        best = self.suggestion
        if best is None:
            return "No suggestion: no loss is finite."
        # With one batch the error is NaN, and no row is near.
        near = [
            _name(row)
            for row in self.rows
            if row is not best and row.behind < 2 * row.behind_error
        ]
        also = f" Within two standard errors: {', '.join(near)}."
        return f"Suggestion: {_name(best)}.{also if near else ''}"

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Save a picture: loss, slope and variance over the temperature.

        Each estimator has a line. Error bars are one standard error to each
        side, a ring marks the suggestion, and a dashed line the slope of a
        gradient without bias.

        Args:
            path: Path with an extension that Matplotlib knows, such as `.png`.

        Raises:
            ImportError: Without Matplotlib.
        """
        picture = figure("TemperatureReport", figsize=(8, 8))
        loss, slope, variance = picture.subplots(3, sharex=True)
        for name in dict.fromkeys(row.estimator for row in self.rows):
            rows = [row for row in self.rows if row.estimator == name]
            rows.sort(key=lambda row: row.temperature)
            x = [row.temperature for row in rows]
            style: dict[str, Any] = {"fmt": "o-", "capsize": 3}
            loss.errorbar(
                x,
                [row.loss for row in rows],
                [row.behind_error for row in rows],
                label=name,
                **style,
            )
            slope.errorbar(
                x,
                [row.slope_ratio for row in rows],
                [row.slope_error for row in rows],
                **style,
            )
            variance.plot(x, [row.relative_variance for row in rows], "o-")
        best = self.suggestion
        if best is not None:
            ring = {"facecolors": "none", "edgecolors": "black", "zorder": 3}
            loss.scatter(best.temperature, best.loss, 150, **ring)
        slope.axhline(1, color="black", linewidth=0.8, linestyle="--")
        loss.set_ylabel(self.monitor)
        loss.set_title(self._title(), fontsize="medium")
        slope.set_ylabel("slope / expected slope")
        variance.set_ylabel("variance / |E g|²")
        variance.set_yscale("log")
        variance.set_xscale("log")
        ticks = sorted({row.temperature for row in self.rows})
        variance.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        variance.minorticks_off()
        variance.set_xlabel("temperature")
        for axes in (loss, slope, variance):
            axes.grid(alpha=0.3)
        picture.legend(loc="outside right upper")
        picture.savefig(path, dpi=150)


def _name(row: TemperatureRow) -> str:
    return f"{row.estimator} at {row.temperature:g}"


def _cells(row: TemperatureRow) -> tuple[str, ...]:
    return (
        row.estimator,
        f"{row.temperature:g}",
        f"{row.loss:.5g}",
        f"{row.behind:.3g}",
        f"{row.behind_error:.2g}",
        f"{row.slope_ratio:.3f}",
        f"{row.slope_error:.3f}",
        f"{row.relative_variance:.3g}",
        f"{row.seconds * 1e3:.3g}",
    )
