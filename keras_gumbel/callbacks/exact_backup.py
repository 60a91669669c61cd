"""A training run that goes on where it was killed."""

import os
import pathlib
import shutil
from typing import Any

import keras
import numpy as np
from keras import ops

_WEIGHTS = "model.weights.h5"
_NOISE = "noise.npz"
_UNFINISHED = "unfinished"


class ExactBackup(keras.callbacks.Callback):
    """Goes on with a training run that was killed, as if it had not been.

    It writes a backup before the first epoch and at the end of each, and
    `fit` goes on from the last one that is there. The weights at the end are
    those of a run that was never disturbed, bit for bit, if the data are (see
    `epochs_done`).

    `keras.callbacks.BackupAndRestore(save_freq="epoch")` does the same where
    the process is not killed while it writes: it overwrites its backup in
    place, and the number of the epoch is a file of its own. Here a backup is
    a new folder, which gets its name when it is complete. And here every
    layer's noise is in it, that of `keras.layers.Dropout` too, which Keras
    leaves out.

    Not in a backup is what other callbacks remember, such as `EarlyStopping`
    how long it has waited, and `History`.

    Put it last in the list of callbacks: what one after it changes at the end
    of an epoch is lost.

    Args:
        folder: Path of a local folder, which belongs to this run alone. It is
            made if it is not there, and its last backup is kept when training
            ends: to train anew, delete the folder.

    Attributes:
        epochs_done: How many epochs the last backup in the folder has behind
            it, 0 if there is none. Of use before `fit`, for data that are to
            go on there too.

    Raises:
        ValueError: When training starts, for a model that is not built.

    Example:

    >>> import keras, keras_gumbel as kg, numpy as np, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> def train(epochs):
    ...     model = keras.Sequential(
    ...         [keras.Input((2,)), keras.layers.Dense(3), kg.GumbelSoftmax()]
    ...     )
    ...     model.compile("adam", "mse")
    ...     backup = kg.callbacks.ExactBackup(folder)
    ...     model.fit(np.ones((8, 2)), np.ones((8, 3)), epochs=epochs,
    ...               shuffle=False, verbose=0, callbacks=[backup])
    ...     return int(model.optimizer.iterations), backup.epochs_done
    >>> train(epochs=2), train(epochs=5)  # of the 5 epochs 3 are left
    ((2, 2), (5, 5))
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        self.folder = pathlib.Path(folder)

    @property
    def epochs_done(self) -> int:
        """How many epochs the last backup has behind it; 0 without one."""
        return max(self._backups(), default=0)

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
        if self._backups():
            self._restore()
        else:
            self._save(0)

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Write a backup."""
        self._save(epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """The next `fit` of this model starts where it is told to."""
        self.model._initial_epoch = None

    def _backups(self) -> dict[int, pathlib.Path]:
        """The complete ones, by the epochs they have behind them."""
        return {int(x.name): x for x in self.folder.glob("[0-9]*")}

    def _save(self, epochs_done: int) -> None:
        older = self._backups()
        unfinished = self.folder / _UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        self.model.save_weights(unfinished / _WEIGHTS)
        states = map(ops.convert_to_numpy, _noise(self.model))
        np.savez(unfinished / _NOISE, *states)
        for path in (unfinished / _WEIGHTS, unfinished / _NOISE, unfinished):
            _flush(path)
        # From here on, and not before, it is the last backup.
        unfinished.rename(self.folder / f"{epochs_done:08d}")
        _flush(self.folder)
        for path in older.values():
            shutil.rmtree(path)

    def _restore(self) -> None:
        backups = self._backups()
        epochs_done = max(backups)
        self.model.load_weights(backups[epochs_done] / _WEIGHTS)
        with np.load(backups[epochs_done] / _NOISE) as stored:
            for name, state in zip(stored, _noise(self.model), strict=True):
                state.assign(stored[name])
        # Where `fit` looks for the epoch to begin with.
        self.model._initial_epoch = epochs_done


def _noise(model: keras.Model) -> list[keras.Variable]:
    """The states of all generators of noise in a model: integers.

    A noise scale is no weight either, but in the file of the weights.
    """
    weights = {id(weight) for weight in model.weights}
    others = [x for x in model.variables if id(x) not in weights]
    return [
        x for x in others if "int" in keras.backend.standardize_dtype(x.dtype)
    ]


def _flush(path: pathlib.Path) -> None:
    """Have it on the disk, should the machine fail and not the process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
