import importlib.util
import re
from itertools import islice

import numpy as np
import pytest

from .reading import ROOT, ink

pytest.importorskip("gymnasium", reason="CartPole is gymnasium's")


@pytest.mark.slow
def test_cart_pole(run, tmp_path):
    output = run("cart_pole.py", "--output", tmp_path / "new")
    cells = r" +([\d.]+) \+- ([\d.]+)" * 2
    rows = re.findall(rf"^ +(score|softmax, linear){cells}$", output, re.M)
    found = {name: [*map(float, numbers)] for name, *numbers in rows}
    assert [*found] == ["score", "softmax, linear"]
    # A random policy's episodes are of 22 steps.
    assert all(35 < row[0] <= 500 for row in found.values())
    # Only a linear critic knows the value of a blend.
    assert found["softmax, linear"][2] < 1e-2
    assert found["score"][2] > 0.1
    assert ink(tmp_path / "new" / "cart_pole.png").std() > 0.05


def test_transitions_are_those_of_the_carts():
    path = ROOT / "studies" / "cart_pole.py"
    spec = importlib.util.spec_from_file_location("cart_pole", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    def balance(state):  # half of the carts by hand, the others always right
        right = state[..., 2] / 10 + state[..., 3] > 0
        right[:, ::2] = True
        return np.stack([~right, right], axis=-1).astype("float32")

    rows = np.stack([*islice(example.transitions(balance, 0), 520)])
    state, action, then, end = np.split(rows, (4, 6, 10), axis=-1)
    reward, stands = end[..., 0], end[..., 1]
    state, then = state / example.UNITS, then / example.UNITS
    assert np.array_equal(action, np.stack([balance(s) for s in rows[..., :4]]))
    assert np.array_equal(state[1:], then[:-1])
    # Where there is a reward, x' = x + 0.02 v; elsewhere is a new start.
    place = state[..., 0] + 0.02 * state[..., 1]
    real = reward == 1
    np.testing.assert_allclose(then[real][:, 0], place[real], atol=1e-5)
    assert np.all(reward[~real] == 0)
    assert np.abs(then[~real]).max() <= 0.0501
    # It ends there only by a fall, or leaving the track, not after 500 steps.
    out = (np.abs(then[..., 0]) > 2.4) | (np.abs(then[..., 2]) > np.radians(12))
    assert np.array_equal(stands == 0, out)
    assert out.any()
    cut = ~real[500] & (stands[499] == 1)
    assert cut.any()
