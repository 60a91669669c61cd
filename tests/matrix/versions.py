"""What is claimed of versions: pins, bounds, the table in docs/install.md."""

import configparser
import re
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "install.md"
# A file of pins for each, in this folder; a row each in the table.
SETS = ("oldest", "middle", "newest", "python3.13")
COLUMNS = {
    "TensorFlow": "tensorflow",
    "Keras": "keras",
    "NumPy": "numpy",
    "TensorFlow Probability": "tensorflow-probability",
}
COUNTS = ("passed", "skipped", "failed")
TABLE = re.compile("(<!-- versions -->\n).*?(<!-- /versions -->)", re.DOTALL)


def _text(name: str) -> str:
    return (ROOT / "tests" / "matrix" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    """The version of each package that is fixed in a set's environment."""
    found = re.findall(r"^([\w-]+) == ([\d.]+)$", _text(name), re.MULTILINE)
    return dict(found)


def python(name: str) -> str:
    """The interpreter that a set's environment is made with: python3.11."""
    (found,) = re.findall("^# Python: (.*)$", _text(name), re.MULTILINE)
    return found


def requirements() -> dict[str, Requirement]:
    """What setup.cfg asks for, by package, of the packages that are pinned."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].split("\n")
    lines += config["options.extras_require"]["probability"].split("\n")
    found = [Requirement(line) for line in lines if line]
    return {requirement.name: requirement for requirement in found}


def table(rows: list[dict[str, str]]) -> str:
    """The lines of a table with a row for each set."""
    names = ["Python", *COLUMNS, *COUNTS]
    lines = [names, ["-"] * len(names)]
    lines += [[row[name] for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def read_table(text: str) -> list[dict[str, str]]:
    """The rows of the table in a guide's text."""
    (found,) = TABLE.finditer(text)
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in found[0].splitlines()
        if line.startswith("|")
    ]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
