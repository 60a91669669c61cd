"""Layers that share one generator, and what becomes of it when they are copied.

They draw differently, and so do their copies, whichever way these are made.
"""

import copy
import json
import pickle

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel import backend
from tests.conformance.registry import (
    LAYERS,
    TRAINED,
    as_array,
    covering,
    each_of,
)
from tests.frameworks import tf
from tests.harness import in_mode

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

NAMES = "abc"


def build(row, number=5):
    """Three layers of one generator, which has been drawn from."""
    generator = keras.random.SeedGenerator(number)
    inputs = keras.Input(row.input_shape[1:])
    layers = [row.create(seed=generator, name=name) for name in NAMES]
    return keras.Model(inputs, [layer(inputs) for layer in layers])


def draws(model, row, times=2):
    logits = row.logits()
    return [
        as_array(y) for _ in range(times) for y in model(logits, training=True)
    ]


def all_differ(found):
    return len({one.tobytes() for one in found}) == len(found)


def through_file(model, row, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def through_weights(model, row, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    again = build(row, 6)
    again.load_weights(tmp_path / "model.weights.h5")
    return again


def through_checkpoint(model, row, tmp_path):
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    again = build(row, 6)
    tf.train.Checkpoint(model=again).read(path)
    return again


def through_pickle(model, row, tmp_path):
    return pickle.loads(pickle.dumps(model))


def through_deepcopy(model, row, tmp_path):
    return copy.deepcopy(model)


def through_clone(model, row, tmp_path):
    return keras.models.clone_model(model)


def through_config(model, row, tmp_path):
    return keras.Model.from_config(model.get_config())


def through_json(model, row, tmp_path):
    return keras.models.model_from_json(model.to_json())


EXACT = [
    through_file,
    through_weights,
    through_checkpoint,
    through_pickle,
    through_deepcopy,
]
ANEW = [through_clone, through_config, through_json]


@pytest.mark.tensorflow
@covering(
    LAYERS,
    "way",
    EXACT,
    gate=(*TRAINED, "GumbelEmbedding-hard", "GumbelSoftmax-soft"),
)
def test_what_is_loaded_goes_on_as_the_saved_model(row, way, tmp_path):
    model = build(row)
    draws(model, row)
    again = way(model, row, tmp_path)
    expected = draws(model, row)
    found = draws(again, row)
    assert all_differ(found)
    np.testing.assert_array_equal(found, expected)


@covering(LAYERS, "way", ANEW, gate=TRAINED)
def test_copies_one_by_one_draw_differently(row, way, tmp_path):
    model = build(row)
    before = as_array(model.layers[1].seed_generator.state)
    one, other = (draws(way(model, row, tmp_path), row) for _ in range(2))
    assert all_differ(one)
    np.testing.assert_array_equal(one, other)
    # Nor does a copy move what it was copied from.
    np.testing.assert_array_equal(
        as_array(model.layers[1].seed_generator.state), before
    )


@covering(LAYERS, "way", [through_clone, through_json], gate=())
@pytest.mark.parametrize("number", [5, None])
def test_copies_go_on_differently_with_the_weights_of_the_original(
    row, way, number, tmp_path
):
    """In which all streams are in one state."""
    model = build(row, number)
    draws(model, row)
    model.save_weights(tmp_path / "model.weights.h5")
    again = way(model, row, tmp_path)
    again.load_weights(tmp_path / "model.weights.h5")
    assert all_differ(draws(again, row))
    # And what is saved of these is loaded as it is.
    loaded = through_file(again, row, tmp_path)
    found = draws(loaded, row)
    assert all_differ(found)
    np.testing.assert_array_equal(found, draws(again, row))


@each_of(LAYERS, gate=TRAINED[:1])
def test_a_copy_of_one_layer_draws_as_the_original(row):
    layer = build(row).layers[1]
    again = copy.deepcopy(layer)
    logits = row.logits()
    np.testing.assert_array_equal(
        as_array(again(logits, training=True)),
        as_array(layer(logits, training=True)),
    )


def test_a_configuration_is_plain():
    layer = kg.GumbelSoftmax(seed=keras.random.SeedGenerator(5), name="a")
    for one in (layer, kg.GumbelSoftmax.from_config(layer.get_config())):
        config = one.get_config()
        assert json.loads(json.dumps(config)) == config
        again = kg.GumbelSoftmax.from_config(config)
        assert again.get_config()["seed"]["config"] == config["seed"]["config"]


def test_one_integer_is_one_noise_still():
    """As the guide has it, and in copies."""
    row = next(row for row in LAYERS if str(row) == "GumbelSoftmax-hard")
    inputs = keras.Input(row.input_shape[1:])
    layers = [row.create(seed=5, name=name) for name in "ab"]
    model = keras.Model(inputs, [layer(inputs) for layer in layers])
    for one in (model, keras.models.clone_model(model), copy.deepcopy(model)):
        np.testing.assert_array_equal(*draws(one, row, times=1))


def test_keys_of_parts_do_not_meet():
    """Of 2**64: one in 4e12 that any two of so many are the same."""
    keys = []
    for name in "abc":
        generator = keras.random.SeedGenerator(5)
        backend.set_apart(generator, name)
        draw = in_mode("graph", lambda g=generator: backend.next_key(g))
        keys += [tuple(as_array(draw()).tolist()) for _ in range(1000)]
    low = [tuple(int(word) % 2**32 for word in key) for key in keys]
    assert len(set(low)) == len(keys)
    # Of 2**32 that is one in a thousand, and four in 1e12.
    for words in zip(*low, strict=True):
        assert len(set(words)) > len(keys) - 4
