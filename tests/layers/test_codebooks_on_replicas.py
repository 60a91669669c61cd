"""Two replicas end with one codebook, to the last bit."""

import json
import pathlib
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.tensorflow
def test_replicas_keep_identical_codebooks():
    script = pathlib.Path(__file__).with_name("replicas_of_codebooks.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {*found} == {"ema", "loss", "projection", "distance"}
    for name, one in found.items():
        assert one["apart"] == 0.0, name
        assert one["used"] > 16, name
