import math
import re

import pytest

from .reading import ink

NUMBER = r" +(-?[\d.]+(?:e[-+]?\d+)?|inf|nan)%?"


@pytest.fixture
def parts(run, tmp_path):
    output = run("softmax_or_gumbel.py", "--output", tmp_path / "new")
    rows = rf"^ *(softmax|soft|hard) +[\d.]+{NUMBER * 6}$"
    parts = output.split("the next word")
    return output, [
        {row[0]: [*map(float, row[1:])] for row in re.findall(rows, part, re.M)}
        for part in parts
    ]


@pytest.mark.slow
def test_softmax_or_gumbel(parts, tmp_path):
    output, (choice, word) = parts
    assert choice.keys() == word.keys() == {"softmax", "soft", "hard"}

    # One of 4, at temperature 0.1: largest, one-hot, law, bias, +-, variance.
    chance = float(re.search(r"law is (\S+) off by chance", output)[1])
    assert choice["softmax"][2] == pytest.approx(0.6)  # always the likeliest
    for name in ("soft", "hard"):
        *_, law, bias, error, variance = choice[name]
        assert law < 5 * chance
        assert bias < 0.2 < 1 < choice["softmax"][3]
        assert 0 < 3 * error < 0.2
        assert variance > 1e3 * choice["softmax"][5]
    assert choice["hard"][:2] == [1, 100]
    assert 0.9 < choice["softmax"][0] < 1
    assert choice["softmax"][1] == 0 < choice["soft"][1] < 50

    # Loss, infinite, largest gradient, its variance, P(are) by -log y, clipped.
    assert word["softmax"][1] == 0
    assert word["softmax"][4:] == pytest.approx([0.6, 0.6], abs=0.03)
    # Two draws of 0.6 and 0.4 differ in 2 * 0.6 * 0.4 of the cases.
    assert word["hard"][1] == pytest.approx(48, abs=1.5)
    assert word["hard"][5] == 0.5  # no gradient, and so where it began
    assert 0 < word["soft"][1] < 0.1
    # Of a finite loss the gradient is at most sqrt(2) / temperature.
    assert word["soft"][2] == pytest.approx(2**0.5 / 0.1, rel=1e-3)
    for name in ("soft", "hard"):
        assert word[name][0] == math.inf
        assert math.isnan(word[name][4])
    assert ink(tmp_path / "new" / "softmax_or_gumbel.png").std() > 0.05
