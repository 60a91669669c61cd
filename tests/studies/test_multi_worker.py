import re

import pytest

STEPS = 400


@pytest.mark.slow
def test_multi_worker(run):
    output = run("multi_worker.py")
    row = r"^(\d): (\d+) steps, (\d+) different,\n +loss (\S+) to (\S+), "
    row += r"draws (\d+), weights (\d+)$"
    # A port that somebody else took is one more loss.
    undisturbed, killed = re.split(r"killed lost: [1-4]\n", output)
    assert re.match(r"undisturbed lost: [0-3]\n", undisturbed)
    seen = [re.findall(row, part, re.M) for part in (undisturbed, killed)]
    for part in seen:
        assert [index for index, *_ in part] == ["0", "1"]
        for _, _, different, first, last, _, _ in part:
            # A step that was taken again drew what it had drawn before.
            assert int(different) == STEPS
            assert float(last) < 0.5 * float(first)
        # All end with the same weights, each after noise of its own.
        assert len({weights for *_, weights in part}) == 1
        assert len({draws for *_, draws, _ in part}) == 2
    # It was killed between two checkpoints.
    assert all(int(taken) > STEPS for _, taken, *_ in seen[1])
    # And all that follows is that of the run which nobody disturbed.
    assert [part[3:] for part in seen[0]] == [part[3:] for part in seen[1]]
