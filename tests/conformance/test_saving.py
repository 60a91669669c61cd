"""What is saved comes back: weights, temperature, and the stream of noise."""

import copy
import pickle

import keras
import numpy as np
import pytest

from tests.conformance.registry import (
    LAYERS,
    PARTS,
    TRAINED,
    as_array,
    covering,
    each_layer,
    each_of,
)
from tests.frameworks import tf
from tests.harness import grad_to, tensor


def through_keras_file(model, row, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def through_weights_file(model, row, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    again = row.model(seed=99, temperature=9.0)
    again.load_weights(tmp_path / "model.weights.h5")
    return again


def through_pickle(model, row, tmp_path):
    return pickle.loads(pickle.dumps(model))


def through_deepcopy(model, row, tmp_path):
    return copy.deepcopy(model)


WAYS = [
    through_keras_file,
    through_weights_file,
    through_pickle,
    through_deepcopy,
]


def through_a_checkpoint(model, row, tmp_path):
    """TensorFlow's own, which knows nothing of what Keras saves."""
    path = tf.train.Checkpoint(model=model).write(tmp_path / "checkpoint")
    again = row.model(seed=99, temperature=9.0)
    status = tf.train.Checkpoint(model=again).read(path)
    status.assert_existing_objects_matched()
    return again


def goes_on(row, way, tmp_path):
    model = row.model(seed=3)
    logits = row.logits()
    model(logits, training=True)
    model.get_layer("choice").temperature.assign(0.25)
    again = way(model, row, tmp_path)
    assert as_array(again.get_layer("choice").temperature) == 0.25
    np.testing.assert_array_equal(
        as_array(again(logits)), as_array(model(logits))
    )
    for _ in range(2):
        draw = as_array(model(logits, training=True))
        assert row.is_sample(draw)
        np.testing.assert_array_equal(
            as_array(again(logits, training=True)), draw
        )


@covering(LAYERS, "way", WAYS)
def test_a_copy_goes_on_where_the_model_was(row, way, tmp_path):
    goes_on(row, way, tmp_path)


@pytest.mark.tensorflow
@each_of(LAYERS, gate=TRAINED)
def test_a_checkpoint_of_tensorflow_goes_on_where_the_model_was(row, tmp_path):
    goes_on(row, through_a_checkpoint, tmp_path)


@each_layer
def test_the_stream_is_a_variable_and_no_weight(row):
    """As with Keras's own random layers."""
    layer = row.model(seed=3).get_layer("choice")
    state = layer.seed_generator.state
    assert any(variable is state for variable in layer.variables)
    assert not any(variable is state for variable in layer.weights)


@covering(LAYERS, "given", [None, 3])
def test_the_stream_of_a_bare_layer_goes_on(row, given):
    """By pickle and deepcopy, and whether or not the seed was given."""
    layer = row.create(seed=given)
    logits = row.logits()
    layer(logits, training=True)
    layer.temperature = 0.25
    copies = [pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)]
    draw = as_array(layer(logits, training=True))
    for again in copies:
        assert as_array(again.temperature) == 0.25
        np.testing.assert_array_equal(
            as_array(again(logits, training=True)), draw
        )


@each_of(LAYERS, gate=PARTS[0])
def test_a_schedule_and_its_count_come_back(row, tmp_path):
    schedule = keras.optimizers.schedules.ExponentialDecay(2.0, 1, 0.5)
    model = row.model(seed=3, temperature=schedule)
    logits = row.logits()
    for _ in range(3):
        model(logits, training=True)
    again = through_keras_file(model, row, tmp_path)
    layer = again.get_layer("choice")
    assert as_array(layer.temperature) == pytest.approx(0.5)
    np.testing.assert_array_equal(
        as_array(again(logits, training=True)),
        as_array(model(logits, training=True)),
    )
    assert as_array(layer.temperature) == pytest.approx(0.25)


@each_of(LAYERS, gate=PARTS[0])
def test_the_gradient_of_a_loaded_model_is_the_same(row, tmp_path):
    model = row.model(seed=3)
    again = through_keras_file(model, row, tmp_path)
    logits = row.logits()
    weight = np.random.default_rng(1).normal(size=row.output_shape)
    gradients = [
        grad_to(
            [one.get_layer("dense").kernel],
            lambda one=one: (
                one(logits, training=True) * tensor(weight, "float32")
            ),
        )[0]
        for one in (model, again)
    ]
    assert np.abs(gradients[0]).max() > 1e-3
    np.testing.assert_array_equal(*gradients)


@each_of(LAYERS, gate=PARTS[1])
def test_clone_model_starts_anew(row):
    """As Keras has it: the configuration is copied, the weights are not."""
    model = row.model(seed=3, temperature=2.0)
    logits = row.logits()
    draw = as_array(model(logits, training=True))
    model.get_layer("choice").temperature.assign(0.25)
    clone = keras.models.clone_model(model)
    assert as_array(clone.get_layer("choice").temperature) == 2.0
    clone.get_layer("dense").set_weights(model.get_layer("dense").get_weights())
    np.testing.assert_array_equal(as_array(clone(logits, training=True)), draw)


@each_of(LAYERS, gate=PARTS[2])
def test_a_generator_shared_by_two_layers_goes_on(row, tmp_path):
    generator = keras.random.SeedGenerator(5)
    inputs = keras.Input(row.input_shape[1:])
    model = keras.Model(
        inputs,
        [row.create(seed=generator, name=name)(inputs) for name in "ab"],
    )
    logits = row.logits()
    a, b = model(logits, training=True)
    assert not np.array_equal(as_array(a), as_array(b))
    again = through_keras_file(model, row, tmp_path)
    assert (
        as_array(again.get_layer("a").seed_generator.state)
        == as_array(generator.state)
    ).all()


@each_of(LAYERS, gate=PARTS[1])
def test_weights_of_another_temperature_do_not_disturb_a_partial_load(
    row, tmp_path
):
    """`load_weights(skip_mismatch=True)` still brings stream and value."""
    model = row.model(seed=3)
    model.get_layer("choice").temperature.assign(0.25)
    model(row.logits(), training=True)
    model.save_weights(tmp_path / "model.weights.h5")
    again = row.model(seed=99)
    again.load_weights(tmp_path / "model.weights.h5", skip_mismatch=True)
    assert as_array(again.get_layer("choice").temperature) == 0.25
    np.testing.assert_array_equal(
        as_array(again.get_layer("choice").seed_generator.state),
        as_array(model.get_layer("choice").seed_generator.state),
    )
