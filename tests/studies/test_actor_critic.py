import re

import pytest

from .reading import ink


@pytest.mark.slow
def test_actor_critic(run, tmp_path):
    output = run("actor_critic.py", "--output", tmp_path / "new")
    (best,) = map(float, re.findall(r"^optimal return ([\d.]+)", output))
    assert best == 0.464
    cells = r" +(-?[\d.]+) \+- ([\d.]+)" * 2
    rows = re.findall(rf"^ +(softmax|softmax, linear){cells}$", output, re.M)
    found = {name: [*map(float, numbers)] for name, *numbers in rows}
    assert [*found] == ["softmax", "softmax, linear"]
    # No policy beats the optimal one, and the linear critic's comes near it.
    assert all(row[0] < best for row in found.values())
    assert found["softmax, linear"][0] > best - 0.15
    assert found["softmax"][0] < found["softmax, linear"][0] - 0.05
    # A linear critic knows the value of a blend, the other does not.
    assert found["softmax, linear"][2] < 1e-3
    assert found["softmax"][2] > 0.02
    assert ink(tmp_path / "new" / "actor_critic.png").std() > 0.05
