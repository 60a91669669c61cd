import re

import pytest


@pytest.mark.slow
def test_differentiable_argmax(run):
    output = run("differentiable_argmax.py")
    assert "gradients: [None]" in output

    lines = re.findall(r"Training .*|Testing .*", output)
    assert len(lines) == 2 * 4
    assert lines[:4] == lines[4:]
    tested = re.findall(r"expected y=\[(\d)\.\] pred=(\S+)", output)
    assert len(tested) == 2
    assert all(int(index) == round(float(pred)) for index, pred in tested)

    counts = dict(re.findall(r"temperature (\S+): (\d+) of 20", output))
    assert int(counts["0.75"]) < 20
    assert int(counts["10.0"]) == 20

    cells = r"([\d.]+), +(\d+)/20"
    rows = re.findall(rf"^ *(\d+) +{cells} +{cells} +{cells}$", output, re.M)
    assert [row[0] for row in rows] == ["5", "50"]
    for _, error_fixed, fixed, _, _, error, annealed in rows:
        assert int(annealed) == 20 > int(fixed)
        assert float(error) < 0.01 < float(error_fixed)
