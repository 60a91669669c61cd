import re

import numpy as np
import pytest

from .reading import ink


@pytest.mark.slow
def test_discrete_vae(run, tmp_path):
    output = run("discrete_vae.py", "--output", tmp_path, "--codes", "32")
    found = re.findall(r"^(\D+|.*\)): ([\d.]+) dB$", output, re.M)
    decibels = {name: float(number) for name, number in found}
    one_colour = decibels["means of (424, 160)"]
    assert min(decibels.values()) == one_colour
    assert decibels["relaxed codes"] > one_colour + 1
    # A short training: the mean colours of the cells are far better.
    assert decibels["means of (4, 4)"] > decibels["relaxed codes"]

    used, bits, differ = re.search(
        r"^(\d+) codes, ([\d.]+) bits/pixel, differ=(\d+)$", output, re.M
    ).groups()
    assert 1 < int(used) <= 32
    assert differ == "0"
    codes = np.load(tmp_path / "discrete_vae.npz")["codes"]
    assert codes.shape == (2, 424 // 4, 640 // 4, 1)
    assert codes.dtype == np.uint16
    assert codes.max() < 32
    assert len(np.unique(codes)) == int(used)
    # 5 bits a code, 16 pixels a code, and what the file is in.
    assert 0 < float(bits) < 5 / 16 + 0.01
    perplexity = re.search(r"perplexity while training: (\d+)", output)[1]
    assert 2 <= int(perplexity) <= 32
    assert ink(tmp_path / "discrete_vae.png").std() > 0.1
