"""`TemperatureScheduler`: the right temperature at each step, everywhere."""

import csv
import re

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.harness import ALWAYS_KNOWN
from tests.variants import slow, slow_rows

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = np.zeros((16, 4), "float32")
BATCHES = 4  # an epoch


def build(*layers, optimizer="sgd", **options):
    """A model with sampling layers after a dense one, run eagerly.

    Nothing is compiled for a few steps; what `fit` compiles is asked of
    `test_a_new_temperature_traces_nothing_anew`.
    """
    options = {"run_eagerly": True, **options}
    layers = layers or (kg.GumbelSoftmax(seed=1, name="choice"),)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), *layers]
    )
    model.compile(optimizer, "mean_squared_error", **options)
    return model


def fit(model, *callbacks, epochs=2, **options):
    return model.fit(
        X,
        Y,
        batch_size=16 // BATCHES,
        epochs=epochs,
        verbose=0,
        callbacks=list(callbacks),
        **options,
    )


class Recorder(keras.callbacks.Callback):
    """The temperature of each batch; if asked, an accident at one."""

    def __init__(self, layer, accident_at=None):
        super().__init__()
        self.layer = layer
        self.accident_at = accident_at
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        if len(self.seen) == self.accident_at:
            raise KeyboardInterrupt
        # Keras on JAX has the values of an epoch elsewhere.
        getattr(self.model, "jax_state_sync", lambda: None)()
        self.seen.append(float(as_array(self.layer.temperature)))


def recorded(schedule, model=None, epochs=2, **options):
    """The temperatures of each batch under a schedule."""
    model = model or build()
    recorder = Recorder(model.get_layer("choice"))
    anneal = kg.TemperatureScheduler(schedule, **options)
    fit(model, anneal, recorder, epochs=epochs)
    return recorder.seen


def halving(step):
    return 2.0**-step


class TestSchedules:
    def test_a_keras_schedule(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(2.0, 1, 0.5)
        assert recorded(schedule) == [2.0 ** (1 - n) for n in range(8)]

    def test_exponential_annealing(self):
        schedule = kg.schedules.ExponentialAnnealing(2.0, 0.5, 0.4, every=2)
        steps = 2 * (np.arange(8) // 2)
        np.testing.assert_allclose(
            recorded(schedule), np.maximum(0.4, 2 * np.exp(-0.5 * steps))
        )

    def test_a_function_of_the_step(self):
        assert recorded(halving) == [2.0**-n for n in range(8)]

    def test_a_function_of_the_step_and_the_current_temperature(self):
        def schedule(step, current):
            assert isinstance(step, int)
            assert isinstance(current, float)
            return current * 0.5 if step else 8.0

        assert recorded(schedule) == [8.0 * 0.5**n for n in range(8)]

    @pytest.mark.parametrize(
        "schedule",
        [
            lambda step, slope=0.5: 1 + slope * step,
            *slow(
                lambda step, *rest: 1 + 0.5 * step + sum(rest),
                lambda step, *, slope=0.5: 1 + slope * step,
                lambda step, **rest: 1 + 0.5 * step + len(rest),
            ),
        ],
        ids=["default", "args", "keyword", "kwargs"],
    )
    def test_arguments_with_defaults_are_left_alone(self, schedule):
        assert recorded(schedule, epochs=1) == [1.0, 1.5, 2.0, 2.5]

    def test_a_builtin_without_a_signature(self):
        table = {0: 4.0, 1: 3.0, 2: 2.0, 3: 1.0}
        assert recorded(table.get, epochs=1) == [4.0, 3.0, 2.0, 1.0]

    def test_an_object_with_call(self):
        class Schedule:
            def __call__(self, step, current):
                return current + 1

        assert recorded(Schedule(), epochs=1) == [2.0, 3.0, 4.0, 5.0]

    @pytest.mark.parametrize("number", [np.float32, *slow(np.float64, int)])
    def test_any_number_may_be_returned(self, number):
        assert recorded(lambda step: number(step + 1), epochs=1) == [1, 2, 3, 4]

    def test_a_tensor_may_be_returned(self):
        seen = recorded(
            lambda step: keras.ops.convert_to_tensor(step + 1.0), epochs=1
        )
        assert seen == [1, 2, 3, 4]

    @pytest.mark.parametrize(
        "schedule",
        [lambda step: len(step), lambda step, current: current + None],
        ids=["step", "current"],
    )
    def test_the_users_own_type_error_comes_out(self, schedule):
        """And is not taken for a wrong number of arguments."""
        with pytest.raises(TypeError) as error:
            recorded(schedule)
        assert "schedule" not in str(error.value)
        assert re.search(r"has no len|unsupported operand", str(error.value))


class TestFrequency:
    def test_epoch(self):
        seen = recorded(halving, frequency="epoch", epochs=3)
        assert seen == [1.0] * 4 + [0.5] * 4 + [0.25] * 4

    def test_epoch_takes_the_current_temperature_too(self):
        seen = recorded(
            lambda epoch, current: current / 4, frequency="epoch", epochs=2
        )
        assert seen == [0.25] * 4 + [0.0625] * 4

    def test_epoch_follows_initial_epoch(self):
        model = build()
        recorder = Recorder(model.get_layer("choice"))
        anneal = kg.TemperatureScheduler(halving, frequency="epoch")
        fit(model, anneal, recorder, epochs=4, initial_epoch=3)
        assert recorder.seen == [0.125] * 4

    @pytest.mark.parametrize("frequency", ["batch", "epoch"])
    def test_initial_step_is_added(self, frequency):
        seen = recorded(halving, frequency=frequency, initial_step=2, epochs=1)
        steps = np.arange(4) if frequency == "batch" else np.zeros(4)
        assert seen == (2.0 ** -(steps + 2)).tolist()

    def test_batch_goes_on_in_a_second_fit(self):
        model = build()
        first = recorded(halving, model, epochs=1)
        second = recorded(halving, model, epochs=1)
        assert first + second == [2.0**-n for n in range(8)]

    # Elsewhere Keras itself asks for one.
    @pytest.mark.tensorflow
    def test_epoch_needs_no_optimizer(self):
        class Custom(keras.Sequential):
            def train_step(self, data):
                self(data[0], training=True)
                return {"loss": keras.ops.zeros(())}

        layer = kg.GumbelSoftmax(seed=1)
        model = Custom([keras.Input((3,)), layer])
        model.compile(optimizer=None, run_eagerly=True)
        anneal = kg.TemperatureScheduler(halving, frequency="epoch")
        fit(model, anneal, epochs=3)
        assert as_array(layer.temperature) == 0.25
        with pytest.raises(ValueError, match=r"`frequency='batch'`.*Received"):
            fit(model, kg.TemperatureScheduler(halving))


class TestLayers:
    def test_every_layer_at_any_depth_is_set(self):
        deep = kg.GumbelSoftmax(seed=1)
        shallow = kg.SampleArgmaxIndex(seed=1)
        inner = keras.Sequential([keras.Sequential([deep])])

        class Outer(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(4)
                self.parts = [inner, {"index": shallow}]

            def call(self, x, training=None):
                y = self.parts[0](self.dense(x), training=training)
                index = self.parts[1]["index"](y, training=training)
                return y + index[:, None]

        model = Outer()
        model.compile("sgd", "mean_squared_error", run_eagerly=True)
        fit(model, kg.TemperatureScheduler(halving), epochs=1)
        assert as_array(deep.temperature) == 0.125
        assert as_array(shallow.temperature) == 0.125

    def test_a_layer_used_twice_is_set_once(self):
        layer = kg.GumbelSoftmax(seed=1, name="choice")
        inputs = keras.Input((3,))
        x = layer(keras.layers.Dense(4)(layer(inputs)))
        model = keras.Model(inputs, x)
        model.compile("sgd", "mean_squared_error", run_eagerly=True)
        calls = []
        anneal = kg.TemperatureScheduler(
            lambda step, current: calls.append(step) or current / 2
        )
        fit(model, anneal, epochs=1)
        assert calls == [0, 1, 2, 3]
        assert as_array(layer.temperature) == 2.0**-4

    def test_one_with_its_own_schedule_is_left_alone(self):
        own = kg.GumbelSoftmax(
            keras.optimizers.schedules.ExponentialDecay(4.0, 1, 0.5)
        )
        other = kg.GumbelSoftmax()
        fit(
            build(own, other),
            kg.TemperatureScheduler(lambda step: 9.0),
            epochs=1,
        )
        assert as_array(own.temperature) == 0.5
        assert as_array(other.temperature) == 9.0

    def test_it_is_by_protocol(self):
        """Any layer with a live `temperature` takes part."""

        class Blunt(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.temperature = self.add_weight(
                    shape=(), initializer="ones", trainable=False
                )

            def call(self, x):
                return x / self.temperature

        layer = Blunt()
        fit(build(layer), kg.TemperatureScheduler(halving), epochs=1)
        assert as_array(layer.temperature) == 0.125

    @pytest.mark.parametrize(
        "layers",
        [
            lambda own: None,
            lambda own: [],
            lambda own: [own],
            lambda own: [own, kg.GumbelSoftmax(name="free")],
        ],
        ids=["none found", "empty", "own schedule", "own schedule and another"],
    )
    def test_nothing_to_set_is_an_error(self, layers):
        schedule = keras.optimizers.schedules.ExponentialDecay(4.0, 1, 0.5)
        own = kg.GumbelSoftmax(schedule, name="annealed_itself")
        anneal = kg.TemperatureScheduler(halving, layers=layers(own))
        with pytest.raises(ValueError, match="live temperature") as error:
            fit(build(own), anneal)
        if layers(own) != []:
            assert "annealed_itself" in str(error.value)


class Traced(keras.layers.Layer):
    """Counts how often Python runs its `call`."""

    def __init__(self):
        super().__init__()
        self.traces = 0

    def call(self, x):
        self.traces += 1
        return x


# Keras on JAX runs a layer more often, to learn its shapes.
@pytest.mark.tensorflow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_new_temperature_traces_nothing_anew(jit_compile):
    counter = Traced()
    layer = kg.GumbelSoftmax(seed=1)
    model = build(counter, layer, jit_compile=jit_compile, run_eagerly=False)
    counter.traces = 0
    recorder = Recorder(layer)
    fit(model, kg.TemperatureScheduler(halving), recorder, epochs=3)
    assert counter.traces == 1
    assert recorder.seen == [2.0**-n for n in range(12)]


class TestResuming:
    EPOCHS = 4

    def schedule(self):
        return kg.schedules.ExponentialAnnealing(2.0, 0.1, 0.1)

    def undisturbed(self):
        return recorded(self.schedule(), epochs=self.EPOCHS)

    @pytest.mark.parametrize(
        ("frequency", "ours_first"),
        [
            ("batch", True),
            ("epoch", False),
            *slow_rows(("batch", False), ("epoch", True)),
        ],
    )
    def test_after_backup_and_restore(self, tmp_path, ours_first, frequency):
        def run(accident_at=None):
            model = build()
            recorder = Recorder(model.get_layer("choice"), accident_at)
            callbacks = [
                kg.TemperatureScheduler(self.schedule(), frequency=frequency),
                keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            ]
            fit(
                model,
                *(callbacks if ours_first else reversed(callbacks)),
                recorder,
                epochs=self.EPOCHS,
            )
            return recorder.seen

        whole = recorded(
            self.schedule(), epochs=self.EPOCHS, frequency=frequency
        )
        with pytest.raises(KeyboardInterrupt):
            run(accident_at=6)  # in the second epoch, which begins again
        assert whole[:BATCHES] + run() == whole
        assert len(set(whole)) > 2

    @pytest.mark.parametrize("way", ["keras", "weights"])
    def test_after_model_checkpoint(self, tmp_path, way):
        model = build()
        recorder = Recorder(model.get_layer("choice"))
        if way == "keras":
            path = tmp_path / "model.keras"
        else:
            path = tmp_path / "model.weights.h5"
        checkpoint = keras.callbacks.ModelCheckpoint(
            path, save_weights_only=way == "weights"
        )
        anneal = kg.TemperatureScheduler(self.schedule())
        fit(model, anneal, checkpoint, recorder, epochs=2)
        if way == "keras":
            again = keras.models.load_model(path)
        else:
            again = build()
            again.optimizer.build(again.trainable_variables)
            again.load_weights(path)
        layer = again.get_layer("choice")
        assert float(as_array(layer.temperature)) == recorder.seen[-1]
        seen = recorder.seen + recorded(self.schedule(), again, epochs=2)
        assert seen == self.undisturbed()

    @pytest.mark.slow
    def test_with_a_new_optimizer_and_initial_step(self):
        model = build()
        seen = recorded(self.schedule(), model)
        model.compile("sgd", "mean_squared_error", run_eagerly=True)
        seen += recorded(self.schedule(), model, initial_step=len(seen))
        assert seen == self.undisturbed()

    def test_nothing_is_set_before_the_first_batch(self):
        """What `BackupAndRestore` restored must stand until then."""
        model = build()
        layer = model.get_layer("choice")
        layer.temperature = 0.77
        seen = []
        look = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: seen.append(
                float(as_array(layer.temperature))
            )
        )
        fit(model, kg.TemperatureScheduler(halving), look)
        assert seen == [pytest.approx(0.77)]


class TestLogs:
    def test_history(self):
        history = fit(build(), kg.TemperatureScheduler(halving), epochs=3)
        # Of the last batch of each epoch.
        assert history.history["temperature"] == [2.0**-3, 2.0**-7, 2.0**-11]

    def test_history_by_epoch(self):
        anneal = kg.TemperatureScheduler(halving, frequency="epoch")
        history = fit(build(), anneal, epochs=3)
        assert history.history["temperature"] == [1.0, 0.5, 0.25]

    def test_csv_logger_after_ours(self, tmp_path):
        path = tmp_path / "log.csv"
        fit(
            build(),
            kg.TemperatureScheduler(halving),
            keras.callbacks.CSVLogger(path),
        )
        with path.open() as file:
            rows = list(csv.DictReader(file))
        assert [float(row["temperature"]) for row in rows] == [0.125, 2.0**-7]

    @pytest.mark.tensorflow
    def test_tensorboard_after_ours(self, tmp_path):
        from tensorboard.backend.event_processing import event_file_loader
        from tensorboard.util import tensor_util

        fit(
            build(),
            kg.TemperatureScheduler(halving),
            keras.callbacks.TensorBoard(tmp_path),
        )
        seen = []
        (path,) = (tmp_path / "train").glob("events*")
        for event in event_file_loader.EventFileLoader(str(path)).Load():
            seen += [
                (event.step, float(tensor_util.make_ndarray(value.tensor)))
                for value in event.summary.value
                if value.tag == "epoch_temperature"
            ]
        assert seen == [(0, 0.125), (1, 2.0**-7)]

    @pytest.mark.parametrize("frequency", ["batch", "epoch"])
    def test_verbose_prints_the_temperature_of_each_epoch(
        self, capsys, frequency
    ):
        anneal = kg.TemperatureScheduler(
            halving, frequency=frequency, verbose=1
        )
        fit(build(), anneal, epochs=2)
        lines = re.findall(
            r"Epoch (\d): .*temperature.* ([\d.]+)\.\n",
            capsys.readouterr().out,
        )
        values = (
            ["0.125", "0.0078125"] if frequency == "batch" else ["1", "0.5"]
        )
        assert lines == [("1", values[0]), ("2", values[1])]

    @pytest.mark.parametrize("frequency", ["batch", *slow("epoch")])
    def test_silent_by_default(self, capsys, frequency):
        fit(build(), kg.TemperatureScheduler(halving, frequency=frequency))
        assert "temperature" not in capsys.readouterr().out


@pytest.mark.skipif(ALWAYS_KNOWN, reason="Keras takes one step at a time")
class TestStepsPerExecution:
    def test_warns_and_says_what_to_do(self):
        model = build(steps_per_execution=2)
        anneal = kg.TemperatureScheduler(halving)
        with pytest.warns(UserWarning, match="steps_per_execution=2") as seen:
            fit(model, anneal)
        remedy = "GumbelSoftmax(temperature=schedule)"
        assert any(remedy in str(warning.message) for warning in seen)

    def test_says_nothing_where_it_does_not_matter(self):
        """The suite turns warnings into errors."""
        anneal = kg.TemperatureScheduler(halving, frequency="epoch")
        history = fit(build(steps_per_execution=2), anneal)
        assert history.history["temperature"] == [1.0, 0.5]


class TestOptimizers:
    def test_loss_scaling(self):
        """The steps are those of the optimizer inside another one."""
        keras.config.set_dtype_policy("mixed_float16")
        model = build(optimizer=keras.optimizers.SGD(0.1))
        model.compile("sgd", "mean_squared_error", auto_scale_loss=True)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        # No step was skipped for a gradient that overflowed.
        model.optimizer.initial_scale = 1.0
        assert recorded(halving, model) == [2.0**-n for n in range(8)]

    def test_gradient_accumulation_counts_updates(self):
        """`optimizer.iterations` is what Keras counts: updates."""
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        seen = recorded(halving, build(optimizer=optimizer))
        assert seen == [2.0 ** -(n // 2) for n in range(8)]


class TestBadReturns:
    @pytest.mark.parametrize("frequency", ["batch", *slow("epoch")])
    @pytest.mark.parametrize(
        ("value", "exception"),
        [
            (0.0, ValueError),
            (float("nan"), ValueError),
            (None, TypeError),
            *slow_rows(
                (-1.0, ValueError),
                (float("inf"), ValueError),
                ("hot", TypeError),
                ([1.0, 2.0], TypeError),
            ),
        ],
        ids=repr,
    )
    def test_raise_and_name_the_step(self, value, exception, frequency):
        anneal = kg.TemperatureScheduler(
            lambda step: value if step == 1 else 0.7, frequency=frequency
        )
        model = build()
        with pytest.raises(exception, match="`schedule` must") as error:
            fit(model, anneal)
        assert "Received: schedule(1)=" in str(error.value)
        # The last good temperature stands.
        live = as_array(model.get_layer("choice").temperature)
        assert live == np.float32(0.7)
