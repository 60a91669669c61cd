"""Whole files that were tampered with: an error, and nothing runs."""

import io
import json
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.hostile.audited import ABSURD, GIB, in_layer
from tests.hostile.files import rewrite

WEIGHTS = "model.weights.h5"
# Live scalars and the stream have names, other weights numbers.
CHOICE = "layers/gumbel_softmax/vars"
GATE = "layers/hard_concrete_gate/vars"
STREAM = f"{CHOICE}/seed_generator_state"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """What a model saved that has a stream, a count and live scalars."""
    schedule = kg.schedules.ExponentialAnnealing(1.0, 0.1, 0.5)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            kg.GumbelSoftmax(schedule, seed=3, name="choice"),
            kg.HardConcreteGate(l0_weight=0.1, name="gate"),
        ]
    )
    path = tmp_path_factory.mktemp("genuine") / "model.keras"
    model.save(path)
    return path


def with_weights(path, to, change):
    """A copy of the archive in which `change` was made to the HDF5 file."""

    def member(name, data):
        if name != WEIGHTS:
            return data
        file = io.BytesIO(data)
        with h5py.File(file, "a") as weights:
            change(weights)
        return file.getvalue()

    return rewrite(path, to, member)


def test_an_archive_that_was_only_written_again_loads(archive, tmp_path):
    same = with_weights(archive, tmp_path / "a.keras", lambda weights: None)
    same = rewrite(same, tmp_path / "b.keras", in_layer("none", "x", 1))
    model = keras.models.load_model(same)
    assert model.get_layer("choice").seed == 3
    for name in (f"{CHOICE}/iterations", f"{GATE}/0", f"{GATE}/l0_weight"):
        with_weights(same, tmp_path / "c.keras", lambda x, name=name: x[name])


def put(name, value):
    """A change: other numbers in the place of these."""

    def change(weights):
        del weights[name]
        weights[name] = value

    return change


def move(name, to):
    return lambda weights: weights.move(name, to)


def leave_out(name):
    return lambda weights: weights.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put(f"{CHOICE}/temperature", np.float32("nan")),
            "`temperature`.*=nan",
        ),
        (put(f"{CHOICE}/temperature", np.float32(-1)), "`temperature`.*=-1"),
        (
            put(f"{CHOICE}/temperature", np.float32("inf")),
            "`temperature`.*=inf",
        ),
        (put(f"{CHOICE}/temperature", np.ones(3, "float32")), "shape"),
        (put(f"{CHOICE}/iterations", np.int64(-7)), "`iterations`.*=-7"),
        (put(f"{CHOICE}/noise_scale", np.float32(-1)), "`noise_scale`.*=-1"),
        (put(f"{CHOICE}/noise_scale", np.ones(3, "float32")), "shape"),
        (put(f"{GATE}/temperature", np.float32(-1)), "`temperature`.*=-1"),
        (put(f"{GATE}/l0_weight", np.float32("nan")), "`l0_weight`.*=nan"),
        (leave_out(f"{GATE}/0"), r"missing \['0'\], unknown \[\]"),
        (move(f"{GATE}/0", f"{GATE}/mystery"), r"unknown \['mystery'\]"),
        (put(f"{GATE}/0", np.zeros(9, "float32")), "shape"),
        (put(STREAM, np.array([-1, 5])), "`seed_generator_state`"),
        (put(STREAM, np.array([3, -5])), "`seed_generator_state`"),
        (put(STREAM, np.array([3.0, np.nan])), "`seed_generator_state`"),
        (put(STREAM, np.arange(4)), "`seed_generator_state`"),
        (put(STREAM, b"import os"), "`seed_generator_state`"),
        (leave_out(STREAM), "`seed_generator_state`.*None"),
        (leave_out(CHOICE), "`seed_generator_state`.*None"),
    ],
)
def test_other_weights_are_an_error(archive, tmp_path, change, message):
    hostile = with_weights(archive, tmp_path / "hostile.keras", change)
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        keras.models.load_model(hostile)


@pytest.mark.parametrize("left", [0, 100, 3000])
def test_half_a_file_is_an_error(archive, tmp_path, left):
    def cut(name, data):
        return data[:left] if name == WEIGHTS else data

    hostile = rewrite(archive, tmp_path / "hostile.keras", cut)
    with pytest.raises((OSError, ValueError, KeyError)):
        keras.models.load_model(hostile)
    (tmp_path / "half.keras").write_bytes(archive.read_bytes()[:left])
    with pytest.raises((OSError, ValueError, zipfile.BadZipFile)):
        keras.models.load_model(tmp_path / "half.keras")


def test_nesting_without_end_is_an_error(archive, tmp_path):
    deep = json.loads("[" * 900 + "]" * 900)
    change = in_layer("choice", "temperature", deep)
    hostile = rewrite(archive, tmp_path / "hostile.keras", change)
    with pytest.raises((ValueError, TypeError, RecursionError)):
        keras.models.load_model(hostile)


@pytest.mark.parametrize("model", [None, "x", {}, 3, [1]])
@pytest.mark.parametrize("name", ["noise", "seed"])
def test_a_model_with_an_input_more_holds_a_model(name, model):
    """`NoiseInput`, of which there is no other argument, and `SeedInput`."""
    inner = keras.Sequential([keras.Input((5,)), kg.GumbelSoftmax()])
    given = getattr(kg.export, f"with_{name}_input")(inner)
    config = given.get_layer(f"with_{name}").get_config()
    of_layer = type(given.get_layer(f"with_{name}"))
    assert of_layer.from_config(config).get_config() == config
    with pytest.raises(TypeError, match=r"`model` must be.*Received: model="):
        of_layer.from_config({**config, "model": model})
    del config["model"]
    with pytest.raises(ValueError, match=r"Missing: \['model'\]"):
        of_layer.from_config(config)


@pytest.mark.parametrize("draws", [None, "x", 0, -1, 2.5, True, [1]])
def test_a_model_with_a_seed_draws_a_whole_number(draws):
    inner = keras.Sequential([keras.Input((5,)), kg.GumbelSoftmax()])
    layer = kg.export.with_seed_input(inner).get_layer("with_seed")
    config = {**layer.get_config(), "draws": draws}
    with pytest.raises((TypeError, ValueError), match=r"`draws`.*Received"):
        type(layer).from_config(config)


@pytest.fixture(scope="module")
def seen(tmp_path_factory, pytestconfig):
    """What a process with little memory and time saw."""
    folder = tmp_path_factory.mktemp("hostile")
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.audited", str(folder)],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (folder / "marker").exists()
    return json.loads((folder / "seen.json").read_text())


@pytest.mark.slow
def test_no_code_of_a_file_runs(seen):
    """By the interpreter's own audit: no code, process or file is made."""
    assert seen["genuine"] == seen["given"] == {"error": None, "events": []}
    assert any("marshal.loads" in event for event in seen["unsafe"]["events"])
    assert len(seen["code"]) > 100
    for name, found in seen["code"].items():
        assert found["error"].startswith(("TypeError", "ValueError")), name
        assert found["events"] == [], name


@pytest.mark.slow
def test_absurd_sizes_cost_nothing(seen):
    """An error, or a layer that has yet to do what it was asked for."""
    loaded = {name for name, x in seen["absurd"].items() if not x["error"]}
    assert loaded == {
        "choice.temperature",  # a number, in place of a schedule
        "choice.noise_scale",
        "choice.estimator",
        "square.num_iterations",
    }
    assert len(seen["absurd"]) == len(ABSURD)
    assert seen["memory"] < GIB
