"""Every argument of a constructor comes back."""

import inspect

import keras

from tests.conformance.registry import each_layer


def arguments(layer):
    return [
        name
        for name, parameter in inspect.signature(layer).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    ]


@each_layer
def test_settings_cover_every_argument_with_another_value(row):
    defaults = inspect.signature(row.layer).parameters
    assert list(row.settings) == arguments(row.layer)
    for name, (value, _) in row.settings.items():
        assert value != defaults[name].default, name


@each_layer
def test_every_argument_returns_in_the_config(row):
    given = {name: value for name, (value, _) in row.settings.items()}
    config = row.layer(**given, name="chosen", dtype="mixed_float16")
    config = config.get_config()
    for name, (_, stored) in row.settings.items():
        assert config[name] == stored, name
    assert config["name"] == "chosen"
    assert config["dtype"]["config"]["name"] == "mixed_float16"


@each_layer
def test_config_round_trip(row):
    given = {name: value for name, (value, _) in row.settings.items()}
    for layer in (row.create(), row.layer(**given)):
        config = layer.get_config()
        assert row.layer.from_config(config).get_config() == config


@each_layer
def test_config_round_trip_through_json(row):
    given = {name: value for name, (value, _) in row.settings.items()}
    layer = row.layer(**given)
    text = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(text)
    assert type(again) is row.layer
    assert again.get_config() == layer.get_config()


@each_layer
def test_the_live_temperature_is_no_part_of_the_config(row):
    layer = row.create(temperature=2.0)
    layer.temperature = 0.5
    assert layer.get_config()["temperature"] == 2.0


@each_layer
def test_a_shared_generator_returns_from_the_config_as_its_own(row):
    generator = keras.random.SeedGenerator(8)
    config = row.create(seed=generator).get_config()
    again = row.layer.from_config(config)
    assert isinstance(again.seed_generator, keras.random.SeedGenerator)
    assert again.get_config()["seed"] == config["seed"]
