import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_text_feedback(run, tmp_path):
    output = run("text_feedback.py", "--output", tmp_path / "new")
    rows = re.findall(r"^(\D.*?|0 .*?) {2,}([\d.]+) +([\d.]+)", output, re.M)
    found = {name: (float(loss), float(spaces)) for name, loss, spaces in rows}
    assert set(found) == {"reference", "the least", "0 straight-through, 1"}
    before, least, after = (
        found[name]
        for name in ("reference", "the least", "0 straight-through, 1")
    )
    # More than half of the way there, by texts with more spaces.
    assert least[0] < after[0] < (before[0] + least[0]) / 2
    assert before[1] + 1 < after[1] < 9
    assert ink(tmp_path / "new" / "text_feedback.png").std() > 0.05
