"""A cache finds each program, in whatever order the tests come."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
# Each with programs of its own, with branches, and some of the others'.
TESTS = (
    "tests/ops/test_gumbel_softmax.py::test_kinds_of_logits",
    "tests/layers/test_hard_concrete_gate.py::TestPenalty"
    "::test_it_reaches_the_gates_in_fit",
    "tests/estimators/test_rules.py"
    "::test_gradient[reinmax-(40, 6)-1.0-float32]",
    "tests/test_schedules.py::test_steps_of_every_kind[graph-uint8]",
)


def programs(folder, tests):
    """Run the tests, and return the names of the programs that are kept."""
    flags = f"--tf_xla_persistent_cache_directory={folder}"
    subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet", *tests],
        env={**os.environ, "TF_XLA_FLAGS": flags},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return {path.name for path in folder.iterdir()}


def test_another_order_makes_no_new_program(tmp_path):
    first = programs(tmp_path, TESTS)
    assert len(first) > 5
    assert programs(tmp_path, TESTS[::-1]) == first
