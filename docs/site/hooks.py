"""The pages of the site: the repository's own, at their own paths.

A link between two pages then means the same on the site as in a checkout,
also one that leaves docs/.
"""

from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
SHOWN = (
    "*.md",
    "docs/**/*.md",
    "docs/**/*.png",
    "docs/site/*.css",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.png",
    "examples/*.ipynb",
    "examples/*.py",
    "studies/*.py",
)


def on_files(files, config):
    """The repository's pages in place of docs/ alone, and the theme's files."""
    docs = Path(config.docs_dir)
    theme = [file for file in files if Path(file.src_dir or "") != docs]
    paths = sorted({path for shown in SHOWN for path in ROOT.glob(shown)})
    ours = [
        File.generated(
            config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)
        )
        for path in paths
    ]
    return Files([*theme, *ours])


def on_page_markdown(markdown, page, **kwargs):
    """A page of the gallery, and the program that it tells of."""
    source = Path(page.file.src_uri)
    program = ROOT / "studies" / f"{source.stem}.py"
    if source.parent.as_posix() != "docs/gallery" or not program.exists():
        return markdown
    code = program.read_text().rstrip()
    return f"{markdown}\n\n## The program\n\n```python\n{code}\n```\n"
