import re
import subprocess
import sys

import pytest

from .reading import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(("options", "seeds"), [(["--smoke"], 1), ([], 20)])
def test_differentiable_argmax(options, seeds):
    output = subprocess.check_output(
        [sys.executable, ROOT / "examples/differentiable_argmax.py", *options],
        text=True,
        timeout=300,
    )
    assert output.count("argmax: gradients [None]") == seeds
    assert output.count("Training ") == 3 * seeds
    tested = re.findall(r"expected y=(\d) pred=(\S+)", output)
    assert len(tested) == seeds + 1
    assert all(int(index) == round(float(pred)) for index, pred in tested)
    assert f"{seeds} of {seeds} right in a loop" in output
