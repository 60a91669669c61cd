"""Ten questions, each with an answer that the tests run."""

import os
import re
import subprocess
import sys

import pytest

from tests.test_readme import ROOT, blocks

PAGE = ROOT / "docs" / "faq.md"


def answers():
    """What follows each question."""
    text = PAGE.read_text()
    return re.split(r"^## .*\?$", text, flags=re.MULTILINE)[1:]


def test_each_of_ten_answers_has_lines_that_check_it():
    """`test_readme.py` runs those of all but one, which is below."""
    assert len(answers()) == 10
    for answer in answers():
        assert re.search(
            r"^```py(thon)?$(.*\n)*?.*\b(assert|except)", answer, re.M
        )


@pytest.mark.slow
@pytest.mark.tensorflow
def test_replicas():
    """In a process of its own, since devices are made when it starts."""
    (block,) = blocks(PAGE, "py")
    process = subprocess.run(
        [sys.executable, "-c", block],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
