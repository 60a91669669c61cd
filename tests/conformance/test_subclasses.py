"""Subclasses of a user's, with constructors of every form, are configured.

An argument that is missing stays an error.
"""

import dataclasses
import json

import keras
import pytest

import keras_gumbel as kg
from keras_gumbel import estimators
from tests.conformance.registry import LAYERS, as_array, covering

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True


def register(cls):
    return keras.saving.register_keras_serializable(package="tests")(cls)


def passing_on(base):
    @register
    class PassesOn(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    return PassesOn


def by_keyword(base):
    @register
    class ByKeyword(base):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)

    return ByKeyword


def plain(base):
    @register
    class Plain(base):
        pass

    return Plain


def adding(base):
    @register
    class Adds(base):
        def __init__(self, *args, beta=1.0, **kwargs):
            super().__init__(*args, **kwargs)
            self.beta = beta

        def get_config(self):
            return {**super().get_config(), "beta": self.beta}

    return Adds


FORMS = [passing_on, by_keyword, plain, adding]


@covering(LAYERS, "form", FORMS)
def test_a_subclass_is_read_cloned_and_loaded(row, form, tmp_path):
    cls = form(row.layer)
    settings = {name: value for name, (value, _) in row.settings.items()}
    made = cls(**settings)
    for again in (
        cls.from_config(made.get_config()),
        keras.saving.deserialize_keras_object(
            json.loads(json.dumps(keras.saving.serialize_keras_object(made)))
        ),
    ):
        assert type(again) is cls
        assert again.get_config() == made.get_config()
    layer = cls(**row.variant, name="choice", seed=3)
    inputs = keras.Input(row.input_shape[1:])
    model = keras.Model(inputs, layer(inputs))
    clone = keras.models.clone_model(model)
    assert clone.get_layer("choice").get_config() == layer.get_config()
    layer.temperature = 0.25
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.get_layer("choice")) is cls
    assert as_array(again.get_layer("choice").temperature) == 0.25


@covering(LAYERS, "form", FORMS)
def test_what_is_missing_is_an_error(row, form):
    cls = form(row.layer)
    config = cls(**row.variant).get_config()
    for name in config.keys() - {"name", "dtype", "trainable"}:
        less = {key: value for key, value in config.items() if key != name}
        with pytest.raises((TypeError, ValueError), match=name):
            cls.from_config(less)
    with pytest.raises((TypeError, ValueError), match="mystery"):
        cls.from_config({**config, "mystery": 1})


OTHERS = {
    "schedule": (
        kg.schedules.ExponentialAnnealing,
        {"initial_temperature": 2.0, "decay_rate": 0.1, "minimum": 0.5},
    ),
    "perplexity": (kg.metrics.CodePerplexity, {"num_codes": 4}),
    "usage": (kg.metrics.CategoryUsage, {"num_codes": 4}),
    "estimator": (estimators.GumbelRao, {"num_samples": 3}),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("form", [passing_on, by_keyword, plain])
def test_so_are_those_of_what_is_no_layer(name, form):
    base, settings = OTHERS[name]
    cls = form(base)
    made = cls(**settings)
    config = made.get_config()
    assert cls.from_config(config).get_config() == config
    for argument in settings:
        less = {key: x for key, x in config.items() if key != argument}
        with pytest.raises((TypeError, ValueError), match=argument):
            cls.from_config(less)


@register
class AlwaysHard(kg.GumbelSoftmax):
    """Sets an argument itself, and leaves it out of the configuration."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, hard=True, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["hard"]
        return config


def test_an_argument_that_a_subclass_sets_is_not_asked_for():
    layer = AlwaysHard(0.5)
    again = AlwaysHard.from_config(layer.get_config())
    assert again.hard
    assert again.get_config() == layer.get_config()
    less = layer.get_config()
    del less["temperature"]
    with pytest.raises(ValueError, match="temperature"):
        AlwaysHard.from_config(less)


@register
class Forgets(kg.GumbelSoftmax):
    """Sets an argument, and has it in the configuration all the same."""

    def __init__(self, **kwargs):
        super().__init__(hard=True, **kwargs)


def test_an_argument_that_is_given_twice_is_named():
    config = Forgets().get_config()
    with pytest.raises(TypeError, match="hard"):
        Forgets.from_config(config)


@register
@dataclasses.dataclass(frozen=True, repr=False)
class Widest(estimators.GappedStraightThrough):
    """With a field that the class sets, and one of its own."""

    name = "widest"
    gap: float = dataclasses.field(default=3.0, init=False)
    note: str = "none"


def test_a_field_that_an_estimator_sets_is_not_asked_for():
    made = Widest(note="some")
    again = estimators.get(estimators.serialize(made))
    assert again == made
    assert again.gap == 3.0
    with pytest.raises(ValueError, match="note"):
        Widest.from_config({"backward_temperature": None})
