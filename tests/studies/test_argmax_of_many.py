import re

import pytest


@pytest.mark.slow
def test_argmax_of_many(run):
    output = run("argmax_of_many.py")
    counts = dict(re.findall(r"temperature (\S+): (\d+) of 20", output))
    assert int(counts["0.75"]) < 20
    assert int(counts["10.0"]) == 20

    cells = r"([\d.]+), +(\d+)/20"
    rows = re.findall(rf"^ *(\d+) +{cells} +{cells} +{cells}$", output, re.M)
    assert [row[0] for row in rows] == ["5", "50"]
    for _, error_fixed, fixed, _, _, error, annealed in rows:
        assert int(annealed) == 20 > int(fixed)
        assert float(error) < 0.01 < float(error_fixed)
