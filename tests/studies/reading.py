"""Reading what an example printed and drew."""

import re
from pathlib import Path

import matplotlib.image

ROOT = Path(__file__).parents[2]
STUDIES = sorted(ROOT.glob("studies/*.py"))
ESTIMATORS = ("gapped_st", "gumbel_rao", "reinmax", "st", "st_gumbel")


def ink(path):
    """How dark a picture is, from 0 for white to 1."""
    picture = matplotlib.image.imread(path)
    return 1 - picture[..., :3].mean(axis=-1)


def report_rows(output):
    """The rows of a report, from estimator and temperature to the numbers."""
    cells = r"(\w+) +([\d.]+|-)" + r" +([-\d.e+]+)" * 5
    rows = re.findall(rf"^{cells}$", output, re.M)
    return {row[:2]: tuple(map(float, row[2:])) for row in rows}
