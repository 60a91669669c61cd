"""As users have JAX: without numbers of 64 bits."""

import keras
import pytest

if keras.config.backend() != "jax":
    collect_ignore_glob = ["*.py"]


@pytest.fixture(autouse=True)
def _as_users_have_it():
    import jax

    with jax.enable_x64(False):
        yield
