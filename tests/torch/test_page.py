"""Each block of the page for those who come from torch runs."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "torch.md"


# torch says of its older exporter, which Keras calls, that it is old.
@pytest.mark.filterwarnings("ignore")
def test_its_lines_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```py\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    names = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["each"].shape == names["one"].shape == (4, 10)
    assert names["y"].requires_grad
    assert names["slopes"].shape == names["slope"].shape
