"""Each backend gives what every backend has written: see `tests.golden`."""

import shutil

import keras
import numpy as np
import pytest

from tests.golden import CASES, FOLDER, NOISE, X, sample, train
from tests.harness import to_numpy

WRITERS = sorted(path.stem for path in FOLDER.glob("*.npz"))
# Of the largest: sums in another order, and another exponential.
TOLERANCE = 5e-6


@pytest.fixture(scope="module")
def written():
    return {name: np.load(FOLDER / f"{name}.npz") for name in WRITERS}


@pytest.mark.parametrize("name", CASES)
def test_samples_and_gradients(name, written):
    is_hard = CASES[name][-1]
    value, *slopes = sample(name)
    if not is_hard:
        slopes = [value, *slopes]
    for writer, arrays in written.items():
        if is_hard:
            right = arrays[f"{name}/0"]
            np.testing.assert_array_equal(value, right, err_msg=writer)
        for n, found in enumerate(slopes, int(is_hard)):
            if found is None:  # nothing connects it; others say 0
                continue
            right = arrays[f"{name}/{n}"]
            atol = TOLERANCE * max(np.abs(right).max(), 1e-30)
            np.testing.assert_allclose(
                found, right, rtol=0, atol=atol, err_msg=writer
            )


@pytest.mark.parametrize("name", NOISE)
def test_noise(name, written):
    (found,) = sample(name)
    for writer, arrays in written.items():
        right = arrays[f"{name}/0"]
        if right.dtype.kind == "f":
            np.testing.assert_allclose(
                found, right, rtol=1e-6, atol=1e-6, err_msg=writer
            )
        else:
            np.testing.assert_array_equal(found, right, err_msg=writer)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_goes_on(writer):
    """With the stream, the schedule's count and the temperature."""
    written = np.load(FOLDER / f"{writer}.npz")
    model = keras.models.load_model(FOLDER / f"{writer}.keras")
    found = to_numpy(model(X[:, 0], training=True))
    right = written["next/0"]
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-6)
    temperature = to_numpy(model.layers[0].temperature)
    assert temperature == pytest.approx(float(written["next/1"]), rel=1e-6)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_run_goes_on_from_a_backup(writer, tmp_path):
    """By `ExactBackup`, to where the writer came: with Adam and its stream."""
    written = np.load(FOLDER / f"{writer}.npz")
    shutil.copytree(FOLDER / f"{writer}-backup", tmp_path, dirs_exist_ok=True)
    # Begun anew, its kernels would have stayed where they are.
    found = train(tmp_path, epochs=4, initializer="zeros")
    for n, array in enumerate(found):
        right = written[f"resumed/{n}"]
        np.testing.assert_allclose(array, right, rtol=1e-5, atol=1e-6)


def test_every_backend_has_written():
    assert WRITERS == ["jax", "tensorflow", "torch"]
