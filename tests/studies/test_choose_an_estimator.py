import re

import pytest

from .reading import ESTIMATORS, ink, report_rows


@pytest.mark.slow
def test_choose_an_estimator(run, tmp_path):
    """Eight programs are compiled, and trained: most of a minute."""
    output = run("choose_an_estimator.py", "--output", tmp_path / "new")
    methods = (*ESTIMATORS, "soft", "score_function", "exact")

    polynomial, output = output.split("VAE: ")
    for found in map(report_rows, (polynomial, output)):
        assert {name for name, _ in found} == {*methods} - {"exact"}
    rows = report_rows(output)
    bias, error, *_ = rows["score_function", "-"]
    assert bias < 5 * error

    no_code = float(re.search(r"without code (\S+)", output)[1])
    number = r"(-[\d.]+)"
    means = rf" +{number} \({number}, {number}\)"
    table = re.findall(
        rf"^(\w+) +(0.5|-){means}{means}; +{number}$", output, re.M
    )
    assert {row[0] for row in table} == {*methods}
    for _, _, *numbers in table:
        training, *_, test, lowest, highest, valid = map(float, numbers)
        # One epoch of the ten; a probability of counts is at most one.
        assert no_code + 10 < min(training, test, valid)
        assert max(training, test, valid) < 0
        assert lowest == test == highest

    for name in ("gradients_polynomial", "gradients_vae", "estimators_vae"):
        assert ink(tmp_path / "new" / f"{name}.png").std() > 0.05
