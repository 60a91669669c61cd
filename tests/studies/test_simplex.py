import base64
import importlib.util
import json
import re
import sys

import numpy as np
import pytest

from .reading import ROOT, ink

P = [0.1, 0.3, 0.6]


def traces(page):
    """What Plotly would draw: the points (n, 3) of each trace, and if shown."""
    data = page.split("Plotly.newPlot(")[1].split(",", 1)[1].lstrip()
    data, _ = json.JSONDecoder().raw_decode(data)
    return [(read(trace, "bca"), trace["visible"]) for trace in data]


def read(trace, names):
    arrays = (base64.b64decode(trace[name]["bdata"]) for name in names)
    return np.stack([np.frombuffer(array, "float64") for array in arrays], -1)


@pytest.mark.slow
def test_simplex(run, tmp_path):
    output = run("simplex.py", "--output", tmp_path / "new")
    cells, end = r"((?: +[\d.]+)", r" (\d) (True|False)$"
    row = rf"^ *([\d.]+) samples{cells}{{7}})\n +density{cells}{{8}}){end}"
    rows = re.findall(row, output, re.M)
    assert [float(t) for t, *_ in rows] == [0.1, 0.3, 0.5, 1, 3, 10]
    for t, samples, density, peaks, convex in rows:
        samples, density = (
            np.array(text.split(), float) for text in (samples, density)
        )
        assert density[-1] == pytest.approx(1, abs=1e-5)
        # 20,000 samples: five standard errors are at most 0.018.
        np.testing.assert_allclose(samples, density[:-1], atol=0.018)
        np.testing.assert_allclose(samples[:3], P, atol=0.018)
        low = float(t) <= 0.5
        assert convex == str(low)
        assert int(peaks) == (float(t) > 1)
    means = np.array([row[1].split()[-3:] for row in rows], float)
    np.testing.assert_allclose(means[0], P, atol=0.018)
    assert np.all(np.diff(np.ptp(means, axis=-1)) < 0)  # towards 1/3 each

    assert ink(tmp_path / "new" / "simplex.png").std() > 0.05
    drawn = traces((tmp_path / "new" / "simplex.html").read_text())
    assert [visible for _, visible in drawn] == [
        *[False] * 3,
        True,
        False,
        False,
    ]
    for points, _ in drawn:
        assert points.shape == (2000, 3)
        np.testing.assert_allclose(points.sum(-1), 1)
        nearest = np.bincount(points.argmax(-1), minlength=3) / 2000
        np.testing.assert_allclose(nearest, P, atol=0.056)
    assert (tmp_path / "new" / "plotly.min.js").stat().st_size > 10**6


def test_says_that_plotly_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "plotly", None)
    script = ROOT / "studies" / "simplex.py"
    spec = importlib.util.spec_from_file_location("simplex", script)
    simplex = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simplex)
    simplex.page({}, tmp_path / "page.html")
    assert "pip install 'keras-gumbel[plot]'" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
