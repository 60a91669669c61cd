import re

import pytest

from .reading import ESTIMATORS, ink, report_rows


@pytest.mark.slow
def test_gradient_report(run, tmp_path):
    output = run("gradient_report.py", "--output", tmp_path / "new")
    for name, text in zip(
        ("quadratic", "cubic"), output.split("power 3: "), strict=True
    ):
        assert "relative to the exact one" in text
        rows = report_rows(text)
        assert set(rows) == {
            *((estimator, "1") for estimator in (*ESTIMATORS, "soft")),
            ("score_function", "-"),
        }
        # What theory says of bias: relative, and its standard error beside.
        bias, error, *_ = rows["score_function", "-"]
        assert bias < 5 * error
        bias, error, *_ = rows["reinmax", "1"]
        assert (bias < 5 * error) == (name == "quadratic")
        bias, error, *_ = rows["st", "1"]
        assert bias > 5 * error
        assert ink(tmp_path / "new" / f"gradients_{name}.png").std() > 0.05

        settled = dict(re.findall(r"^(\w+) +(0\.\d+)$", text, re.M))
        assert set(settled) == set(ESTIMATORS)
        best = float(re.search(r"the best choices give (\S+)", text)[1])
        # Not there after 200 steps, but on the way; from 0 on they are not.
        assert best < float(settled["reinmax"]) < float(settled["st"])
