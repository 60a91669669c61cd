import re

import numpy as np
import pytest

from .reading import ink


@pytest.mark.slow
def test_two_voices(run, tmp_path):
    output = run("two_voices.py", "--output", tmp_path / "new")
    row = r"^(law|MSE) (softmax|soft), \S+" + r" +([\d.]+)" * 5 + "$"
    found = {
        tuple(names): np.array(numbers, float)
        for *names, (numbers) in (
            (loss, choice, numbers)
            for loss, choice, *numbers in re.findall(row, output, re.M)
        )
    }
    assert len(found) == 4

    # The squared error makes the mean of all, 27 Hz from the nearer speaker.
    for choice in ("softmax", "soft"):
        off, share, *_ = found["MSE", choice]
        assert off == pytest.approx(27, abs=4)
        assert share == 1
    # Without noise, one voice; with it, both, as often as in the recordings.
    off, share, *heard = found["law", "softmax"]
    assert off < 10
    assert share == 1
    assert np.ptp(heard) < 90
    off, share, *heard = found["law", "soft"]
    assert off < 10
    assert share == pytest.approx(0.7, abs=0.06)
    np.testing.assert_allclose(sorted(heard)[::2], [120, 210], atol=12)
    assert ink(tmp_path / "new" / "two_voices.png").std() > 0.05
