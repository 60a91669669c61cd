"""A configuration that is not what `get_config` wrote is an error.

Keras reads them under its safe mode, which is the default.
"""

import contextlib
import json
import math
import os

import keras
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from keras.src.utils import python_utils

from tests.hostile.files import (
    NAMES,
    WRONG,
    arguments,
    code,
    objects,
    replaced,
    saved,
)
from tests.variants import slow

# The quantizer has every sort of argument.
EACH = ("GumbelQuantizer", "GumbelRao")
each = pytest.mark.parametrize(
    "name", [*EACH, *slow(*(name for name in NAMES if name not in EACH))]
)


@pytest.fixture(scope="module")
def genuine():
    """The object and its configuration, by the name of its class."""
    return {name: (one, saved(one)) for name, one in objects().items()}


def test_every_public_class_that_keras_saves_is_here(genuine):
    registered = {
        name.split(">")[1]
        for name in keras.saving.get_custom_objects()
        if name.startswith("keras_gumbel>")
    }
    # Another model is their argument: `test_archives.py`.
    registered -= {"NoiseInput", "SeedInput"}
    assert set(genuine) == set(NAMES) == registered


def load(config):
    return keras.saving.deserialize_keras_object(config, safe_mode=True)


def equal(one, other):
    """As JSON: a number for the same number, and nothing for anything else."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    return json.dumps(one) == json.dumps(other)


def refused_or_kept(one, config, name, value):
    """An error that names the argument; or the value is taken as it is."""
    try:
        loaded = load(replaced(config, name, value))
    except (TypeError, ValueError) as error:
        # What Keras itself cannot read, it names as it likes.
        keras_reads = name.endswith(("izer", "constraint"))
        keras_reads |= isinstance(value, dict) and "class_name" in value
        # It puts the whole configuration before what went wrong.
        what = str(error).rpartition("Exception encountered:")[2]
        return keras_reads or f"`{name}`" in what
    kept = saved(loaded)["config"][name]
    return type(loaded) is type(one) and equal(kept, value)


@each
def test_a_wrong_value_is_an_error(name, genuine):
    one, config = genuine[name]
    wrong = [
        (argument, kind)
        for argument in arguments(one)
        for kind, value in WRONG.items()
        if not refused_or_kept(one, config, argument, value)
    ]
    assert wrong == []


@each
def test_code_is_an_error_and_does_not_run(
    name, genuine, tmp_path, monkeypatch
):
    one, config = genuine[name]
    marker = tmp_path / "marker"
    monkeypatch.setattr(os, "system", lambda command: marker.touch())
    # Where Keras makes a function of marshalled code.
    made = []
    monkeypatch.setattr(python_utils, "func_load", made.append)
    taken = []
    for argument in arguments(one):
        for kind, value in code(str(marker)).items():
            hostile = replaced(config, argument, value)["config"]
            # Outside of a file, where nothing says that the mode is safe.
            with contextlib.suppress(TypeError, ValueError):
                type(one).from_config(hostile)
                taken.append((argument, kind))
    assert taken == made == []
    assert not marker.exists()


def test_the_code_would_run_without_safe_mode(tmp_path):
    """Or the test above would show nothing."""
    marker = tmp_path / "marker"
    function = keras.saving.deserialize_keras_object(
        code(str(marker))["lambda"], safe_mode=False
    )
    function(0)
    assert marker.exists()


@each
def test_a_key_that_is_missing_or_unknown_is_an_error(name, genuine):
    one, config = genuine[name]
    for argument in arguments(one):
        less = replaced(config, argument, None)
        del less["config"][argument]
        with pytest.raises((TypeError, ValueError), match=argument):
            load(less)
    with pytest.raises((TypeError, ValueError), match="mystery"):
        load(replaced(config, "mystery", 1))
    for nothing in (None, [], "x", 3):
        with pytest.raises((TypeError, ValueError)):
            load({**config, "config": nothing})


def json_values():
    """Anything that a JSON file can hold, and numbers that it hardly can."""
    numbers = strategies.integers() | strategies.floats()
    leaves = strategies.none() | strategies.booleans() | numbers
    leaves |= strategies.text(max_size=5)
    return strategies.recursive(
        leaves,
        lambda inner: (
            strategies.lists(inner, max_size=3)
            | strategies.dictionaries(
                strategies.sampled_from(
                    ["class_name", "config", "module", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=6,
    )


# Sizes are limited, or an honest one would be made in full.
@pytest.mark.slow
@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=strategies.data())
def test_whatever_stands_there(genuine, data):
    name = data.draw(strategies.sampled_from(NAMES))
    one, config = genuine[name]
    argument = data.draw(strategies.sampled_from(arguments(one)))
    value = data.draw(json_values())
    if isinstance(value, int) and abs(value) > 1000 and value == int(value):
        value = math.copysign(1e3, value)
    assert refused_or_kept(one, config, argument, value)
