import importlib.util
import re

import keras
import numpy as np
import pytest
from keras import layers, ops

from .reading import ROOT, ink

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example():
    path = ROOT / "studies" / "hard_lstm.py"
    spec = importlib.util.spec_from_file_location("hard_lstm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hard_lstm(run, tmp_path):
    output = run("hard_lstm.py", "--output", tmp_path / "new")
    row = r"^ +(soft|hard)" + r"  ([\d.]+) \+- [\d.]+" * 4 + r"  ([\d.]+)" * 6
    rows = re.findall(row + "$", output, re.M)
    found = {name: [*map(float, cells)] for name, *cells in rows}
    assert [*found] == ["soft", "hard"]
    soft, hard = found.values()

    # Both have learned what they were trained on; a guess is right in 1 of 4.
    assert soft[0] > 0.7
    assert hard[0] > 0.9
    # After 64 times as many steps hard gates remember, soft ones do less.
    assert hard[3] > 0.9
    assert soft[3] < hard[3] - 0.1

    # Gates are 0 or 1, or none is; marks shut the forget gate.
    assert (soft[4], hard[4]) == (0, 1)
    for *_, f_mark, f_else, i_mark, i_else in (soft, hard):
        assert f_mark < f_else - 0.3
        assert i_mark > i_else + 0.1
    assert ink(tmp_path / "new" / "hard_lstm.png").std() > 0.1


def rnn_of(example, **kwargs):
    cell = example.GatedCell(3, hard=True, noise_scale=1.0, **kwargs)
    return layers.RNN(cell, return_sequences=True)


def test_every_step_draws_its_own_gates(example):
    keras.utils.set_random_seed(0)
    rnn = rnn_of(example)
    rnn.build((None, None, 2))
    rnn.cell.mix.kernel.assign(ops.zeros((5, 12)))  # even odds at every step
    x = ops.zeros((400, 50, 2))
    *_, f, i = np.split(np.array(rnn(x, training=True)), 4, axis=-1)
    gates = np.concatenate([f, i], axis=-1)
    assert set(np.unique(gates)) == {0, 1}
    # Six standard errors of 400 and of 120000 fair coins.
    assert np.abs(gates.mean(axis=(0, 2)) - 0.5).max() < 0.15
    assert abs(gates.mean() - 0.5) < 0.01
    same = np.mean(gates[:, 1:] == gates[:, :-1], axis=(0, 2))
    assert np.abs(same - 0.5).max() < 0.1


@pytest.mark.parametrize("coupled", [False, True])
def test_saved_cells_go_on_in_the_same_stream(example, coupled, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, rnn_of(example, coupled=coupled)(inputs))
    x = np.random.default_rng(0).normal(size=(4, 30, 2)).astype("float32")
    model(x, training=True)
    model.save(tmp_path / "latch.keras")
    loaded = keras.models.load_model(tmp_path / "latch.keras")
    first, second = (np.array(model(x, training=True)) for _ in range(2))
    np.testing.assert_array_equal(loaded(x, training=True), first)
    assert np.any(first != second)
    np.testing.assert_array_equal(loaded(x), model(x))
    _, _, f, i = np.split(first, 4, axis=-1)
    assert np.all(i == 1 - f) == coupled
