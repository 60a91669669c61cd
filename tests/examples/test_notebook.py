"""The notebook runs, and shows what it has in the file."""

import pytest

from .reading import ROOT

nbclient = pytest.importorskip("nbclient", reason="it runs the notebook")
nbformat = pytest.importorskip("nbformat")

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def pictures(notebook):
    outputs = [cell.get("outputs", []) for cell in notebook.cells]
    data = [output.get("data", {}) for some in outputs for output in some]
    return sum("image/png" in found for found in data)


def printed(notebook):
    return "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_notebook_runs(tmp_path, monkeypatch):
    kept = nbformat.read(NOTEBOOK, as_version=4)
    again = nbformat.read(NOTEBOOK, as_version=4)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(
        "MPLBACKEND", "module://matplotlib_inline.backend_inline"
    )
    resources = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(again, timeout=300, resources=resources)
    client.execute()
    assert pictures(again) == pictures(kept) == 3
    assert "same next sample: True" in printed(again)
    # The samples are those of the seed: what the page shows is what it draws.
    shares = [line for line in printed(kept).splitlines() if "shares" in line]
    assert shares
    assert shares[0] in printed(again)
