import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_binary_weights(run, tmp_path):
    output = run("binary_weights.py", "--output", tmp_path / "new")
    row = r"^ *(\S.*?) +(\d+) +(0\.\d+) +(0\.\d+) +(0\.\d+)$"
    rows = {name: row for name, *row in re.findall(row, output, re.M)}
    weights = 64 * 128 + 128 * 128 + 128 * 10
    assert {name: int(row[0]) for name, row in rows.items()} == {
        "float32": 32 * weights,
        "signs afterwards": weights,
        "and batch norm": weights,
        "signs": weights,
        "stochastic signs": weights,
    }
    accuracy = {name: float(row[1]) for name, row in rows.items()}
    assert accuracy["float32"] > 0.95
    # A tenth is chance: the signs are trained, and not taken afterwards.
    assert accuracy["signs"] > 0.93
    assert accuracy["signs afterwards"] < accuracy["signs"] - 0.1
    assert accuracy["and batch norm"] > accuracy["signs afterwards"] + 0.1
    assert accuracy["stochastic signs"] > 0.5
    assert ink(tmp_path / "new" / "binary_weights.png").std() > 0.05
