"""A training run in a process of its own, which others may kill.

Imported by the process from which these are forked, so it must not begin to
use TensorFlow: only `train` does.
"""

import os
import pathlib
import signal
import sys

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import keras_gumbel as kg

EPOCHS, STEPS, BATCH, EXAMPLES = 30, 4, 4, 40


class Digest(keras.layers.Layer):
    """Passes its input on, and keeps a hash of all that it saw in training."""

    def __init__(self):
        super().__init__()
        self.digest = self.add_weight(
            shape=(), dtype="int64", initializer="zeros", trainable=False
        )

    def call(self, x, training=None):
        if training:
            bits = ops.cast(ops.stop_gradient(x) * 2.0**20, "int64")
            bits = ops.reshape(bits, (-1,))
            bits = ops.sum(
                bits * ops.arange(1, 2 * bits.shape[0], 2, dtype="int64")
            )
            self.digest.assign(self.digest * 1_000_003 + bits)
        return x


def make_model(dropout):
    """Live scalars, schedules, streams, codes, and a hash of what was drawn.

    (Of other layers and modes: `tests/conformance/test_resuming.py`.)
    """
    falling = kg.schedules.ExponentialAnnealing(1.0, 0.01, 0.1)
    model = keras.Sequential(
        [
            keras.Input((6,), batch_size=BATCH),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(dropout),
            kg.HardConcreteGate(temperature=falling, l0_weight=falling, seed=1),
            Digest(),
            keras.layers.Dense(5),
            kg.GumbelSoftmax(hard=True, seed=2, name="choice"),
            Digest(),
            keras.layers.Dense(4),
            kg.VectorQuantizer(6, num_stages=2, restart_after=3, seed=3),
            Digest(),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def examples():
    random = np.random.default_rng(0)
    x = random.normal(size=(EXAMPLES, 6)).astype("float32")
    return x, x[:, :2] ** 2


def in_order(backup):
    """The same batches in each epoch: arrays, without shuffling."""
    x, y = (array[: STEPS * BATCH] for array in examples())
    return {"x": x, "y": y, "batch_size": BATCH, "shuffle": False}


def by_the_step(backup):
    """The recipe of docs/reproducibility.md; an epoch is part of a pass."""
    x, y = examples()

    def shuffled(number):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(x)), seed=[7, number]
        )
        return tf.data.Dataset.from_tensor_slices(order).batch(
            BATCH, drop_remainder=True
        )

    passes = tf.data.Dataset.range(EPOCHS, output_type="int32")
    batches = passes.flat_map(shuffled).skip(backup.epochs_done * STEPS)
    batches = batches.map(lambda at: (tf.gather(x, at), tf.gather(y, at)))
    return {"x": batches, "steps_per_epoch": STEPS, "shuffle": False}


def state_of(model):
    """All of it: weights, noise, temperatures, digests, the optimizer."""
    variables = [*model.variables, *model.optimizer.variables]
    return [ops.convert_to_numpy(x) for x in variables]


def train(folder, exact, kill_at_write, batches, saving):
    """Train to the end, or until killed, and write down the state.

    Args:
        folder: Of this run.
        exact: Whether by `ExactBackup` or by `BackupAndRestore`.
        kill_at_write: Kill this process at that many of the steps by which a
            backup is written, counted over all backups; None not to.
        batches: Shared number, counted up at each batch.
        saving: A lock, held while `BackupAndRestore` writes.
    """
    folder = pathlib.Path(folder)
    keras.utils.set_random_seed(0)
    if exact:
        # By its name it is told from others after its end, too.
        backup = kg.callbacks.ExactBackup(folder / "backup", run="training")
        data = by_the_step(backup)
    else:
        backup = _locked(folder / "backup", saving)
        data = in_order(backup)
    if kill_at_write is not None:
        sys.addaudithook(_Killer(str(folder / "backup"), kill_at_write))

    class Progress(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            batches.value += 1

    # Whose noise is not in a backup of Keras.
    model = make_model(dropout=0.2 if exact else 0.0)
    schedule = kg.schedules.ExponentialAnnealing(2.0, 0.005, 0.1)
    choice = model.get_layer("choice")
    anneal = kg.TemperatureScheduler(schedule, layers=[choice])
    model.fit(
        **data,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[anneal, Progress(), backup],
    )
    np.savez(folder / "unfinished.npz", *state_of(model))
    os.replace(folder / "unfinished.npz", folder / "final.npz")


def _locked(folder, lock):
    """Keras's own, which must not be killed while it writes."""

    class Locked(keras.callbacks.BackupAndRestore):
        def on_epoch_end(self, epoch, logs=None):
            with lock:
                super().on_epoch_end(epoch, logs)

        def on_train_end(self, logs=None):
            with lock:
                super().on_train_end(logs)

    return Locked(str(folder), save_freq="epoch")


class _Killer:
    """Ends the process at the n-th thing done to a file of a folder."""

    def __init__(self, folder, n):
        self.folder, self.left = folder, n

    def __call__(self, event, arguments):
        if event.startswith(("open", "os.", "shutil.")):
            path, how, *_ = *arguments, None, None
            writes = event != "open" or how in ("w", "wb", "w+b")
            if writes and str(path).startswith(self.folder):
                self.left -= 1
        if self.left < 0:
            self.left = sys.maxsize  # A kill is an event, too.
            os.kill(os.getpid(), signal.SIGKILL)
