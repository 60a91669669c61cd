"""How reports print and plot."""

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells, the first column on the left, others right."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(
                zip(line, widths, strict=True)
            )
        )
        for line in lines
    ]


def figure(of: str, **settings: Any) -> Any:
    """Return an empty figure, if Matplotlib is there to draw it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise ImportError(
            f"`{of}.plot` needs Matplotlib: pip install keras-gumbel[plot]"
        ) from missing
    return Figure(layout="constrained", **settings)
