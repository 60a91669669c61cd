"""Which framework Keras runs on, found out before it is imported."""

import importlib.util
import json
import os
import sys
from pathlib import Path

# Each supported framework, and the extra that installs it.
EXTRAS = {"tensorflow": None, "jax": "jax", "torch": "torch"}


def _found() -> str:
    """Return one of these, or raise an ImportError if it is unavailable."""
    wanted = _setting()
    if wanted not in EXTRAS:
        raise ImportError(
            "keras_gumbel runs on the TensorFlow, JAX and torch backends of "
            "Keras. Set the environment variable KERAS_BACKEND to "
            "'tensorflow', 'jax' or 'torch' before Keras is imported. "
            f"Received: a Keras backend of {wanted!r}"
        )
    if importlib.util.find_spec(wanted) is None:
        extra = EXTRAS[wanted]
        package = "tensorflow" if extra is None else f"keras-gumbel[{extra}]"
        raise ImportError(
            f"Keras is set to the backend {wanted!r}, which is not installed: "
            f"`pip install '{package}'`, or set KERAS_BACKEND to one that is. "
            f"Received: a Keras backend of {wanted!r}"
        )
    return wanted


def _setting() -> str:
    """Return the backend that Keras has, or will have, by Keras's rules."""
    if "keras" in sys.modules:
        import keras

        return keras.config.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        config = json.loads((Path(home) / "keras.json").read_text())
    except (OSError, ValueError):
        config = {}
    found: str = config.get("backend", "tensorflow")
    return found


# `"tensorflow"`, `"jax"` or `"torch"`.
NAME = _found()
