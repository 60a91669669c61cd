import math
import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_modality_gate(run, tmp_path):
    output = run("modality_gate.py", "--output", tmp_path / "new")
    row = (
        r"^ *([a-z.,01 ]+?)"
        + r"  ([\d.]+) \+- [\d.]+" * 3
        + r"((?:  [\d.]+){8})$"
    )
    found = re.findall(row, output, re.M)
    accuracy = {name: float(likeliest) for name, likeliest, *_ in found}
    drawn = {name: float(drawn) for name, _, drawn, *_ in found}
    largest = {name: float(p) for name, _, _, p, _ in found}
    quarters = {name: [*map(float, cells.split())] for name, *_, cells in found}
    assert len(found) == 5

    # The gate finds the view without being told; chance is a third.
    assert quarters["oracle"][:4] == [1] * 4
    assert quarters["hard, 1"][0] > 0.8
    picks = quarters["hard, 1"][:4]
    assert picks == sorted(picks, reverse=True)
    assert accuracy["oracle"] > accuracy["hard, 1"] > accuracy["mean"] > 0.2

    # What is 0 or 1 at most has odds of e at most.
    cap = math.e / (math.e + 2)
    assert 0.5 < largest["sigmoid, 0.1"] <= cap + 5e-4
    assert largest["hard, 1"] > 0.9
    # So a view that is drawn is often another; a sure gate's is not.
    assert drawn["sigmoid, 0.1"] < accuracy["sigmoid, 0.1"] - 0.03
    assert drawn["hard, 1"] == pytest.approx(accuracy["hard, 1"], abs=0.03)

    # A temperature for each example, and the fixed ones as they were set.
    own = quarters["hard, own"][4:]
    assert own[3] > 1.2 * own[0] > 0.12
    assert quarters["hard, 1"][4:] == [1] * 4
    assert quarters["sigmoid, 0.1"][4:] == [0.1] * 4
    assert ink(tmp_path / "new" / "modality_gate.png").std() > 0.05
