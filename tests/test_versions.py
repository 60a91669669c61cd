"""The table of versions, setup.cfg's bounds and the pins agree."""

import configparser
import datetime
import re

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import keras_gumbel as kg
from tests.matrix.versions import (
    COLUMNS,
    GUIDE,
    ROOT,
    SETS,
    pins,
    python,
    read_table,
    requirements,
    table,
)


def bound(package, operator):
    """The version that setup.cfg sets as a bound."""
    specifiers = requirements()[package].specifier
    (version,) = (s.version for s in specifiers if s.operator == operator)
    return Version(version)


@pytest.mark.parametrize("package", requirements())
def test_the_oldest_is_the_lower_bound(package):
    assert Version(pins("oldest")[package]) == bound(package, ">=")


@pytest.mark.parametrize("package", requirements())
def test_the_newest_is_the_last_below_the_upper_bound(package):
    newest = Version(pins("newest")[package])
    assert newest in requirements()[package].specifier
    limit = Version(f"{newest.major}.{newest.minor + 1}")
    assert limit == bound(package, "<")


def test_the_table_is_of_these_versions():
    rows = read_table(GUIDE.read_text())
    assert len(rows) == len(SETS)
    for name, row in zip(SETS, rows, strict=True):
        for column, package in COLUMNS.items():
            assert row[column] == pins(name)[package], (name, column)
        assert f"python{row['Python']}".startswith(f"{python(name)}."), name


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_of_allowed_versions(name):
    for package, requirement in requirements().items():
        assert pins(name)[package] in requirement.specifier, package


def test_make_has_an_environment_for_each_set_that_is_run():
    """And for no other: a Python that it names may be missing."""
    makefile = (ROOT / "Makefile").read_text()
    (made,) = re.findall("^MATRIX = (.*)$", makefile, re.MULTILINE)
    assert made.split() == [f".venv-{name}" for name in SETS]


def test_a_release_is_dated_and_cited():
    """One version, in the package, the CHANGELOG and the citation."""
    changes = (ROOT / "CHANGELOG.md").read_text()
    version, date = re.findall(r"^## (\S+), (\S+)$", changes, re.M)[0]
    cited = (ROOT / "CITATION.cff").read_text()
    assert kg.__version__ == version
    assert f"version: {version}\n" in cited
    assert f"date-released: {date}\n" in cited
    assert datetime.date.fromisoformat(date) <= datetime.date.today()


def test_the_table_is_of_a_run_that_passed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    pythons = SpecifierSet(config["options"]["python_requires"])
    for row in read_table(GUIDE.read_text()):
        assert row["Python"] in pythons
        assert row["failed"] == "0"
        assert int(row["passed"]) > 10 * int(row["skipped"])


def test_a_table_is_read_as_it_was_written():
    row = dict.fromkeys(["Python", *COLUMNS], "1.2.3")
    rows = [
        row | {"passed": "3", "skipped": "2", "failed": "1"},
        row | {"passed": "0", "skipped": "0", "failed": "4"},
    ]
    text = f"text\n<!-- versions -->\n\n{table(rows)}\n<!-- /versions -->\n"
    assert read_table(text) == rows
