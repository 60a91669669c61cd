"""Where the examples are, and how a test runs one."""

import importlib.util
from pathlib import Path

import keras

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*.py"))


def run(name):
    """What an example, run from top to bottom, leaves behind."""
    keras.utils.set_random_seed(0)
    path = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
