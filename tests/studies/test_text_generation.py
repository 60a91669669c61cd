import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_text_generation(run, tmp_path):
    output = run("text_generation.py", "--output", tmp_path / "new")
    characters, bits = re.search(r"(\d+) char.*, (\S+) bits", output).groups()
    assert int(characters) > 100_000
    # Guessing one of 27 takes 4.75 bits, from how frequent each is about 4.1.
    assert float(bits) < 4
    noise = re.findall(
        r"^noise (\S+): (\S+) of .*\n {4}([a-z ]{64})$", output, re.M
    )
    scales, shares, texts = zip(*noise, strict=True)
    assert scales == ("0.0", "0.25", "0.5", "0.75", "1.0")
    assert float(shares[0]) > float(shares[2]) > float(shares[4])
    # Without noise every text is the same.
    assert texts[0][:32] == texts[0][32:]
    assert texts[4][:32] != texts[4][32:]
    assert ink(tmp_path / "new" / "text_generation.png").std() > 0.05
