"""`ExactBackup`: whose run a folder holds, and what is done with another's.

A fold of a cross-validation and a tuner's trial have the configuration and
the shapes of the one before; in its folder they trained no epoch at all.
"""

import json
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.callbacks import runs
from tests.callbacks.test_exact_backup import (
    EPOCHS,
    Accident,
    Killed,
    build,
    fit,
    same,
    states,
)
from tests.conformance.registry import LAYERS, each_of
from tests.variants import slow, slow_rows

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True


def small(units=3, rate=0.1, **settings):
    """One whose weights begin anew each time; nothing is compiled."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(units),
            keras.layers.Dropout(rate),
            keras.layers.Dense(3),
        ]
    )
    settings = {"optimizer": "sgd", "loss": "mse", **settings}
    model.compile(**settings, run_eagerly=True)
    return model


def backup(folder, **settings):
    return kg.callbacks.ExactBackup(folder, **settings)


def interrupted(model, *callbacks, at=1, **settings):
    with pytest.raises(Killed):
        fit(model, Accident(at), *callbacks, **settings)


def as_of_another_process(monkeypatch):
    """Forget what this process has trained."""
    monkeypatch.setattr(runs, "_HERE", {})


class TestAnotherRun:
    """Whatever can be told of it; and nothing is changed by a refusal."""

    def refused(self, folder, model, reason, received="", **settings):
        before = model.get_weights()
        names = sorted(x.name for x in folder.rglob("*"))
        epochs = settings.pop("epochs", EPOCHS)
        with pytest.raises(ValueError, match=reason) as error:
            fit(model, backup(folder, **settings), epochs=epochs)
        message = str(error.value)
        for remedy in ("existing='restart'", "existing='resume'", "run="):
            assert remedy in message
        assert re.search(rf"Received: folder='{folder}'.*{received}", message)
        assert same(model.get_weights(), before)
        assert sorted(x.name for x in folder.rglob("*")) == names

    @pytest.mark.parametrize("epochs", [EPOCHS, *slow(1)])
    def test_the_next_fold_in_the_folder_of_the_last(self, tmp_path, epochs):
        """Of the same configuration and shapes, with as many epochs or more."""
        fit(small(), backup(tmp_path), epochs=1)
        self.refused(tmp_path, small(), "another model", epochs=epochs)
        self.refused(tmp_path, small(), "another model", run=None)

    @pytest.mark.slow
    def test_it_says_which_in_either_case(self, tmp_path, capsys):
        fit(small(), backup(tmp_path), epochs=1)
        model = small()
        fit(model, backup(tmp_path, existing="restart"), epochs=1, verbose=2)
        assert "begins anew" in capsys.readouterr().out
        interrupted(small(), backup(tmp_path / "b"))
        fit(small(), backup(tmp_path / "b"), verbose=2)
        assert "goes on after epoch 1" in capsys.readouterr().out
        fit(small(), backup(tmp_path / "c"), verbose=0)
        assert capsys.readouterr().out == ""

    def test_a_fold_of_another_process(self, tmp_path, monkeypatch):
        """A run that came to its end has nothing left to go on with."""
        fit(small(), backup(tmp_path), epochs=2)
        as_of_another_process(monkeypatch)
        for epochs in (2, EPOCHS):
            self.refused(
                tmp_path, small(), "came to its end", "2 ep", epochs=epochs
            )

    @pytest.mark.slow
    def test_a_name_says_which_run_it_is(self, tmp_path, monkeypatch):
        fit(small(), backup(tmp_path, run="fold 0"), epochs=2)
        as_of_another_process(monkeypatch)
        reason = "its run is 'fold 0'"
        self.refused(tmp_path, small(), reason, "run='fold 1'", run="fold 1")
        self.refused(tmp_path, small(), reason, "run=None")
        # Not even so: the two names contradict each other.
        with pytest.raises(ValueError, match=reason):
            fit(small(), backup(tmp_path, run=1, existing="resume"))
        # This one is the same: done, as a loop over folds finds it again.
        for epochs, trained in ((2, []), (EPOCHS, [2])):
            as_of_another_process(monkeypatch)
            callback = backup(tmp_path, run="fold 0")
            assert fit(small(), callback, epochs=epochs).epoch == trained

    def test_a_name_used_twice_in_one_process(self, tmp_path):
        """It names the experiment, and not the fold."""
        fit(small(), backup(tmp_path, run="cv"), epochs=1)
        self.refused(tmp_path, small(), "another model", run="cv")

    @pytest.mark.slow
    def test_an_interrupted_run_of_another_name(self, tmp_path):
        interrupted(small(), backup(tmp_path, run={"fold": 0}))
        self.refused(tmp_path, small(), "its run is", run={"fold": 1})
        history = fit(small(), backup(tmp_path, run={"fold": 0}))
        assert history.epoch == [1, 2]

    @pytest.mark.parametrize(
        ("other", "reason"),
        [
            ({"rate": 0.2}, "Dropout.*rate: 0.1 then, 0.2 now"),
            *slow_rows(
                ({"units": 4}, "weights.*then.*now"),
                ({"optimizer": "adam"}, "optimizer: SGD then, Adam now"),
                (
                    {"optimizer": keras.optimizers.SGD(0.5)},
                    "learning_rate: 0.0.* then, 0.5 now",
                ),
                ({"loss": "mae"}, "loss: mse then, mae now"),
            ),
        ],
    )
    def test_a_trial_that_was_cut_short(self, tmp_path, other, reason):
        """By other settings, whether the shapes show them or not."""
        interrupted(small(), backup(tmp_path))
        self.refused(tmp_path, small(**other), reason)

    def test_other_data_as_far_as_fit_knows_them(self, tmp_path):
        interrupted(small(), backup(tmp_path))
        model, x = small(), np.ones((20, 3))
        with pytest.raises(ValueError, match="steps: 3 then, 5 now"):
            model.fit(
                x,
                x,
                batch_size=4,
                epochs=EPOCHS,
                verbose=0,
                callbacks=[backup(tmp_path)],
            )

    def test_with_nothing_left_to_train(self, tmp_path):
        interrupted(small(), backup(tmp_path), at=2)
        self.refused(tmp_path, small(), "2 epochs behind it", epochs=1)


class TestOneModelTwice:
    """In one process it is known by identity."""

    def test_more_epochs_go_on(self, tmp_path):
        model = small()
        fit(model, backup(tmp_path), epochs=1)
        keras.utils.set_random_seed(0)
        model.predict(np.ones((2, 3)), verbose=0)
        assert fit(model, backup(tmp_path)).epoch == [1, 2]

    def test_no_epoch_is_left(self, tmp_path):
        """Keras would train as many again."""
        model = small()
        fit(model, backup(tmp_path), epochs=2)
        with pytest.raises(ValueError, match="2 epochs behind it"):
            fit(model, backup(tmp_path), epochs=2)

    def test_its_weights_set_to_the_first_for_the_next_fold(self, tmp_path):
        model = small()
        first = model.get_weights()
        fit(model, backup(tmp_path), epochs=1)
        model.set_weights(first)
        with pytest.raises(ValueError, match="changed since"):
            fit(model, backup(tmp_path))
        assert same(model.get_weights(), first)
        history = fit(model, backup(tmp_path, existing="restart"))
        assert history.epoch == [0, 1, 2]

    @pytest.mark.slow
    def test_interrupted_and_started_again(self, tmp_path):
        """As a cell of a notebook is; what callbacks set does not matter."""
        model = small()
        interrupted(model, backup(tmp_path), at=2)
        model.optimizer.learning_rate = 0.001
        assert fit(model, backup(tmp_path)).epoch == [2]
        # And the same where the cell makes the model, too.
        folder = tmp_path / "again"
        for at in (0, 1, 1, 2):
            interrupted(small(), backup(folder), at=at)
        assert fit(small(), backup(folder)).epoch == [2]

    @pytest.mark.slow
    def test_interrupted_after_a_first_end(self, tmp_path, monkeypatch):
        """An end that was gone beyond is none."""
        model = small()
        fit(model, backup(tmp_path), epochs=1)
        interrupted(model, backup(tmp_path), at=1)
        as_of_another_process(monkeypatch)
        assert fit(small(), backup(tmp_path)).epoch == [1, 2]


class TestRestart:
    def test_begins_anew_and_does_not_touch_the_model(self, tmp_path):
        fit(small(), backup(tmp_path), epochs=2)
        model = small()
        first = model.get_weights()
        callback = backup(tmp_path, existing="restart")
        assert callback.epochs_done == 0  # where data are to begin, too
        callback.set_model(model)
        callback.on_train_begin()
        assert same(model.get_weights(), first)
        assert [x.name for x in tmp_path.iterdir()] == ["00000000"]

    @pytest.mark.slow
    @pytest.mark.parametrize("ended", [False, *slow(True)])
    def test_one_callback_for_all_folds(self, tmp_path, ended):
        callback = backup(tmp_path, existing="restart")
        for fold in range(3):
            if ended or fold == 2:
                history = fit(small(), callback, epochs=2)
                assert history.epoch == [0, 1]
                assert callback.epochs_done == 0  # of which the next is told
            else:
                interrupted(small(), callback)

    @pytest.mark.slow
    def test_with_a_name_only_another_run(self, tmp_path):
        """So that the loop over folds may be killed, too."""
        for fold in range(2):
            callback = backup(tmp_path, run=fold, existing="restart")
            assert callback.epochs_done == 0
            interrupted(small(), callback)
            callback = backup(tmp_path, run=fold, existing="restart")
            assert callback.epochs_done == 1
            assert fit(small(), callback).epoch == [1, 2]

    def test_a_name_that_belies_the_model(self, tmp_path):
        interrupted(small(), backup(tmp_path, run="a"))
        with pytest.raises(ValueError, match=r"rate: 0.1 then"):
            fit(small(rate=0.2), backup(tmp_path, run="a", existing="restart"))

    @pytest.mark.parametrize("at", [1, *slow(0, 2)])
    def test_killed_as_it_begins_anew(self, tmp_path, monkeypatch, at):
        """Within the `at`-th deletion: never is half a backup taken for one."""
        interrupted(small(), backup(tmp_path))
        calls = []
        true = shutil.rmtree

        def rmtree(path, **settings):
            if len(calls) == at:
                (path / "model.weights.h5").unlink(missing_ok=True)
                raise Killed
            calls.append(path)
            true(path, **settings)

        monkeypatch.setattr(shutil, "rmtree", rmtree)
        with pytest.raises(Killed):
            fit(small(), backup(tmp_path, existing="restart"))
        monkeypatch.undo()
        for path in tmp_path.glob("[0-9]*"):
            assert (path / "model.weights.h5").exists()
        history = fit(small(), backup(tmp_path, existing="restart"), epochs=1)
        assert history.epoch == [0]


class TestResume:
    @pytest.mark.slow
    def test_goes_on_with_a_run_that_ended(self, tmp_path):
        first = small()
        fit(first, backup(tmp_path), epochs=2)
        model = small(loss="mae")  # as it likes
        history = fit(model, backup(tmp_path, existing="resume"), epochs=2)
        assert history.epoch == []
        assert same(model.get_weights(), first.get_weights())
        interrupted(small(), backup(tmp_path, existing="resume"), at=2)
        # Killed after that, it is what it was last told to be.
        assert fit(small(), backup(tmp_path)).epoch == [2]

    @pytest.mark.slow
    def test_gives_a_run_its_name(self, tmp_path):
        fit(small(), backup(tmp_path), epochs=1)
        adopted = backup(tmp_path, run="mine", existing="resume")
        interrupted(small(), adopted, at=2)
        assert fit(small(), backup(tmp_path, run="mine")).epoch == [2]

    def test_weights_that_do_not_fit(self, tmp_path):
        fit(small(), backup(tmp_path), epochs=1)
        with pytest.raises(ValueError, match="could not be loaded") as error:
            fit(small(units=5), backup(tmp_path, existing="resume"))
        message = str(error.value)
        assert str(tmp_path) in message
        assert "existing='restart'" in message


class TestFolders:
    def older(self, folder, model, epochs=2):
        """As the version before wrote it: no run, no names of states."""
        path = folder / f"{epochs:08d}"
        path.mkdir(parents=True)
        model.optimizer.build(model.trainable_variables)
        model.save_weights(path / "model.weights.h5")
        weights = {id(x) for x in model.weights}
        noise = [np.array(x) for x in model.variables if id(x) not in weights]
        noise = [x for x in noise if x.shape == (2,)]
        np.savez(path / "noise.npz", *noise)

    def test_one_of_an_older_version_goes_on(self, tmp_path):
        first = build()
        first(np.ones((2, 3)), training=True)  # its noise has moved
        self.older(tmp_path, first)
        model = build()
        callback = backup(tmp_path)
        assert callback.epochs_done == 2
        callback.set_model(model)
        callback.on_train_begin()
        assert same(states(model), states(first))
        interrupted(build(), backup(tmp_path), at=2)
        assert fit(build(), backup(tmp_path)).epoch == [2]
        # Now it knows its run.
        with pytest.raises(ValueError, match="another model"):
            fit(build(), backup(tmp_path))

    def test_one_of_an_older_version_that_does_not_fit(self, tmp_path):
        self.older(tmp_path, small())
        with pytest.raises(ValueError, match="could not be loaded") as error:
            fit(small(units=5), backup(tmp_path))
        assert str(tmp_path) in str(error.value)

    def test_noise_that_does_not_fit(self, tmp_path):
        """Two generators in the folder, one in the model."""
        first = build()
        self.older(tmp_path, first)
        path = tmp_path / "00000002" / "noise.npz"
        np.savez(path, np.zeros(2, "uint32"))
        with pytest.raises(ValueError, match=r"could not be loaded.*noise"):
            fit(build(), backup(tmp_path))

    def test_scalars_beside_the_generators(self, tmp_path):
        """A state that is no generator's, in a folder that has none yet."""

        class Scaled(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.scale = keras.Variable(1.0, trainable=False)

            @property
            def weights(self):
                return []

            def save_own_variables(self, store):
                pass

            def load_own_variables(self, store):
                pass

            def call(self, x):
                return x * self.scale

        def scaled():
            model = keras.Sequential(
                [
                    keras.Input((3,)),
                    keras.layers.Dense(3),
                    keras.layers.Dropout(0.5),
                    Scaled(),
                ]
            )
            model.compile("sgd", "mse", run_eagerly=True)
            return model

        first = scaled()
        first.layers[-1].scale.assign(3.0)
        self.older(tmp_path / "old", first)
        model = scaled()
        callback = backup(tmp_path / "old")
        callback.set_model(model)
        callback.on_train_begin()
        assert float(model.layers[-1].scale) == 1
        assert same(model.layers[1].variables, first.layers[1].variables)
        interrupted(first, backup(tmp_path / "new"))
        model = scaled()
        fit(model, backup(tmp_path / "new"), epochs=2)
        assert float(model.layers[-1].scale) == 3

    def test_the_run_is_complete_with_the_first_backup(
        self, tmp_path, monkeypatch
    ):
        def rename(path, target):
            assert json.loads((path / "run.json").read_text())["id"]
            raise Killed

        monkeypatch.setattr(type(tmp_path), "rename", rename)
        with pytest.raises(Killed):
            fit(small(), backup(tmp_path))
        monkeypatch.undo()
        assert fit(small(), backup(tmp_path)).epoch == [0, 1, 2]

    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"existing": "overwrite"}, ValueError),
            ({"existing": None}, ValueError),
            ({"run": {1, 2}}, TypeError),
            ({"run": np.float32}, TypeError),
        ],
        ids=repr,
    )
    def test_arguments(self, tmp_path, settings, error):
        (name,) = settings
        with pytest.raises(error, match=rf"`{name}`.*Received: {name}="):
            backup(tmp_path, **settings)


@each_of(LAYERS, gate=())
def test_a_model_that_is_made_twice_looks_the_same(row):
    """Names and seeds aside; else a run that was killed could not go on."""
    made = [row.model() for _ in range(2)]
    for model in made:
        model.compile("adam", "mse")
    one, other = (runs.looks_of(model, steps=3) for model in made)
    assert one == other
    assert len(one) > 5


@pytest.mark.slow
def test_two_processes(tmp_path):
    """What a model looks like is the same in another process."""
    script = f"""
import keras, keras_gumbel as kg, numpy as np, sys
epochs = int(sys.argv[1])
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4),
    keras.layers.Lambda(lambda x: x * 2), keras.layers.Dropout(0.5),
    kg.GumbelSoftmax(temperature=kg.schedules.ExponentialAnnealing(1, .1, .1)),
    kg.GumbelQuantizer(8, 3, estimator=kg.estimators.GumbelRao(5))])
model.compile(keras.optimizers.AdamW(
    keras.optimizers.schedules.CosineDecay(1e-3, 10)), "mse")
backup = kg.callbacks.ExactBackup({str(tmp_path)!r})
x = np.ones((4, 3), "float32")

class Dies(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == epochs:
            import os
            os._exit(3)

print(model.fit(x, x, epochs=2, verbose=0, callbacks=[Dies(), backup]).epoch)
"""
    (tmp_path / "script.py").write_text(script)
    for dies, code, out in ((1, 3, ""), (9, 0, "[1]\n")):
        done = subprocess.run(
            [sys.executable, tmp_path / "script.py", str(dies)],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (code, out), done.stderr
