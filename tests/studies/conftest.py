"""How the tests run a study."""

import subprocess
import sys

import pytest

from .reading import ROOT


@pytest.fixture
def run(tmp_path):
    """The standard output of a study, run away from the repository."""

    def run_study(name, *arguments):
        script = ROOT / "studies" / name
        process = subprocess.run(
            [sys.executable, script, "--smoke", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    return run_study
