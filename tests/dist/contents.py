"""What is in the sdist and in the wheel of a folder, and what must be.

Usage: `python tests/dist/contents.py dist`.
"""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = (
    *("benchmarks", "docs", "examples", "keras_gumbel", "studies", "tests"),
)
FILES = (
    *("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
    *("CITATION.cff", "Makefile", "README.md", "SECURITY.md", "mkdocs.yml"),
    *("pyproject.toml", "setup.cfg"),
)


def files_below(folders: tuple[str, ...]) -> set[str]:
    """The files of the source tree, less what Python leaves there."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def in_wheel(wheel: Path) -> set[str]:
    """The files of a wheel, less those about it."""
    names = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in names if ".dist-info/" in name}
    if not any(name.endswith("/licenses/LICENSE") for name in about):
        sys.exit(f"{wheel.name}: no LICENSE")
    return names - about


def in_sdist(sdist: Path) -> set[str]:
    """The files of an sdist, without the folder that they are in."""
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
    return {member.name.partition("/")[2] for member in members}


def compare(name: str, found: set[str], expected: set[str]) -> None:
    """Ends the program where the two sets differ."""
    if found != expected:
        missing, extra = sorted(expected - found), sorted(found - expected)
        sys.exit(f"{name}: missing {missing}, not expected {extra}")
    print(f"{name}: {len(found)} files, as expected")


def main() -> None:
    """Both archives of a folder."""
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    (sdist,) = Path(sys.argv[1]).glob("*.tar.gz")
    package = files_below(("keras_gumbel",))
    if "keras_gumbel/py.typed" not in package:
        sys.exit("keras_gumbel/py.typed is missing")
    compare(wheel.name, in_wheel(wheel), package)
    made = {"PKG-INFO", "MANIFEST.in"}
    found = {
        name
        for name in in_sdist(sdist) - made
        if not name.startswith("keras_gumbel.egg-info/")
    }
    compare(sdist.name, found, files_below(SOURCES) | set(FILES))


if __name__ == "__main__":
    main()
