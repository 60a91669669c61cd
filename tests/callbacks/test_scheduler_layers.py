"""`TemperatureScheduler(layers=...)`: which layers it sets, and its logs."""

import copy
import re

import keras
import pytest

import keras_gumbel as kg
from tests.callbacks.test_temperature_scheduler import (
    Recorder,
    X,
    build,
    fit,
    halving,
)
from tests.conformance.registry import as_array
from tests.variants import slow, slow_rows


def value(layer):
    return float(as_array(layer.temperature))


def two():
    """A model of two layers, `a` and `b`."""
    return build(kg.GumbelSoftmax(name="a"), kg.GumbelSoftmax(name="b"))


def anneal(layers, schedule=halving, **options):
    return kg.TemperatureScheduler(schedule, layers=layers, **options)


def constant(temperature):
    return lambda step: temperature


class Block(keras.layers.Layer):
    """A layer of the user's, which holds one of ours."""

    def __init__(self, inner_name="inner", **settings):
        super().__init__(**settings)
        self.inner = kg.GumbelSoftmax(name=inner_name)

    def call(self, x, training=None):
        return self.inner(x, training=training)


class TestLayersOfAnotherModel:
    """They were set, and reported, and the model's own stood still."""

    def reloaded(self, model, tmp_path):
        model.save(tmp_path / "model.keras")
        return keras.models.load_model(tmp_path / "model.keras")

    def deep_copied(self, model, tmp_path):
        return copy.deepcopy(model)

    def cloned(self, model, tmp_path):
        clone = keras.models.clone_model(model)
        clone.compile("sgd", "mse", run_eagerly=True)
        return clone

    @pytest.mark.parametrize("way", ["reloaded", "deep_copied", "cloned"])
    @pytest.mark.parametrize("frequency", ["batch", *slow("epoch")])
    def test_are_refused_when_training_starts(self, way, frequency, tmp_path):
        model = two()
        other = getattr(self, way)(model, tmp_path)
        scheduler = anneal([model.get_layer("b")], frequency=frequency)
        with pytest.raises(ValueError, match="not hold") as error:
            fit(other, scheduler)
        message = str(error.value)
        assert "layers=['b']" in message  # the remedy: its name
        assert re.search(r"Received: layers=\[.*GumbelSoftmax name=b", message)
        assert value(model.get_layer("b")) == value(other.get_layer("b")) == 1

    def test_are_refused_beside_right_ones(self):
        model, stranger = two(), kg.GumbelSoftmax(name="stranger")
        with pytest.raises(ValueError, match=r"not hold.*stranger"):
            fit(model, anneal([model.get_layer("a"), stranger]))

    def test_names_go_on_with_the_reloaded_model(self, tmp_path):
        model, scheduler = two(), anneal(["b"])
        fit(model, scheduler, epochs=1)
        other = self.reloaded(model, tmp_path)
        fit(other, scheduler, epochs=1)
        assert value(other.get_layer("b")) == 2.0**-7
        assert value(other.get_layer("a")) == 1
        assert value(model.get_layer("b")) == 2.0**-3


class TestNames:
    @pytest.mark.parametrize("frequency", ["batch", *slow("epoch")])
    def test_names_and_layers_mixed(self, frequency):
        model = build(*(kg.GumbelSoftmax(name=name) for name in "abc"))
        layers = ["a", model.get_layer("c")]
        history = fit(model, anneal(layers, frequency=frequency)).history
        last = 2.0**-7 if frequency == "batch" else 0.5
        values = [value(model.get_layer(name)) for name in "abc"]
        assert values == [last, 1, last]
        assert history["temperature"][-1] == last

    @pytest.mark.parametrize("kind", [iter, *slow(tuple, set)])
    def test_any_iterable(self, kind):
        model, scheduler = two(), anneal(kind(["b"]))
        for _ in range(2):  # and as often as one likes
            fit(model, scheduler, epochs=1)
        assert value(model.get_layer("b")) == 2.0**-7

    def test_one_twice_is_set_once(self):
        model, calls = two(), []
        scheduler = anneal(
            ["a", model.get_layer("a"), "a"],
            lambda step, current: calls.append(step) or current / 2,
        )
        fit(model, scheduler, epochs=1)
        assert calls == [0, 1, 2, 3]
        assert value(model.get_layer("a")) == 2.0**-4

    def test_inside_nested_models_and_layers_of_the_user(self):
        tower = keras.Sequential([Block("deep")], name="tower")
        model = build(tower, Block("shallow"))
        fit(model, anneal(["deep", "shallow"]), epochs=1)
        assert value(tower.layers[0].inner) == 2.0**-3
        assert value(model.layers[-1].inner) == 2.0**-3

    # Keras on JAX builds a model before its first batch.
    @pytest.mark.tensorflow
    @pytest.mark.parametrize(
        ("layers", "frequency"),
        [
            (None, "epoch"),
            (["late"], "batch"),
            *slow_rows((None, "batch"), (["late"], "epoch")),
        ],
        ids=str,
    )
    def test_in_a_model_that_its_first_batch_builds(self, layers, frequency):
        """Too late to set them for it: an error, and not the wrong number."""

        class Grows(keras.Model):
            def __init__(self):
                super().__init__()
                self.early = kg.GumbelSoftmax(name="early")

            def build(self, shape):
                self.dense = keras.layers.Dense(4)
                self.late = kg.GumbelSoftmax(name="late")

            def call(self, x, training=None):
                x = self.early(self.dense(x), training=training)
                return self.late(x, training=training)

        def late():
            model = Grows()
            model.compile("sgd", "mse", run_eagerly=True)
            return model

        with pytest.raises(ValueError, match=r"on a batch.*late"):
            fit(late(), anneal(layers, frequency=frequency), epochs=1)
        model = late()
        model(X[:1])
        fit(model, anneal(layers, frequency=frequency), epochs=1)
        assert value(model.late) == (2.0**-3 if frequency == "batch" else 1)

    def test_a_frozen_layer_and_a_shared_one(self):
        """The temperature does not train, so freezing leaves it be."""
        layer = kg.GumbelSoftmax(name="choice", trainable=False)
        inputs = keras.Input((3,))
        x = layer(keras.layers.Dense(4)(layer(inputs)))
        model = keras.Model(inputs, x)
        model.compile("sgd", "mse", run_eagerly=True)
        fit(model, anneal(["choice"]), epochs=1)
        assert value(layer) == 2.0**-3

    def test_an_unknown_name(self):
        with pytest.raises(ValueError, match=r"'c'.*no layer.*\['a', 'b'\]"):
            fit(two(), anneal(["a", "c"]))

    def test_a_name_of_two_layers(self):
        towers = [
            keras.Sequential([Block("choice")], name=name) for name in "ab"
        ]
        model = build(*towers)
        with pytest.raises(ValueError, match=r"2 layers.*'choice'") as error:
            fit(model, anneal(["choice"]))
        assert "layer itself" in str(error.value)
        fit(model, anneal([towers[1].layers[0].inner]), epochs=1)
        assert value(towers[0].layers[0].inner) == 1
        assert value(towers[1].layers[0].inner) == 2.0**-3

    def test_a_name_that_an_outer_layer_has_too(self):
        """There is one that has a temperature."""
        model = build(Block("choice", name="choice"))
        fit(model, anneal(["choice"]), epochs=1)
        assert value(model.get_layer("choice").inner) == 2.0**-3

    @pytest.mark.parametrize("by_name", [True, False])
    def test_what_only_holds_layers_with_a_temperature(self, by_name):
        """Which of them are meant is for the user to say."""
        block = Block("inside", name="block")
        scheduler = anneal(["block" if by_name else block])
        with pytest.raises(ValueError, match="live temperature") as error:
            fit(build(block), scheduler)
        message = str(error.value)
        assert "Received: layers without: ['block']" in message
        assert "['inside']" in message

    def test_a_name_of_a_layer_with_its_own_schedule(self):
        own = kg.GumbelSoftmax(
            kg.schedules.ExponentialAnnealing(1.0, 0.1, 0.1), name="own"
        )
        with pytest.raises(ValueError, match=r"live temperature.*\['own'\]"):
            fit(build(own), anneal(["own"]))

    @pytest.mark.parametrize("layers", [[], ()], ids=repr)
    def test_none_at_all(self, layers):
        with pytest.raises(ValueError, match=r"live temp.*Received: layers=\["):
            fit(two(), anneal(layers))

    @pytest.mark.parametrize(
        ("layers", "remedy"),
        [
            ("choice", r"layers=\['choice'\]"),
            (kg.GumbelSoftmax(name="choice"), r"layers=\[layer\]"),
            (3, "sequence"),
            (["choice", 3], "sequence"),
            ([None], "sequence"),
            ([["choice"]], "sequence"),
        ],
        ids=["string", "layer", "number", "a number", "a None", "a list"],
    )
    def test_wrong_types(self, layers, remedy):
        with pytest.raises(TypeError, match="`layers` must") as error:
            anneal(layers)
        assert re.search(f"{remedy}.*Received: layers=", str(error.value))


class TestSeveral:
    """Schedulers in one `fit`."""

    @pytest.mark.parametrize("order", [-1, *slow(1)])
    def test_each_has_its_key_in_the_logs(self, order):
        schedulers = [anneal(["a"], constant(3.0)), anneal(["b"])]
        history = fit(two(), *schedulers[::order]).history
        del history["loss"]
        assert history == {
            "temperature_a": [3, 3],
            "temperature_b": [2.0**-3, 2.0**-7],
        }

    def test_of_several_layers_the_first_names_the_key(self):
        model = build(*(kg.GumbelSoftmax(name=name) for name in "abc"))
        history = fit(
            model,
            anneal(["c", "a"], constant(3.0)),
            anneal(["b"], constant(5.0), frequency="epoch"),
        ).history
        assert history["temperature_c"] == [3, 3]
        assert history["temperature_b"] == [5, 5]

    @pytest.mark.slow
    def test_alone_it_is_the_temperature_again(self):
        """Even with one that was in another `fit`, or in one cut short."""
        model, first, second = two(), anneal(["a"]), anneal(["b"])
        accident = Recorder(model.get_layer("a"), accident_at=2)
        with pytest.raises(KeyboardInterrupt):
            fit(model, first, second, accident)
        assert "temperature" in fit(model, first).history
        assert "temperature" in fit(model, second).history
        assert "temperature_b" in fit(model, first, second).history

    def test_copied_as_tuners_copy_callbacks(self):
        schedulers = copy.deepcopy([anneal(["a"]), anneal(["b"])])
        history = fit(two(), *schedulers, epochs=1).history
        assert {"temperature_a", "temperature_b"} < {*history}

    def test_layers_of_one_name(self):
        model = build(Block(name="x"), Block(name="y"))
        x, y = (model.get_layer(name).inner for name in "xy")
        history = fit(
            model, anneal([x], constant(3.0)), anneal([y], constant(5.0))
        ).history
        assert history["temperature_inner"] == [3, 3]
        assert history["temperature_inner_2"] == [5, 5]

    @pytest.mark.parametrize(
        "layers",
        [
            (None, ["b"]),
            (["a"], ["a"]),
            *slow((None, None), (["b"], None)),
        ],
    )
    def test_of_one_layer_are_refused(self, layers):
        """The later would undo what the earlier sets and reports."""
        with pytest.raises(ValueError, match=r"one layer.*Received: ") as error:
            fit(two(), *map(anneal, layers))
        assert "`layers`" in str(error.value)

    @pytest.mark.parametrize("frequency", ["epoch", *slow("batch")])
    def test_verbose_says_which(self, frequency, capsys):
        options = {"frequency": frequency, "verbose": 1}
        fit(two(), anneal(["a"], **options), anneal(["b"], **options))
        printed = capsys.readouterr().out
        for name in "ab":
            found = re.findall(
                rf"Epoch (\d): .* temperature_{name} .*\d\.\n", printed
            )
            assert found == ["1", "2"]
