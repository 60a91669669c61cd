"""The suite with each set of versions, and the table of docs/install.md.

`make test-matrix` makes the environments and runs this.
"""

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.matrix.versions import (
    COLUMNS,
    GUIDE,
    ROOT,
    SETS,
    TABLE,
    pins,
    requirements,
    table,
)

# The site is the same whatever it is built beside.
PYTEST = (
    "-m pytest --numprocesses 2 --dist worksteal --ignore tests/test_site.py"
)
MARKS = "not slow and not gpu"
CACHE = "--tf_xla_persistent_cache_directory"
INSTALLED = """
import importlib.metadata, json, platform, sys

found = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"Python": platform.python_version(), **found}))
"""


def environment(name: str) -> Path:
    """The folder of a set's environment."""
    return ROOT / f".venv-{name}"


def python_of(name: str) -> str:
    """The interpreter in it."""
    return str(environment(name) / "bin" / "python")


def installed(name: str) -> dict[str, str]:
    """The versions in a set's environment, which are those of its file."""
    expected = pins(name)
    output = subprocess.check_output(
        [python_of(name), "-c", INSTALLED, *expected], text=True
    )
    found: dict[str, str] = json.loads(output)
    wrong = {
        package for package in expected if found[package] != expected[package]
    }
    if wrong:
        sys.exit(
            f"{name}: {sorted(wrong)} are not the versions of "
            f"tests/matrix/{name}.txt. Remove .venv-{name}, and run again."
        )
    return found


def newer(name: str) -> dict[str, str]:
    """What pip would take in place of a set's versions, within the bounds."""
    command = "-m pip install --dry-run --quiet --upgrade --report -"
    output = subprocess.check_output(
        [python_of(name), *command.split(), *map(str, requirements().values())],
        text=True,
    )
    found = [item["metadata"] for item in json.loads(output)["install"]]
    return {
        item["name"]: item["version"]
        for item in found
        if item["name"].replace("_", "-") in requirements()
    }


def run(name: str) -> dict[str, str]:
    """A row of the table."""
    versions = installed(name)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [
                *(python_of(name), *PYTEST.split(), "-m", MARKS),
                f"--junitxml={report}",
            ],
            cwd=ROOT,
            # Programs of one version of TensorFlow are kept apart.
            env={
                **os.environ,
                "TF_XLA_FLAGS": f"{CACHE}={environment(name)}/xla",
            },
            check=False,
        )
        if not report.exists():
            sys.exit(f"{name}: pytest has not run to its end.")
        suite = ElementTree.parse(report).getroot()[0]
    total, errors, failures, skipped = (
        int(suite.attrib[name])
        for name in ("tests", "errors", "failures", "skipped")
    )
    failed = errors + failures
    return {
        "Python": versions["Python"],
        **{column: versions[name] for column, name in COLUMNS.items()},
        "passed": str(total - failed - skipped),
        "skipped": str(skipped),
        "failed": str(failed),
    }


def main() -> None:
    """Every set; an exit code other than 0 where one fails."""
    if found := newer("newest"):
        sys.exit(f"tests/matrix/newest.txt is not the newest: {found}")
    rows = [run(name) for name in SETS]
    text = table(rows)
    GUIDE.write_text(TABLE.sub(rf"\1\n{text}\n\2", GUIDE.read_text()))
    print(f"{GUIDE.name}:\n{text}", end="")
    # No test at all is no success.
    sys.exit(any(row["failed"] != "0" or row["passed"] == "0" for row in rows))


if __name__ == "__main__":
    main()
