"""A training run that resumes where it was killed."""

import os
import pathlib
import shutil
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gumbel._validation import check_choice
from keras_gumbel.callbacks.runs import Run, check_name

_WEIGHTS = "model.weights.h5"
_NOISE = "noise.npz"
_RUN = "run.json"
_ENDED = "ended"
_UNFINISHED = "unfinished"


class ExactBackup(keras.callbacks.Callback):
    """Resume a training run that was killed, bit for bit.

    It writes a backup before the first epoch and at the end of each, and
    `fit` resumes from the last one. If the data resume as well (see
    `epochs_done`), the final weights equal the weights of an uninterrupted
    run, bit for bit.

    `keras.callbacks.BackupAndRestore(save_freq="epoch")` overwrites its backup
    in place, with the epoch in a separate file: a process that is killed while
    it writes loses the backup. Here a backup is a new folder, which gets its
    name when it is complete. It also holds the noise of every layer, including
    `keras.layers.Dropout`, which Keras leaves out.

    A backup does not hold the state of other callbacks, such as how long
    `EarlyStopping` has waited, or the `History`.

    Put it last in the list of callbacks: changes that a later callback makes at
    the end of an epoch are lost.

    A folder describes its run. `fit` resumes a run that was cut short and has
    the same layers, their settings, shapes, optimizer, loss and steps. Any
    other run in the folder may be a different one, such as a fold of a
    cross-validation or a tuner's trial, which a callback cannot tell apart:
    then `existing` decides. Give each run a folder of its own or a name.

    Args:
        folder: Path of a local folder. It is created if it is missing, and
            keeps its last backup when training ends.
        run: Name of this run: text, a number, or a list or dict of these,
            like `{"fold": 3, "units": 64}`. A run of the same name is this
            one: `fit` in a new process resumes it, even if it had ended. A
            run of another name is a different one. Defaults to `None`.
        existing: Treatment of a run in the folder that is not known to be
            this one. `"refuse"`: raise an error that says why. `"restart"`:
            delete it and train anew; without a name, always. `"resume"`:
            resume it, provided that the weights fit and the names do not
            differ. Defaults to `"refuse"`.

    Attributes:
        epochs_done: The number of epochs before the last backup in the
            folder; 0 if there is none or `existing="restart"` will delete it.
            Read it before `fit`, to resume the data there too.

    Raises:
        ValueError: For an unknown `existing`. When training starts, for a
            model that is not built; for a folder that holds another run; for
            a backup that does not fit the model.
        TypeError: For a `run` that JSON cannot hold.

    Example:

    >>> import keras, keras_gumbel as kg, numpy as np, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> def train(epochs):
    ...     model = keras.Sequential(
    ...         [keras.Input((2,)), keras.layers.Dense(3), kg.GumbelSoftmax()]
    ...     )
    ...     model.compile("adam", "mse")
    ...     backup = kg.callbacks.ExactBackup(folder, existing="resume")
    ...     model.fit(np.ones((8, 2)), np.ones((8, 3)), epochs=epochs,
    ...               shuffle=False, verbose=0, callbacks=[backup])
    ...     return int(model.optimizer.iterations), backup.epochs_done
    >>> train(epochs=2), train(epochs=5)  # of the 5 epochs 3 are left
    ((2, 2), (5, 5))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        run: Any = None,
        existing: str = "refuse",
    ) -> None:
        super().__init__()
        check_choice(existing, "existing", ("refuse", "restart", "resume"))
        self.folder = pathlib.Path(folder)
        self.run = check_name(run)
        self.existing = existing
        self._run = Run()

    @property
    def epochs_done(self) -> int:
        """Return the number of epochs before the last backup; 0 without one."""
        backups = self._backups()
        # Data cannot resume a run that will be deleted.
        if not backups or self._replaces(self._stored_run()):
            return 0
        return max(backups)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restore the last backup, or write the first."""
        if not self.model.built:
            raise ValueError(
                "ExactBackup needs a model that is built before `fit`: begin "
                "it with `keras.Input`, or call it on a batch. "
                f"Received: model={self.model!r}, not built"
            )
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        params = self.params or {}
        self._run = Run.begun(self.model, self.run, params)
        if not self._backups():
            self._save(0)
        elif self._replaces(self._stored_run()):
            self._say("begins anew, in place of another run")
            self._delete()
            self._save(0)
        else:
            self._check_known()
            self._restore()
            self._say(f"goes on after epoch {self.epochs_done}")
        self._run.began_here(self.model)

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Write a backup."""
        self._save(epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Record the end; let the next `fit` start where it is told to."""
        self.model._initial_epoch = None
        if self._backups():
            (self._last() / _ENDED).touch()
            _flush(self._last())
        self._run.ended_here(self.model)

    def _say(self, what: str) -> None:
        if (self.params or {}).get("verbose"):
            print(f"\nExactBackup {what}: {self.folder}")

    def _last(self) -> pathlib.Path:
        backups = self._backups()
        return backups[max(backups)]

    def _stored_run(self) -> Run:
        path = self._last() / _RUN
        return Run.from_json(path.read_text()) if path.exists() else Run()

    def _replaces(self, stored: Run) -> bool:
        """Return whether a new run replaces it, whatever it looks like."""
        named = self.run is not None and self.run == stored.name
        return self.existing == "restart" and not named

    def _check_known(self) -> None:
        stored, done = self._stored_run(), self.epochs_done
        contradicts = None not in (self.run, stored.name) and (
            self.run != stored.name
        )
        if self.existing == "resume" and not contradicts:
            return
        ended = (self._last() / _ENDED).exists()
        reasons = list(stored.differences(self._run, self.model, done, ended))
        if reasons:
            raise ValueError(
                "ExactBackup found another run in its folder, or one that it "
                f"cannot tell from another: {'; '.join(reasons)}. Give each "
                "run (fold, trial) a folder of its own, or a name by `run=`; "
                "or say what to do with this one: existing='restart' deletes "
                "it and begins anew, existing='resume' goes on from it. "
                f"Received: folder='{self.folder}', of {done} epochs; "
                f"run={self.run!r}, existing={self.existing!r}"
            )

    def _backups(self) -> dict[int, pathlib.Path]:
        """Return the complete backups, by the number of epochs before."""
        return {int(x.name): x for x in self.folder.glob("[0-9]*")}

    def _save(self, epochs_done: int) -> None:
        older = self._backups()
        unfinished = self.folder / _UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        self.model.save_weights(unfinished / _WEIGHTS)
        states = _noise_by_name(self.model)
        arrays = {k: ops.convert_to_numpy(v) for k, v in states.items()}
        np.savez(unfinished / _NOISE, **arrays)
        (unfinished / _RUN).write_text(self._run.to_json())
        for name in (_WEIGHTS, _NOISE, _RUN, "."):
            _flush(unfinished / name)
        # Only the rename makes it the last backup.
        unfinished.rename(self.folder / f"{epochs_done:08d}")
        _flush(self.folder)
        for path in older.values():
            shutil.rmtree(path)

    def _delete(self) -> None:
        """Delete all backups, so that none is half there at any time."""
        unfinished = self.folder / _UNFINISHED
        for path in self._backups().values():
            shutil.rmtree(unfinished, ignore_errors=True)
            path.rename(unfinished)

    def _restore(self) -> None:
        last, stored = self._last(), self._stored_run()
        try:
            self.model.load_weights(last / _WEIGHTS)
            with np.load(last / _NOISE) as noise:
                _assign_noise(self.model, dict(noise))
        except ValueError as error:
            raise ValueError(
                f"The backup in '{self.folder}' could not be loaded into this "
                f"model: {error} If it is another model's, give this one "
                "another folder, or existing='restart', which deletes it."
            ) from error
        if stored.id is not None:
            new = self._run
            name = stored.name if new.name is None else new.name
            # The looks before training, unless `existing` allows new ones.
            resumed = self.existing == "resume"
            looks = new.looks if resumed else stored.looks
            self._run = Run(stored.id, name, new.epochs, looks)
        # The resumed run has not ended, until it ends again.
        (last / _ENDED).unlink(missing_ok=True)
        _flush(last)
        # `fit` begins with this epoch.
        self.model._initial_epoch = max(self._backups())


def _noise_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the state that Keras leaves out of its files.

    These are all generators, two integers each, and live scalars.
    """
    weights = {id(weight) for weight in model.weights}
    states = [state for state in model.variables if id(state) not in weights]
    kinds: dict[str, list[keras.Variable]] = {"generator": [], "scalar": []}
    for state in states:
        kinds["generator" if len(state.shape) else "scalar"].append(state)
    return {
        f"{kind}_{n}": state
        for kind, found in kinds.items()
        for n, state in enumerate(found)
    }


def _assign_noise(model: keras.Model, stored: dict[str, np.ndarray]) -> None:
    """Assign the stored states, also from files of older versions.

    These hold numbered generators only; other states keep their values.
    """
    stored = {
        name.replace("arr_", "generator_"): state
        for name, state in stored.items()
    }
    states = _noise_by_name(model)
    for kind in ("generator", "scalar"):
        there = {name for name in stored if name.startswith(kind)}
        wanted = {name for name in states if name.startswith(kind)}
        if there != wanted and (there or kind == "generator"):
            raise ValueError(
                f"It has {len(there)} states of noise ({kind}), and the model "
                f"{len(wanted)}."
            )
    for name, state in stored.items():
        states[name].assign(state)


def _flush(path: pathlib.Path) -> None:
    """Write it to the disk, in case the machine fails."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
