"""TensorFlow Probability is neither imported nor needed until it is used."""

import subprocess
import sys

import pytest

import keras_gumbel as kg

# In a process of its own, where first the one and then the other is missing.
SCRIPT = """
import sys


class Blocker:
    blocked = None

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


blocker = Blocker()
sys.meta_path.insert(0, blocker)
import keras_gumbel as kg

kg.GumbelSoftmax(hard=True)
assert "tensorflow_probability" not in sys.modules
assert "from_layer" in dir(kg.distributions)
for package in ("tensorflow_probability", "tf_keras"):
    blocker.blocked = package
    try:
        kg.distributions.from_layer
    except ImportError as error:
        message = str(error)
        assert error.name == package
    assert package in message, message
    assert "pip install 'keras-gumbel[probability]'" in message, message
blocker.blocked = None
kg.distributions.from_layer
"""


@pytest.mark.slow
def test_without_it_the_error_says_what_to_install(pytestconfig):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'to_layer'"):
        _ = kg.distributions.to_layer
    assert not hasattr(kg.distributions, "to_layer")
