import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_sort_numbers(run, tmp_path):
    output = run("sort_numbers.py", "--output", tmp_path / "new")
    rows = re.findall(r"^ *(\d+) +([\d.]+)% +([\d.]+)%$", output, re.M)
    assert [size for size, *_ in rows] == ["8", "4"]
    # By chance one list of 4 in 24 is sorted, and one of 8 in 40320.
    by_size = {size: float(share) for size, share, _ in rows}
    assert by_size["4"] > 50
    assert by_size["8"] > 5
    assert all(float(argmax) < float(share) for _, share, argmax in rows)
    assert ink(tmp_path / "new" / "sort_numbers.png").std() > 0.05
