"""Every study is run, documented, public, and has its page."""

import ast

import pytest

from .reading import ROOT, STUDIES


def test_every_study_is_run():
    tests = {path.stem for path in ROOT.glob("tests/studies/test_*.py")}
    assert {f"test_{path.stem}" for path in STUDIES} <= tests


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_is_documented(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def assigns_several(node):
    """`a, b = 1, 2`, and not `a, b = function()`."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Tuple)
        and isinstance(node.value, ast.Tuple)
    )


def calls_in_passing(node):
    """`any(map(...))`, of which the value is not used."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in ("any", "all")
    )


def statements_that_hide(tree):
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if assigns_several(node) or calls_in_passing(node)
    ]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_says_one_thing_a_statement(path):
    tree = ast.parse(path.read_text())
    assert statements_that_hide(tree) == []
    # Each is read by itself.
    siblings = {other.stem for other in STUDIES}
    imported = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert not siblings & imported


def test_several_things_in_a_statement_are_found():
    hidden = "a, b = 1, 2\nany(map(print, []))\nc, d = f()\n"
    assert len(statements_that_hide(ast.parse(hidden))) == 2


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_has_a_page_in_the_gallery(path):
    gallery = ROOT / "docs" / "gallery"
    page = (gallery / f"{path.stem}.md").read_text()
    parts = f"`studies/{path.name}`", "**Asked.**", "**Measured", "**Shown."
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    for index in (gallery / "README.md", ROOT / "mkdocs.yml"):
        assert f"{path.stem}.md" in index.read_text()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_uses_what_is_public(path):
    tree = ast.parse(path.read_text())
    imports = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and "keras_gumbel" in ast.unparse(node)
    ]
    assert imports == ["import keras_gumbel as kg"]

    package = ast.parse((ROOT / "keras_gumbel" / "__init__.py").read_text())
    public = {
        alias.asname
        for node in package.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "kg"
    }
    assert used
    assert used <= public
