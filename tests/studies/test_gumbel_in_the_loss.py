import math
import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_gumbel_in_the_loss(run, tmp_path):
    output = run("gumbel_in_the_loss.py", "--output", tmp_path / "new")
    number = r" +(\S+)"
    rows = re.findall(rf"^ +([\d.]+){number * 6}$", output, re.M)
    by = {float(row[0]): [*map(float, row[1:])] for row in rows}
    assert set(by) == {2.0, 1.0, 0.5, 0.2, 0.1, 0.05}
    for temperature, (log, d_log, clip, d_clip, logs, d_logs) in by.items():
        if temperature >= 0.2:  # nothing underflows: the same but for noise
            assert abs(log / logs - 1) < 0.05
            assert abs(d_log / d_logs - 1) < 0.05
        else:
            assert math.isinf(log)
            assert math.isnan(d_log)
            assert clip < logs
            assert d_clip < d_logs
    # As 1 / temperature, where the temperature is low.
    assert 1.8 < by[0.05][5] / by[0.1][5] < 2.2
    hard = re.search(rf"^hard, clip{number * 2}$", output, re.M)
    assert float(hard[1]) > 5
    assert float(hard[2]) == 0
    trained = re.search(
        rf"^log_softmax, temperature 0.1{number}$", output, re.M
    )
    assert float(trained[1]) < 4
    assert ink(tmp_path / "new" / "gumbel_in_the_loss.png").std() > 0.05
