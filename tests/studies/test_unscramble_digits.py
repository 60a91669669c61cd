import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_unscramble_digits(run, tmp_path):
    output = run("unscramble_digits.py", "--output", tmp_path / "new")
    shares = r"tiles +([\d.]+)%, digits +([\d.]+)%"
    found = re.findall(rf"{shares}\n   by chance: {shares}", output)
    assert len(found) == 2
    for tiles, _, tiles_by_chance, _ in found:
        assert float(tiles) > 1.5 * float(tiles_by_chance)
    assert ink(tmp_path / "new" / "unscramble_digits.png").std() > 0.05
