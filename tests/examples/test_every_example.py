"""Every example is tested, short, plain, and named in the guide."""

import ast
import re

import pytest

from .reading import EXAMPLES, ROOT

TOY = "differentiable_argmax"
SHORT = [path for path in EXAMPLES if path.stem != TOY]


def test_every_example_is_run():
    tests = "".join(
        path.read_text() for path in ROOT.glob("tests/examples/test_*.py")
    )
    named = {*re.findall(r'\brun\("(\w+)"\)', tests), TOY}
    assert {path.stem for path in EXAMPLES} == named


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.stem)
def test_is_short_and_has_no_plots_and_no_options(path):
    source = path.read_text()
    assert 30 <= len(source.splitlines()) <= 60
    assert ast.get_docstring(ast.parse(source))
    for word in ("matplotlib", "argparse", "__main__", "keras_gumbel."):
        assert word not in source


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_is_in_the_guide(path):
    guide = (ROOT / "docs" / "examples.md").read_text()
    assert f"(../examples/{path.name})" in guide
