"""The result of `gradient_report`."""

import dataclasses
import os
from typing import Any

from keras_gumbel.diagnostics.gradient_row import GradientRow
from keras_gumbel.diagnostics.table import figure, table

_HEAD = ("estimator", "temperature", "bias", "+-", "variance", "cosine", "us")


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """A table of gradient estimators: print it, plot it, or keep its dict.

    Args:
        rows: Tuple of `GradientRow`, an estimator's temperatures together.
        reference: `"exact"` if g* was enumerated, otherwise `"sampled"`.
        reference_error: The root mean square length of the reference's own
            error, relative to its length; 0 if it is exact.
        num_samples: The number of gradients behind each row.
    """

    rows: tuple[GradientRow, ...]
    reference: str
    reference_error: float
    num_samples: int

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, strings and a tuple of dicts, ready for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        lines = table(_HEAD, [*map(_cells, self.rows)])
        return "\n".join((self._title(), "", *lines))

    def _title(self) -> str:
        error = f", itself {self.reference_error:.2g} off"
        return (
            f"{self.num_samples} gradients a row, relative to the "
            f"{self.reference} one{error if self.reference_error else ''}"
        )

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Save a picture: bias against standard deviation, both relative.

        Each estimator has a line, its points labelled by their temperatures.
        Error bars are one standard error to each side. The horizontal axis
        is logarithmic from 0.1 on, and linear below, to include 0.

        Args:
            path: Path with an extension that Matplotlib knows, such as `.png`.

        Raises:
            ImportError: Without Matplotlib.
        """
        picture = figure("GradientReport", figsize=(8, 4.5))
        # Import it after `figure`, which says what to install.
        from matplotlib.ticker import SymmetricalLogLocator

        axes = picture.subplots()
        axes.axhline(0, color="black", linewidth=0.8)
        for name in dict.fromkeys(row.estimator for row in self.rows):
            rows = [row for row in self.rows if row.estimator == name]
            x = [row.relative_variance**0.5 for row in rows]
            y = [row.relative_bias for row in rows]
            up = [row.bias_error for row in rows]
            down = list(map(min, y, up))  # a length is not negative
            drawn = axes.errorbar(
                x, y, (down, up), fmt="o-", capsize=3, label=name
            )
            for row, place in zip(rows, zip(x, y, strict=True), strict=True):
                if row.temperature is not None:
                    axes.annotate(
                        f"{row.temperature:g}",
                        place,
                        xytext=(5, 5),
                        textcoords="offset points",
                        color=drawn.lines[0].get_color(),
                        fontsize="small",
                    )
        axes.set_xscale("symlog", linthresh=0.1)
        ticks = SymmetricalLogLocator(base=10, linthresh=0.1, subs=(1, 2, 5))
        axes.xaxis.set_major_locator(ticks)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.1, y=0.1)
        axes.set_xlabel("standard deviation of one gradient / |g*|")
        axes.set_ylabel("bias / |g*|")
        axes.set_title(self._title(), fontsize="medium")
        axes.grid(alpha=0.3)
        picture.legend(loc="outside right upper")
        picture.savefig(path, dpi=150)


def _cells(row: GradientRow) -> tuple[str, ...]:
    has = row.temperature is not None
    return (
        row.estimator,
        f"{row.temperature:g}" if has else "-",
        f"{row.relative_bias:.4f}",
        f"{row.bias_error:.4f}",
        f"{row.relative_variance:.4g}",
        f"{row.cosine:.4f}",
        f"{row.seconds * 1e6:.3g}",
    )
