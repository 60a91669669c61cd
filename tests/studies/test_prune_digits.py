import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_prune_digits(run, tmp_path):
    output = run("prune_digits.py", "--output", tmp_path / "new")
    row = r"^ +(\S+) +(\d+) +(\d+) +(\d+) +(0\.\d+) +(\d+)  (.*)$"
    dense, gated = re.findall(row, output, re.M)
    assert dense[:4] == ("dense", "64", "128", "64")
    assert int(dense[5]) == 65 * 128 + 129 * 64 + 65 * 10
    assert gated[6] == "453 of 453 predictions the same"
    # A part of every layer is gone, and of the answers only some.
    a, b, c = left = [int(count) for count in gated[1:4]]
    assert all(map(int.__lt__, left, (64, 128, 64)))
    assert int(gated[5]) == (a + 1) * b + (b + 1) * c + (c + 1) * 10
    assert 0.7 < float(gated[4]) < 1
    assert ink(tmp_path / "new" / "prune_digits.png").std() > 0.1
