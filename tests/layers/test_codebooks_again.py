"""Training that stops, and blocks that run again, learn the same codebooks."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.conformance.test_resuming import Accident
from tests.variants import slow

DIM, BATCH, STEPS, EPOCHS = 6, 8, 4, 3


def vectors():
    """With averages, moves, noise and stages that are left out."""
    return kg.VectorQuantizer(
        6,
        2,
        2,
        noise_scale=0.5,
        stage_dropout=0.5,
        restart_after=2,
        commitment_weight=kg.schedules.ExponentialAnnealing(1.0, 0.1, 0.1),
        seed=3,
    )


def by_loss():
    return kg.VectorQuantizer(6, update="loss", restart_after=2, seed=3)


def projection():
    return kg.GumbelQuantizer(6, DIM, 2, restart_after=2, seed=3)


def bits():
    return kg.FiniteScalarQuantizer(
        (2,) * DIM, noise_scale=0.5, entropy_weight=0.1, seed=3
    )


def trained(make, folder, *callbacks):
    """All that is left at the end."""
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((4,)), dense(DIM), make(), dense(2)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    x = np.random.default_rng(0).normal(size=(BATCH * STEPS, 4))
    x = x.astype("float32")
    model.fit(
        x,
        x[:, :2],
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, kg.callbacks.ExactBackup(folder)],
    )
    return [as_array(v) for v in [*model.variables, *model.optimizer.variables]]


@pytest.mark.parametrize("make", [vectors, *slow(by_loss, projection, bits)])
def test_it_goes_on_bit_for_bit(make, tmp_path):
    expected = trained(make, tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        trained(make, tmp_path / "backup", Accident())
    found = trained(make, tmp_path / "backup")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


class Block(keras.layers.Layer):
    """What is within `wrap`."""

    def __init__(self, make, wrap):
        super().__init__()
        self.dense = keras.layers.Dense(DIM)
        self.codes = make()
        self.run = wrap(self.inner)

    def inner(self, x, training=None):
        return self.codes(self.dense(x), training=training)

    def call(self, x, training=None):
        return self.run(x, training=training)


@pytest.mark.slow_ids("projection")
@pytest.mark.parametrize("make", [vectors, projection, *slow(by_loss, bits)])
def test_a_block_that_runs_again_learns_the_same(make):
    x = np.random.default_rng(0).normal(size=(BATCH * STEPS, 4))
    x = x.astype("float32")
    found = []
    for wrap in (kg.remat, lambda function: function):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((4,)), Block(make, wrap), keras.layers.Dense(2)]
        )
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(x, x[:, :2], BATCH, epochs=2, shuffle=False, verbose=0)
        found.append([as_array(weight) for weight in model.variables])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
