"""Arrays that lie on two devices: the same samples, and little is sent."""

import json
import os
import subprocess
import sys

import pytest

# A hard sample is found in runs of its row: which of them, one number, and
# then the run, which is taken out of the array as if that were one.
FOUND = [["all-gather", 1], ["all-reduce", 20]]
SENT = {
    "noise": [],
    "soft": [],
    "gates": [],
    "hard concrete": [],
    "hard": FOUND,
    "st": FOUND,
    "embedding": FOUND,
    # XLA has its sort of the first few on one device.
    "subset": [["all-gather", 1000]],
}


@pytest.fixture(scope="module")
def told():
    flags = "--xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-m", "tests.jax.two_devices"],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "0"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", SENT)
def test_samples_are_those_of_one_device(name, told):
    assert told["devices"] == {"cpu": 2}
    assert told[name]["equal"]
    assert told[name]["gradient"] < 5e-6


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent(name, told):
    assert told[name]["sent"] == SENT[name]
    assert all(one in FOUND for one in told[name]["sent backward"])


def test_a_model_is_trained_as_on_one_device(told):
    """Its draws are equal: another class would show by far more."""
    assert told["fit"] < 1e-6
