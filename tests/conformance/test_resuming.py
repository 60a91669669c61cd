"""Training that stops in the middle goes on as if it had not stopped."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, TRAINED, as_array, each_of

BATCHES, EPOCHS = 4, 3


class Accident(keras.callbacks.Callback):
    """Ends the process, as it were, in the middle of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and batch >= 1:
            raise KeyboardInterrupt


def keras_backup(folder):
    return keras.callbacks.BackupAndRestore(folder, save_freq="epoch")


def adam():
    return keras.optimizers.Adam(0.01)


def scaled_adam():
    """With a scale so large that steps overflow until it has fallen."""
    return keras.optimizers.LossScaleOptimizer(adam(), initial_scale=2.0**20)


def train(
    row,
    folder,
    backup,
    *callbacks,
    schedule="layer",
    optimizer=adam,
    policy="float32",
    **settings,
):
    """What is left at the end, with the temperature set in either way."""
    keras.config.set_dtype_policy(policy)
    annealing = kg.schedules.ExponentialAnnealing(2.0, 0.1, 0.1)
    in_layer = {}
    if schedule == "layer":
        live = {"temperature", "noise_scale", "l0_weight", "kl_weight"}
        live &= {*row.settings}
        in_layer = dict.fromkeys(live, annealing)
    model = row.model(seed=3, **in_layer)
    model.compile(optimizer(), "mean_squared_error", **settings)
    x = np.concatenate([row.logits() + n for n in range(BATCHES)])
    if not in_layer:
        callbacks = kg.TemperatureScheduler(annealing), *callbacks
    model.fit(
        x,
        row.target(x),
        batch_size=len(x) // BATCHES,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, backup(folder)],
    )
    return [as_array(v) for v in [*model.variables, *model.optimizer.variables]]


def assert_goes_on(row, tmp_path, backup, *, atol=0.0, **settings):
    expected = train(row, tmp_path / "undisturbed", backup, **settings)
    with pytest.raises(KeyboardInterrupt):
        train(row, tmp_path / "backup", backup, Accident(), **settings)
    states = train(row, tmp_path / "backup", backup, **settings)
    assert len(states) == len(expected)
    for state, other in zip(states, expected, strict=True):
        np.testing.assert_allclose(state, other, rtol=0, atol=atol)


@each_of(LAYERS, gate=())
def test_every_layer_goes_on_with_the_backup_of_keras(row, tmp_path):
    assert_goes_on(row, tmp_path, keras_backup)


MODES = {
    "callback": {"schedule": "callback"},
    "several steps": {"steps_per_execution": 2},
    "XLA": {"jit_compile": True},
    "half precision": {"policy": "mixed_float16", "optimizer": scaled_adam},
}


@each_of([row for row in LAYERS if str(row) in TRAINED], gate=())
@pytest.mark.parametrize("mode", MODES)
def test_in_every_mode_with_ours(row, mode, tmp_path):
    settings = MODES[mode]
    if keras.config.backend() == "torch":
        if mode == "several steps":
            pytest.skip("Keras refuses several steps per call on torch")
        if mode == "XLA":
            # torch has one program for the first step, where parameters have no
            # gradient yet, and another for the rest: they round differently.
            settings = {**settings, "atol": 1e-3}
    assert_goes_on(row, tmp_path, kg.callbacks.ExactBackup, **settings)
