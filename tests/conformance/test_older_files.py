"""Files that earlier versions wrote load, and give what they gave.

What they are: `tests/fixtures/README.md`.
"""

import json
import pathlib
import shutil
import zipfile

import keras
import numpy as np
import pytest
from packaging.version import Version

import keras_gumbel as kg
from tests.fixtures import models
from tests.frameworks import tf

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

pytestmark = pytest.mark.tensorflow

FILES = pathlib.Path(models.__file__).parent
FOLDERS = sorted(FILES.glob("*/*/expected.npz"))


def from_keras_file(folder, tmp_path):
    with zipfile.ZipFile(folder / "model.keras") as archive:
        wrote = json.loads(archive.read("metadata.json"))["keras_version"]
    if Version(keras.__version__) < Version(wrote):
        pytest.skip(f"Keras reads no file of a newer one: {wrote}")
    return keras.models.load_model(folder / "model.keras", compile=False)


def from_weights(folder, tmp_path):
    model = models.model(folder.name)
    (path,) = folder.glob("backup/*/model.weights.h5")
    model.load_weights(path)
    return model


def from_checkpoint(folder, tmp_path):
    model = models.model(folder.name)
    # The scale of the noise was no variable then.
    path = str(folder / "checkpoint")
    tf.train.Checkpoint(model=model).read(path).expect_partial()
    return model


def from_backup(folder, tmp_path):
    shutil.copytree(folder / "backup", tmp_path / "backup")
    model = models.model(folder.name)
    backup = kg.callbacks.ExactBackup(tmp_path / "backup")
    backup.set_model(model)
    backup.on_train_begin()
    return model


def _cases():
    """In the gate, layers with all that they can have, in two ways each."""
    ways = (from_keras_file, from_weights, from_checkpoint, from_backup)
    kept = {
        "gate_schedules": (from_weights, from_checkpoint),
        "quantizer_schedules": (from_keras_file, from_backup),
    }
    for path in FOLDERS:
        folder = path.parent
        for way in ways:
            slow = way not in kept.get(folder.name, ())
            yield pytest.param(
                folder,
                way,
                id=f"{folder.parent.name}-{folder.name}-{way.__name__}",
                marks=[pytest.mark.slow] if slow else [],
            )


@pytest.mark.tensorflow
@pytest.mark.parametrize(("folder", "load"), list(_cases()))
def test_it_goes_on_where_it_was(folder, load, tmp_path):
    model = load(folder, tmp_path)
    made = models.model(folder.name).get_layer("choice")
    choice = model.get_layer("choice")
    assert float(choice.noise_scale) == float(made.noise_scale)
    with np.load(folder / "expected.npz") as expected:
        found = models.state(model)
        assert found.keys() == {*expected}
        if load is not from_backup:
            del found["noise"]  # Keras's own, which it leaves out.
        for name, value in found.items():
            np.testing.assert_allclose(
                value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name
            )


def test_every_layer_is_there():
    layers = {type(make()) for _, make in models.LAYERS.values()}
    public = {x for x in vars(kg).values() if isinstance(x, type)}
    assert layers == {x for x in public if issubclass(x, keras.Layer)}
    assert {path.parent.name for path in FOLDERS} == {*models.LAYERS}
