"""Seeds for the whole suite, and a clean session for each test."""

import gc
import os
import pathlib
import re
import secrets

import keras
import pytest

DEFAULT_SEED = 17
BACKEND = keras.config.backend()
# Tests, or rows of tests, that take TensorFlow too long for its gate.
NIGHTS = pathlib.Path(__file__).parent / "tensorflow_nights.txt"
# What is TensorFlow's own, or of the programs and exports that ask for it.
NOT_WITHOUT_TENSORFLOW = (
    *("examples", "studies"),
    *("export", "distributions", "resuming"),
)
# And what the modules import that ask for it.
OF_TENSORFLOW = re.compile(
    r"^(?:import|from) (?:tensorflow|playwright"
    r"|keras_gumbel\.backend\.tensorflow|tests\.test_compiled_program)",
    re.MULTILINE,
)


def pytest_ignore_collect(collection_path):
    """Without TensorFlow no module is collected that imports it."""
    if BACKEND == "tensorflow":
        return None
    own = collection_path.name in NOT_WITHOUT_TENSORFLOW
    if collection_path.suffix == ".py":
        own = OF_TENSORFLOW.search(pathlib.Path(collection_path).read_text())
    return True if own else None


def pytest_runtest_setup(item):
    """Nor is a test run that is TensorFlow's own."""
    if BACKEND != "tensorflow" and item.get_closest_marker("tensorflow"):
        pytest.skip("of TensorFlow alone")


def pytest_addoption(parser):
    group = parser.getgroup("seed", "the seed of every stochastic test")
    group.addoption(
        "--fixed-seed",
        type=int,
        default=DEFAULT_SEED,
        help=f"the base seed (default: {DEFAULT_SEED})",
    )
    group.addoption(
        "--vary-seed",
        action="store_true",
        help="draw a fresh base seed, and print it",
    )


def pytest_configure(config):
    # A worker of pytest-xdist gets the seed that the controller drew.
    if config.option.vary_seed and not hasattr(config, "workerinput"):
        config.option.fixed_seed = secrets.randbelow(2**31)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        # On GPUs that have it, TF32 would round float32 to 10 bits.
        tf.config.experimental.enable_tensor_float_32_execution(False)
        if "persistent_cache" in os.environ.get("TF_XLA_FLAGS", ""):
            from tests import program_names

            program_names.install()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Which rows of a test are slow, and which slow tests are for nights.

    A test names the first by `slow_ids`, a module the second by
    `SLOW_IS_NIGHTLY`; on TensorFlow a file names more of the first.
    """
    nights = _nights() if BACKEND == "tensorflow" else set()
    named, found = set(nights), set()
    for item in items:
        one = {item.nodeid, item.nodeid.partition("[")[0]} & nights
        if one:
            found |= one
            item.add_marker(pytest.mark.slow)
        rows = item.get_closest_marker("slow_ids")
        if rows:
            test = item.function.__qualname__
            named.update((test, row) for row in rows.args)
            found.add((test, item.callspec.id))
            if item.callspec.id in rows.args:
                item.add_marker(pytest.mark.slow)
        nightly = getattr(getattr(item, "module", None), "SLOW_IS_NIGHTLY", 0)
        if nightly and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.nightly)
    # A row that is asked for by its name comes without the others, and other
    # backends do without some.
    some = any("::" in name for name in config.args)
    files = {item.nodeid.partition("::")[0] for item in items}
    lost = {
        name
        for name in named - found
        if isinstance(name, tuple) or name.partition("::")[0] in files
    }
    if lost and BACKEND == "tensorflow" and not some:
        raise pytest.UsageError(f"slow, but not there: {lost}")


def _nights():
    lines = NIGHTS.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def pytest_collection_finish():
    """What was imported stays to the end: no collection looks at it again."""
    gc.freeze()


def pytest_runtest_teardown(item, nextitem):
    """At the end of a file what it left is collected, once.

    The rest, such as programs, stays: no collection looks at it again. One that
    looked at all of it took 17 seconds.
    """
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def pytest_report_header(config):
    seed = config.option.fixed_seed
    return f"seed: {seed} (again: --fixed-seed={seed})"


def pytest_terminal_summary(terminalreporter, config):
    # Quiet runs have no header.
    if config.option.vary_seed:
        terminalreporter.write_line(pytest_report_header(config))


@pytest.fixture(scope="session")
def seed(pytestconfig):
    """The base seed: below 2**31, so that `seed + 1` is a seed too."""
    return pytestconfig.option.fixed_seed


@pytest.fixture(autouse=True)
def _clean_session(seed):
    """No names, policy or generator of one test reaches the next."""
    # Collecting garbage after each of many small tests costs more than they.
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
