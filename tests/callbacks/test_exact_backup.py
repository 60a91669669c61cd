"""`ExactBackup`: what it restores, and what no kill can do to it.

Of killed processes: `tests/resuming/`. Of every layer:
`tests/conformance/test_resuming.py`.
"""

import pathlib
import shutil

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.variants import slow

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
BATCHES, EPOCHS = 3, 3


class Killed(BaseException):
    """Nothing may run after it, as after SIGKILL."""


class Accident(keras.callbacks.Callback):
    """Killed in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at, self.epoch = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.at:
            raise Killed


# On torch Keras drops out by torch's own generator where there is no seed.
SEED = 3 if keras.config.backend() == "torch" else None


def build():
    """With noise that Keras leaves out of its files, and without a seed."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.Sequential(
                [keras.layers.Dense(4), keras.layers.Dropout(0.5, seed=SEED)]
            ),
            keras.layers.GaussianNoise(0.1),
            keras.layers.Dense(3),
        ]
    )
    # Eager code is the cheapest here: nothing is compiled for a few steps.
    model.compile("adam", "mse", run_eagerly=True)
    return model


def fit(model, *callbacks, **settings):
    return model.fit(
        X,
        X,
        batch_size=len(X) // BATCHES,
        **{"epochs": EPOCHS, "shuffle": False, "verbose": 0, **settings},
        callbacks=list(callbacks),
    )


def states(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(x) for x in variables]


def same(some, others):
    pairs = zip(some, others, strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def backup(folder, **settings):
    return kg.callbacks.ExactBackup(folder, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A beginning without a seed, and what an undisturbed run makes of it."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.raises(Killed):
        fit(build(), Accident(0), backup(root / "begun"))
    shutil.copytree(root / "begun", root / "undisturbed")
    model = build()
    fit(model, backup(root / "undisturbed"))
    return root / "begun", states(model)


@pytest.fixture
def undisturbed(whole, tmp_path):
    """The states at its end; a copy of its beginning is in `begun`."""
    begun, expected = whole
    shutil.copytree(begun, tmp_path / "begun")
    return expected


def test_goes_on_in_another_model(tmp_path, undisturbed):
    """From the first weights on, though there is no seed for them."""
    folder = tmp_path / "begun"
    for at in (0, 1, 2):
        with pytest.raises(Killed):
            fit(build(), Accident(at), backup(folder))
        assert backup(folder).epochs_done == at
    model = build()
    fit(model, backup(folder))
    assert same(states(model), undisturbed)
    assert backup(str(folder)).epochs_done == EPOCHS
    # All is done: another start gives the result again, if that is meant.
    model = build()
    again = backup(folder, existing="resume")
    assert fit(model, again).history == {}
    assert same(states(model), undisturbed)


@pytest.mark.parametrize("at", [4, *slow(0, 1, 2, 3, 5, 6)])
def test_killed_at_any_step_of_writing(tmp_path, undisturbed, monkeypatch, at):
    """Before the `at`-th of the calls that change the folder, in epoch 2."""
    folder = tmp_path / "begun"
    calls = []

    def patch(owner, name):
        true = getattr(owner, name)

        def call(*arguments, **settings):
            if len(calls) == done + at:
                raise Killed
            calls.append(name)
            return true(*arguments, **settings)

        monkeypatch.setattr(owner, name, call)

    fit(build(), backup(folder), epochs=1)
    done = 0
    for owner, name in [
        (shutil, "rmtree"),
        (pathlib.Path, "mkdir"),
        (keras.Model, "save_weights"),
        (np, "savez"),
        (pathlib.Path, "rename"),
    ]:
        patch(owner, name)
    model = build()
    with pytest.raises(Killed):
        fit(model, backup(folder, existing="resume"), epochs=3)
    monkeypatch.undo()
    assert backup(folder).epochs_done == (1 if at < 5 else 2)
    model = build()
    fit(model, backup(folder))
    assert same(states(model), undisturbed)
    assert [x.name for x in folder.iterdir()] == [f"{EPOCHS:08d}"]


def test_what_is_unfinished_is_not_looked_at(tmp_path, undisturbed):
    folder = tmp_path / "begun"
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "model.weights.h5").write_bytes(b"half of it")
    model = build()
    fit(model, backup(folder))
    assert same(states(model), undisturbed)


@pytest.mark.slow
def test_a_later_fit_starts_where_it_is_told_to(tmp_path):
    model = build()
    fit(model, backup(tmp_path / "a"), epochs=2)
    model = build()
    fit(model, backup(tmp_path / "a", existing="resume"), epochs=3)
    assert fit(model, epochs=1).epoch == [0]


def test_a_model_that_is_not_built(tmp_path):
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    callback = backup(tmp_path)
    callback.set_model(model)
    with pytest.raises(ValueError, match=r"Received: model=.*not built"):
        callback.on_train_begin()


def test_another_model_is_refused(tmp_path):
    """More of whose run a folder holds: `test_backup_runs.py`."""
    fit(build(), backup(tmp_path / "a"), epochs=1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    for existing in ("refuse", "resume"):
        with pytest.raises(ValueError, match="could not be loaded"):
            fit(model, backup(tmp_path / "a", existing=existing))


@pytest.mark.slow
class TestWhatTheGuideSaysOfKeras:
    """If one of these fails, docs/reproducibility.md has to change."""

    def keras_backup(self, folder, **settings):
        return keras.callbacks.BackupAndRestore(folder, **settings)

    def iterations(self, model):
        return int(model.optimizer.iterations)

    def test_a_number_of_batches_repeats_part_of_an_epoch(self, tmp_path):
        class Late(Accident):
            def on_train_batch_end(self, batch, logs=None):
                if batch == 2:
                    super().on_train_batch_end(batch)

        with pytest.raises(Killed):
            fit(
                build(),
                self.keras_backup(tmp_path / "a", save_freq=2),
                Late(1),
            )
        model = build()
        fit(model, self.keras_backup(tmp_path / "a", save_freq=2))
        assert self.iterations(model) > EPOCHS * BATCHES

    def test_a_kill_between_its_two_files_repeats_an_epoch(
        self, tmp_path, monkeypatch
    ):
        true = keras.Model.save_weights

        def save_and_die(model, *arguments, **settings):
            true(model, *arguments, **settings)
            if self.iterations(model) == 2 * BATCHES:
                raise Killed

        monkeypatch.setattr(keras.Model, "save_weights", save_and_die)
        with pytest.raises(Killed):
            fit(build(), self.keras_backup(tmp_path / "a"))
        monkeypatch.undo()
        model = build()
        fit(model, self.keras_backup(tmp_path / "a"))
        assert self.iterations(model) == (EPOCHS + 1) * BATCHES

    @pytest.mark.parametrize("double_checkpoint", [False, True])
    @pytest.mark.parametrize(
        ("name", "survives"),
        [("latest.weights.h5", True), ("training_metadata.json", False)],
    )
    def test_a_kill_within_a_file(
        self, tmp_path, name, survives, double_checkpoint
    ):
        """`double_checkpoint` is for the weights alone."""
        options = {"double_checkpoint": double_checkpoint}
        with pytest.raises(Killed):
            fit(
                build(),
                Accident(2),
                self.keras_backup(tmp_path / "a", **options),
            )
        path = tmp_path / "a" / name
        path.write_bytes(path.read_bytes()[: 0 if not survives else 4000])
        again = self.keras_backup(tmp_path / "a", **options)
        if survives and double_checkpoint:
            model = build()
            fit(model, again)
            assert self.iterations(model) == EPOCHS * BATCHES
        else:
            with pytest.raises((OSError, ValueError)):
                fit(build(), again)

    def test_noise_of_its_own_layers_starts_again(self, tmp_path):
        with pytest.raises(Killed):
            fit(build(), Accident(2), self.keras_backup(tmp_path / "a"))
        model = build()
        callback = self.keras_backup(tmp_path / "a")
        callback.set_model(model)
        before = states(model)
        callback.on_train_begin()
        unchanged = [
            v.path
            for v, old in zip(model.variables, before, strict=False)
            if np.array_equal(v, old)
        ]
        assert len(unchanged) == 2
        assert all("seed_generator_state" in path for path in unchanged)
