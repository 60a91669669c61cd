"""Numbers that change as a model trains: assigned, scheduled, saved, loaded.

What cannot change in a program that was traced is refused.
"""

import inspect

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import (
    LAYERS,
    PARTS,
    TRAINED,
    as_array,
    covering,
    each_layer,
    each_of,
)
from tests.conformance.test_saving import (
    through_a_checkpoint,
    through_keras_file,
    through_weights_file,
)
from tests.frameworks import tf
from tests.harness import ALWAYS_KNOWN, in_mode, tensor

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

SCHEDULE = keras.optimizers.schedules.ExponentialDecay(2.0, 1, 0.5)


def scalars(row):
    """The live scalars of a layer, made with numbers."""
    names = {"temperature", "noise_scale", "l0_weight", "kl_weight"}
    return sorted(names & row.settings.keys())


def with_scalars(row, value=0.5, **settings):
    return row.create(**dict.fromkeys(scalars(row), value), **settings)


def live(layer, names):
    return {name: float(as_array(getattr(layer, name))) for name in names}


@pytest.mark.skipif(ALWAYS_KNOWN, reason="nothing is traced")
@each_of(LAYERS, gate=PARTS[0])
def test_a_noise_scale_that_is_assigned_counts_in_a_traced_program(row):
    layer = row.create(seed=3)
    layer.build(row.input_shape)
    traces = []

    def call(x):
        traces.append(1)
        return layer(x, training=True)

    call = in_mode("graph", call)
    outputs, traced = {}, []
    for scale in (1.0, 0.0, 2.0):
        layer.noise_scale = scale
        layer.seed_generator.state.assign([3, 0])
        outputs[scale] = as_array(call(tensor(row.logits())))
        traced.append(len(traces))
    assert len(set(traced)) == 1
    assert not np.array_equal(outputs[0.0], outputs[2.0])
    # A layer that is made with the scale gives the same.
    for scale in (0.0, 2.0):
        made = row.create(seed=3, noise_scale=scale)
        made = as_array(made(row.logits(), training=True))
        np.testing.assert_allclose(outputs[scale], made, atol=5e-6)


@each_layer
def test_a_noise_scale_follows_its_schedule(row):
    layer = row.create(noise_scale=SCHEDULE, seed=3)
    assert as_array(layer.noise_scale) == 2.0
    for expected in (2.0, 1.0, 0.5):
        layer(row.logits(), training=True)
        assert as_array(layer.noise_scale) == expected
    layer(row.logits(), training=False)
    assert as_array(layer.noise_scale) == 0.5
    again = row.layer.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert as_array(again.noise_scale) == 2.0


@each_layer
def test_a_noise_scale_is_a_variable_and_no_weight(row):
    layer = row.model().get_layer("choice")
    assert any(x is layer.noise_scale for x in layer.variables)
    assert not any(x is layer.noise_scale for x in layer.weights)
    expected = row.weights
    assert len(layer.get_weights()) == expected + row.trained_weights
    layer.set_weights(layer.get_weights())
    paths = [x.path for x in layer.variables]
    assert len({*paths}) == len(paths)


def number(kind):
    return {
        "keras": lambda: keras.Variable(0.25, name="mine"),
        "tf": lambda: tf.Variable(0.25),
        "half": lambda: tf.Variable(0.25, dtype=tf.float16),
        "tensor": lambda: tensor(0.25),
        "numpy": lambda: np.float32(0.25),
        "array": lambda: np.array(0.25),
    }[kind]()


@pytest.mark.tensorflow
@covering(LAYERS, "kind", ["keras", "tf", "half", "tensor", "numpy", "array"])
def test_a_variable_that_is_assigned_lends_its_number(row, kind):
    """Before the layer is built, when Keras would track it, and after."""
    for build in (False, True):
        layer = with_scalars(row)
        if build:
            layer(row.logits())
        before = len(layer.variables)
        for name in scalars(row):
            value = number(kind)
            setattr(layer, name, value)
            assert as_array(getattr(layer, name)) == 0.25
            assert len(layer.variables) == before
            assert not any(x is value for x in layer.weights)
            tracked = layer._trackable_children()[name]
            assert tracked is getattr(layer, name)


@each_of(LAYERS, gate=TRAINED)
def test_a_number_is_assigned_inside_a_graph(row):
    layer = with_scalars(row)
    layer.build(row.input_shape)

    def assign(x):
        for name in scalars(row):
            setattr(layer, name, x)

    in_mode("graph", assign)(tensor(0.125))
    assert {*live(layer, scalars(row)).values()} == {0.125}


@each_layer
def test_what_is_no_such_number_is_refused(row):
    layer = with_scalars(row)
    for name in scalars(row):
        before = as_array(getattr(layer, name))
        for wrong in (
            *(-1.0, float("nan"), float("inf"), 1e300, "1", None, True),
            *(tensor(-1.0), keras.Variable(-1.0), np.ones(2, "float32")),
            *(tensor(1), SCHEDULE, keras.KerasTensor(())),
        ):
            with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
                setattr(layer, name, wrong)
        for wrong in (-1.0, float("nan"), "1", True, [1.0, 2.0]):
            with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
                row.create(**{name: wrong})
        assert as_array(getattr(layer, name)) == before
    assert len(layer.weights) == len(with_scalars(row).weights)


def test_a_layer_without_a_loss_takes_no_weight_of_it():
    layer = kg.GumbelQuantizer(5, 5, diversity_weight=None)
    with pytest.raises(ValueError, match=r"`kl_weight`.*None"):
        layer.kl_weight = keras.Variable(0.5)
    assert len(layer.weights) == 1


def through_a_backup(model, row, tmp_path):
    """As `ExactBackup` restores a model that is made anew."""
    backup = kg.callbacks.ExactBackup(tmp_path / "backup")
    backup.set_model(model)
    backup.on_train_begin()
    backup.on_epoch_end(0)
    again = row.model(seed=99, temperature=9.0)
    # Of other settings, by which a mistake would show.
    backup = kg.callbacks.ExactBackup(tmp_path / "backup", existing="resume")
    backup.set_model(again)
    backup.on_train_begin()
    return again


@covering(
    LAYERS,
    "way",
    [
        through_keras_file,
        through_weights_file,
        *([through_a_checkpoint] if tf else []),
        through_a_backup,
    ],
    gate=(*TRAINED, "GumbelSigmoid-hard"),
)
def test_the_noise_scale_is_saved(row, way, tmp_path):
    model = row.model(seed=3)
    model.get_layer("choice").noise_scale = 0.25
    again = way(model, row, tmp_path)
    assert as_array(again.get_layer("choice").noise_scale) == 0.25


@covering(
    LAYERS, "old", [False, True], gate=(*TRAINED[1:], *TRAINED[:1], PARTS[1][1])
)
def test_weights_of_numbers_load_into_schedules_and_back(
    row, old, tmp_path, monkeypatch
):
    """In the files of version 0.1, too, which number live scalars."""
    if old:
        monkeypatch.setattr(
            "keras_gumbel.layers.sampling.SamplingLayer.save_own_variables",
            save_as_in_0_1,
        )
    numbers = row.model(seed=3, **dict.fromkeys(scalars(row), 0.5))
    schedules = row.model(seed=5, **dict.fromkeys(scalars(row), SCHEDULE))
    for _ in range(2):
        schedules(row.logits(), training=True)
    saved = {"numbers": numbers, "schedules": schedules}
    for name, model in saved.items():
        model.save_weights(tmp_path / f"{name}.weights.h5")
    for source, target in (
        ("numbers", row.model(**dict.fromkeys(scalars(row), SCHEDULE))),
        ("schedules", row.model(**dict.fromkeys(scalars(row), 0.5))),
    ):
        target.load_weights(tmp_path / f"{source}.weights.h5")
        choice = saved[source].get_layer("choice")
        loaded = target.get_layer("choice")
        names = [x for x in scalars(row) if not (old and x == "noise_scale")]
        assert live(loaded, names) == live(choice, names)
        for one, other in zip(
            choice.trainable_weights, loaded.trainable_weights, strict=True
        ):
            np.testing.assert_array_equal(as_array(one), as_array(other))
        np.testing.assert_array_equal(
            as_array(loaded.seed_generator.state),
            as_array(choice.seed_generator.state),
        )
    # What the file does not know begins as it is made.
    assert as_array(choice._iterations) == 2


def save_as_in_0_1(layer, store):
    keras.layers.Layer.save_own_variables(layer, store)
    store["seed_generator_state"] = layer.seed_generator.state


@pytest.mark.parametrize("kl_weight", [0.5, SCHEDULE])
def test_weights_with_a_loss_load_into_a_layer_without(kl_weight, tmp_path):
    def model(kl_weight):
        layer = kg.GumbelQuantizer(5, 4, kl_weight=kl_weight, name="choice")
        return keras.Sequential([keras.Input((3,)), layer])

    path = str(tmp_path / "a.weights.h5")
    for source, target in ((kl_weight, None), (None, kl_weight)):
        one, other = model(source), model(target)
        one.save_weights(path)
        other.load_weights(path)
        assert live(other.layers[0], ["temperature"]) == {"temperature": 1.0}
        found = other.layers[0].trainable_weights
        for x, y in zip(one.layers[0].trainable_weights, found, strict=True):
            np.testing.assert_array_equal(as_array(x), as_array(y))


@each_layer
def test_settings_of_a_built_layer_cannot_be_set(row):
    layer = row.create()
    parameters = {*inspect.signature(row.layer).parameters} - {"kwargs"}
    fixed = parameters - {*layer._live_names}
    assert fixed >= {"inference", "seed"}
    layer.inference = "sample"  # Nothing was traced yet.
    layer(row.logits())
    # Keras calls a layer's own output `output`.
    for name in ("shown" if name == "output" else name for name in fixed):
        before = getattr(layer, name)
        for value in (True, before):
            with pytest.raises(AttributeError, match=f"`{name}` of .*built"):
                setattr(layer, name, value)
        assert getattr(layer, name) is before
    layer.note = "of one's own"
