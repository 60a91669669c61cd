import re

import pytest

from .reading import ink

CODED = {
    "VectorQuantizer",
    "VectorQuantizer, sampled",
    "GumbelQuantizer",
    "FiniteScalarQuantizer, 8 levels",
    "FiniteScalarQuantizer, 2 levels",
}


@pytest.mark.slow
def test_codebooks(run, tmp_path):
    output = run("codebooks.py", "--output", tmp_path / "new")
    variance = float(re.search(r"photographs: variance ([\d.]+)", output)[1])
    found = re.findall(
        r"^(\w.*?) +(\d+|-) +(0\.\d+)(?: +(0\.\d+) +([\d.]+))?$", output, re.M
    )
    rows = {(name, bits): rest for name, bits, *rest in found}
    means = ("k-means, no network", "9")
    floor = ("32 numbers, no codes", "-")
    assert rows.keys() - {means, floor} == {
        (name, bits) for name in CODED for bits in ("9", "24")
    }
    error = {row: float(numbers[0]) for row, numbers in rows.items()}
    for name in CODED:
        for bits in ("9", "24"):
            # Two passes are enough to tell a patch from their mean.
            assert error[floor] < error[name, bits] < variance / 2
            assert rows[name, bits][1] == rows[name, bits][0]  # of one seed
            assert 0 < float(rows[name, bits][2]) <= int(bits)
    assert error[means] < variance / 2
    nearest = [error["VectorQuantizer", bits] for bits in ("9", "24")]
    assert nearest[1] < nearest[0]
    assert ink(tmp_path / "new" / "codebooks.png").std() > 0.1
