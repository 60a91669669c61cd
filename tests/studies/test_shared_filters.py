import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_shared_filters(run, tmp_path):
    output = run("shared_filters.py", "--output", tmp_path / "new")
    row = r"^(\S+) +(\d+) +(0\.\d+) +0\.\d+ +0\.\d+ +(\S+)$"
    rows = {name: row for name, *row in re.findall(row, output, re.M)}
    assert set(rows) == {"float32", "argmax", "fixed"}
    # A coefficient and 4 bits for each of 8 fragments of a unit.
    chosen = 8 * (128 + 128 + 10) * (32 + 4)
    shared = 32 * 16 * (64 // 8 + 128 // 8 + 128 // 8)
    assert int(rows["argmax"][0]) == int(rows["fixed"][0]) == chosen + shared
    assert int(rows["float32"][0]) == 32 * (64 * 128 + 128 * 128 + 128 * 10)
    assert all(float(accuracy) > 0.9 for _, accuracy, _ in rows.values())
    # What is straight through changes choices, and what is fixed does not.
    assert float(rows["argmax"][2]) > 0.01
    assert float(rows["fixed"][2]) == 0
    assert ink(tmp_path / "new" / "shared_filters.png").std() > 0.05
