"""`GumbelSoftmax`: inference, temperature, schedules, seeds, estimators."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from keras_gumbel.estimators import StraightThroughGumbel
from tests import reference
from tests.conformance.registry import as_array
from tests.variants import slow

LOGITS = np.random.default_rng(5).normal(size=(6, 4)).astype("float32")
TRAINING = [False, None]


def noiseless(logits, temperature, mode, axis=-1):
    """What a layer should give without noise, in float64."""
    if mode == "argmax":
        return reference.one_hot_argmax(logits, axis)
    return reference.softmax(logits, temperature, axis)


class TestInference:
    @pytest.mark.parametrize("training", TRAINING)
    @pytest.mark.parametrize(
        ("hard", "inference", "mode"),
        [
            (False, None, "softmax"),
            (True, None, "argmax"),
            (False, "softmax", "softmax"),
            (True, "softmax", "softmax"),
            (False, "argmax", "argmax"),
            (True, "argmax", "argmax"),
        ],
    )
    def test_no_noise(self, hard, inference, mode, training):
        layer = kg.GumbelSoftmax(0.5, hard=hard, inference=inference)
        y = layer(LOGITS, training=training)
        expected = noiseless(LOGITS, 0.5, mode)
        if mode == "argmax":
            np.testing.assert_array_equal(as_array(y), expected)
        else:
            np.testing.assert_allclose(as_array(y), expected, atol=1e-6)
        assert layer.resolved_inference == mode
        # No draw was made.
        assert as_array(layer.seed_generator.state)[1] == 0

    @pytest.mark.parametrize("training", TRAINING)
    @pytest.mark.parametrize("hard", [False, True])
    def test_sample_goes_on_sampling(self, hard, training):
        arguments = {"temperature": 0.5, "hard": hard, "seed": 3}
        layer = kg.GumbelSoftmax(inference="sample", **arguments)
        trained = kg.GumbelSoftmax(**arguments)
        for _ in range(2):
            np.testing.assert_array_equal(
                as_array(layer(LOGITS, training=training)),
                as_array(trained(LOGITS, training=True)),
            )

    @pytest.mark.parametrize("inference", [None, "argmax", "softmax"])
    def test_training_draws_noise_whatever_inference_says(self, inference):
        layer = kg.GumbelSoftmax(inference=inference, seed=3)
        first, second = (layer(LOGITS, training=True) for _ in range(2))
        assert np.abs(as_array(first) - as_array(second)).max() > 0.01

    def test_predict_evaluate_and_a_bare_call_are_inference(self):
        model = keras.Sequential([kg.GumbelSoftmax(hard=True)])
        model.compile(loss="mean_squared_error")
        expected = noiseless(LOGITS, 1.0, "argmax")
        np.testing.assert_array_equal(as_array(model(LOGITS)), expected)
        predicted = model.predict(LOGITS, verbose=0)
        np.testing.assert_array_equal(predicted, expected)
        assert model.evaluate(LOGITS, expected, verbose=0) == 0.0

    @pytest.mark.parametrize("axis", [0, 1, -1])
    def test_ties_go_to_the_first_class(self, axis):
        rows = np.array([[0, 2, 2, 2], [5, 5, 0, 0], [1, 1, 1, 1]], "float32")
        logits = np.moveaxis(rows, -1, axis)
        y = as_array(kg.GumbelSoftmax(hard=True, axis=axis)(logits))
        np.testing.assert_array_equal(
            np.moveaxis(y, axis, -1), np.eye(4)[[1, 0, 0]]
        )

    def test_softmax_is_at_the_live_temperature(self):
        layer = kg.GumbelSoftmax(1.0)
        for temperature in (1.0, 0.1, 10.0):
            layer.temperature = temperature
            np.testing.assert_allclose(
                as_array(layer(LOGITS)),
                reference.softmax(LOGITS, temperature),
                atol=1e-6,
            )

    @pytest.mark.parametrize("inference", ["argmax", "softmax"])
    @pytest.mark.parametrize("hard", [False, True])
    def test_gradient_is_that_of_the_softmax(self, hard, inference):
        layer = kg.GumbelSoftmax(0.5, hard=hard, inference=inference)
        weight = np.random.default_rng(1).normal(size=LOGITS.shape)
        x = tf.constant(LOGITS)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x) * weight.astype("float32"))
        expected, _ = reference.softmax_vjp(LOGITS, 0.5, weight)
        np.testing.assert_allclose(
            as_array(tape.gradient(loss, x)), expected, atol=1e-5
        )

    @pytest.mark.parametrize("inference", ["argmax", "softmax"])
    def test_class_mask(self, inference):
        mask = np.array([[True, False, True, True]] * 5 + [[False] * 4])
        y = as_array(
            kg.GumbelSoftmax(0.5, inference=inference)(LOGITS, class_mask=mask)
        )
        masked = np.where(mask, LOGITS, -np.inf)
        np.testing.assert_allclose(
            y, noiseless(masked, 0.5, inference), atol=1e-6
        )
        np.testing.assert_array_equal(y[~mask], 0)

    @pytest.mark.parametrize("inference", ["argmax", "softmax", "sample"])
    def test_nan_shows(self, inference):
        logits = LOGITS.copy()
        logits[2, 1] = np.nan
        y = as_array(kg.GumbelSoftmax(inference=inference)(logits))
        assert np.isnan(y[2]).all()
        assert np.isfinite(np.delete(y, 2, axis=0)).all()


class TestTemperature:
    @pytest.mark.parametrize("hard", [False, True])
    @pytest.mark.parametrize(
        "override",
        [0.3, 2, np.float32(0.3), np.linspace(0.1, 5, 6)[:, None]],
        ids=["float", "int", "numpy", "per example"],
    )
    def test_a_call_brings_its_own(self, override, hard):
        if isinstance(override, np.ndarray):
            override = override.astype("float32")
        layer = kg.GumbelSoftmax(1.0, hard=hard, seed=3)
        y = layer(LOGITS, temperature=override, training=True)
        expected = kg.ops.gumbel_softmax(LOGITS, override, hard=hard, seed=3)
        np.testing.assert_allclose(as_array(y), as_array(expected), atol=1e-6)
        if not hard:
            np.testing.assert_allclose(
                as_array(layer(LOGITS, temperature=override)),
                reference.softmax(LOGITS, override),
                atol=1e-6,
            )
        assert as_array(layer.temperature) == 1.0

    def test_a_model_may_compute_it(self):
        inputs, tau = keras.Input((4,)), keras.Input((1,))
        model = keras.Model(
            [inputs, tau], kg.GumbelSoftmax()(inputs, temperature=tau)
        )
        temperatures = np.linspace(0.1, 5, 6).astype("float32")[:, None]
        np.testing.assert_allclose(
            as_array(model([LOGITS, temperatures])),
            reference.softmax(LOGITS, temperatures),
            atol=1e-6,
        )

    def test_it_gets_a_gradient_where_a_call_brings_it(self):
        tau = tf.Variable([[0.5]])
        for function in (
            lambda: kg.GumbelSoftmax(seed=3)(
                LOGITS, temperature=tau.value(), training=True
            ),
            lambda: kg.ops.gumbel_softmax(LOGITS, tau.value(), seed=3),
        ):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(function()[:, 0] ** 2)
            gradient = as_array(tape.gradient(loss, tau))
            step = 1e-2
            up, down = (
                as_array(kg.ops.gumbel_softmax(LOGITS, 0.5 + change, seed=3))
                for change in (step, -step)
            )
            slope = ((up**2 - down**2)[:, 0] / (2 * step)).sum()
            assert abs(slope) > 0.01
            np.testing.assert_allclose(gradient, [[slope]], rtol=0.02)

    @pytest.mark.parametrize(
        "assign",
        [
            lambda layer: setattr(layer, "temperature", 0.25),
            lambda layer: setattr(layer, "temperature", np.float32(0.25)),
            lambda layer: setattr(layer, "temperature", tf.constant(0.25)),
            lambda layer: layer.temperature.assign(0.25),
        ],
        ids=["float", "numpy", "tensor", "assign"],
    )
    def test_is_assignable(self, assign):
        layer = kg.GumbelSoftmax(1.0, seed=3)
        variable = layer.temperature
        assign(layer)
        assert layer.temperature is variable
        assert as_array(layer.temperature) == 0.25
        np.testing.assert_allclose(
            as_array(layer(LOGITS, training=True)),
            as_array(kg.ops.gumbel_softmax(LOGITS, 0.25, seed=3)),
            atol=1e-6,
        )

    @pytest.mark.parametrize("bad", [0, -1.0, float("nan"), "1", True, None])
    def test_a_bad_value_changes_nothing(self, bad):
        layer = kg.GumbelSoftmax(0.7)
        with pytest.raises((ValueError, TypeError), match="`temperature`"):
            layer.temperature = bad
        assert as_array(layer.temperature) == np.float32(0.7)

    def test_is_a_float32_weight_that_does_not_train(self):
        layer = kg.GumbelSoftmax(dtype="float16")
        assert layer.trainable_weights == []
        assert layer.non_trainable_weights == [layer.temperature]
        assert layer.temperature.dtype == "float32"

    def test_a_value_that_only_the_program_knows_gives_nan(self):
        @tf.function
        def call(tau):
            return kg.ops.gumbel_softmax(LOGITS, tau, seed=3)

        assert np.isfinite(as_array(call(tf.constant(1.0)))).all()
        for bad in (0.0, -1.0):
            assert np.isnan(as_array(call(tf.constant(bad)))).all()


class FirstClass(keras.losses.Loss):
    """The mean of the first output: a loss that shows the temperature."""

    def call(self, y_true, y_pred):
        return y_pred[:, 0]


def annealed_model(schedule, **options):
    """Outputs sigmoid(1 / temperature) and nothing else that changes."""
    dense = keras.layers.Dense(2, kernel_initializer="identity")
    layer = kg.GumbelSoftmax(schedule, noise_scale=0.0, name="choice")
    model = keras.Sequential([keras.Input((2,)), dense, layer])
    model.compile(keras.optimizers.SGD(0.0), FirstClass(), **options)
    return model


def shown_by(temperatures):
    """The loss that `annealed_model` has at these temperatures."""
    return np.mean(1 / (1 + np.exp(-1 / np.asarray(temperatures))))


class TestSchedule:
    X = np.tile(np.array([[1, 0]], "float32"), (16, 1))

    def fit(self, model, epochs=1):
        history = model.fit(
            self.X, self.X, batch_size=2, epochs=epochs, verbose=0
        )
        return history.history["loss"]

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("steps_per_execution", [1, 4])
    def test_is_exact_at_every_step(self, steps_per_execution, jit_compile):
        schedule = kg.schedules.ExponentialAnnealing(4.0, 0.3, 0.2)
        model = annealed_model(
            schedule,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        losses = self.fit(model, epochs=2)
        steps = np.maximum(0.2, 4 * np.exp(-0.3 * np.arange(16)))
        np.testing.assert_allclose(
            losses, [shown_by(steps[:8]), shown_by(steps[8:])], rtol=1e-5
        )
        layer = model.get_layer("choice")
        np.testing.assert_allclose(as_array(layer.temperature), steps[-1])

    @pytest.mark.parametrize(
        "schedule",
        [
            keras.optimizers.schedules.PiecewiseConstantDecay(
                [2, 5], [4.0, 1.0, 0.3]
            ),
            keras.optimizers.schedules.CosineDecay(2.0, 6, alpha=0.1),
            keras.optimizers.schedules.PolynomialDecay(2.0, 6, 0.5),
        ],
        ids=lambda schedule: type(schedule).__name__,
    )
    def test_any_keras_schedule_will_do(self, schedule):
        (loss,) = self.fit(annealed_model(schedule))
        steps = [float(schedule(step)) for step in range(8)]
        assert loss == pytest.approx(shown_by(steps), rel=1e-5)

    def test_only_training_calls_count(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(4.0, 1, 0.5)
        layer = kg.GumbelSoftmax(schedule)
        assert as_array(layer.temperature) == 4.0
        seen = []
        for training in (True, False, None, True, False, True):
            layer(LOGITS, training=training)
            seen.append(float(as_array(layer.temperature)))
        assert seen == [4.0, 4.0, 4.0, 2.0, 2.0, 1.0]

    def test_predict_and_evaluate_do_not_count(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(4.0, 1, 0.9)
        model = annealed_model(schedule)
        losses = self.fit(model)
        model.predict(self.X, verbose=0)
        held = model.evaluate(self.X, self.X, verbose=0)
        losses += self.fit(model)
        steps = 4 * 0.9 ** np.arange(16)
        assert held == pytest.approx(shown_by(steps[7:8]), rel=1e-5)
        np.testing.assert_allclose(
            losses, [shown_by(steps[:8]), shown_by(steps[8:])], rtol=1e-5
        )

    @pytest.mark.parametrize("way", ["keras", "weights.h5"])
    def test_training_resumes_where_it_was_saved(self, way, tmp_path):
        schedule = keras.optimizers.schedules.ExponentialDecay(4.0, 1, 0.9)
        model = annealed_model(schedule)
        self.fit(model)
        path = tmp_path / f"model.{way}"
        if way == "keras":
            model.save(path)
            objects = {"FirstClass": FirstClass}
            again = keras.models.load_model(path, custom_objects=objects)
        else:
            model.save_weights(path)
            again = annealed_model(schedule)
            again.load_weights(path)
        (loss,) = self.fit(again)
        steps = 4 * 0.9 ** np.arange(8, 16)
        assert loss == pytest.approx(shown_by(steps), rel=1e-5)

    def test_a_call_may_still_bring_its_own(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(4.0, 1, 0.5)
        layer = kg.GumbelSoftmax(schedule, seed=3)
        y = layer(LOGITS, temperature=0.3, training=True)
        expected = kg.ops.gumbel_softmax(LOGITS, 0.3, seed=3)
        np.testing.assert_allclose(as_array(y), as_array(expected), atol=1e-6)
        layer(LOGITS, training=True)
        assert as_array(layer.temperature) == 2.0

    def test_one_that_starts_at_zero_is_refused(self):
        schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 6, 0.5)
        with pytest.raises(ValueError, match=r"`temperature` .*Received"):
            kg.GumbelSoftmax(schedule)


class TestProbabilities:
    PROBS = np.array([[0.2, 0.0, 0.8], [0.5, 0.25, 0.25]], "float32")

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("hard", [False, True])
    def test_are_the_logits_of_their_log(self, hard, training):
        probs = kg.GumbelSoftmax(0.5, hard=hard, from_logits=False, seed=3)
        logits = kg.GumbelSoftmax(0.5, hard=hard, seed=3)
        with np.errstate(divide="ignore"):
            log = np.log(self.PROBS)
        np.testing.assert_allclose(
            as_array(probs(self.PROBS, training=training)),
            as_array(logits(log, training=training)),
            atol=1e-6,
        )

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("hard", [False, True])
    def test_zero_is_exactly_zero(self, hard, training):
        """At any temperature; a row of zeros has no class at all."""
        probs = np.concatenate([self.PROBS, np.zeros((1, 3), "float32")])
        layer = kg.GumbelSoftmax(50.0, hard=hard, from_logits=False, seed=3)
        y = as_array(layer(probs, training=training))
        assert (y[probs == 0] == 0.0).all()
        np.testing.assert_allclose(y.sum(-1), [1, 1, 0], atol=1e-6)

    def test_zero_never_comes(self):
        layer = kg.GumbelSoftmax(hard=True, from_logits=False, seed=3)
        y = as_array(layer(np.tile(self.PROBS[:1], (4000, 1)), training=True))
        assert y[:, 1].sum() == 0
        # 0.2 of 4000 is 800, with a standard deviation of 25.
        assert abs(y[:, 0].sum() - 800) < 150

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("hard", [False, True])
    def test_the_gradient_is_finite_and_none_at_zero(self, hard, training):
        layer = kg.GumbelSoftmax(hard=hard, from_logits=False, seed=3)
        x = tf.constant(self.PROBS)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=training)[:, 2])
        gradient = as_array(tape.gradient(loss, x))
        assert np.isfinite(gradient).all()
        assert gradient[0, 1] == 0.0
        assert np.abs(gradient).max() > 0.01

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("hard", [False, True])
    def test_a_negative_one_gives_nan_in_its_row(self, hard, training):
        probs = self.PROBS.copy()
        probs[0, 0] = -0.1
        layer = kg.GumbelSoftmax(hard=hard, from_logits=False, seed=3)
        y = as_array(layer(probs, training=training))
        assert np.isnan(y[0]).all()
        assert np.isfinite(y[1]).all()


class TestSeeds:
    @pytest.mark.parametrize("hard", [False, True])
    @pytest.mark.parametrize(
        "number", [0, 3, 2**31 - 1, 2**31, 2**32 - 1, np.int64(3)]
    )
    def test_the_first_draw_is_that_of_the_function(self, number, hard):
        layer = kg.GumbelSoftmax(0.5, hard=hard, seed=number)
        y = layer(LOGITS, training=True)
        expected = kg.ops.gumbel_softmax(LOGITS, 0.5, hard=hard, seed=number)
        np.testing.assert_allclose(as_array(y), as_array(expected), atol=1e-6)

    def test_two_layers_of_one_integer_draw_the_same(self):
        a, b = (kg.GumbelSoftmax(seed=3) for _ in range(2))
        c = kg.GumbelSoftmax(seed=4)
        for _ in range(2):
            draw = as_array(a(LOGITS, training=True))
            np.testing.assert_array_equal(
                as_array(b(LOGITS, training=True)), draw
            )
            assert (
                np.abs(as_array(c(LOGITS, training=True)) - draw).max() > 0.01
            )

    def test_a_shared_generator_is_one_stream(self):
        generator = keras.random.SeedGenerator(3)
        a, b = (kg.GumbelSoftmax(seed=generator) for _ in range(2))
        alone = kg.GumbelSoftmax(seed=3)
        for layer in (a, b, b, a):
            np.testing.assert_array_equal(
                as_array(layer(LOGITS, training=True)),
                as_array(alone(LOGITS, training=True)),
            )

    def test_no_seed_follows_that_of_keras(self):
        draws = []
        for number in (1, 1, 2):
            keras.utils.set_random_seed(number)
            layer = kg.GumbelSoftmax()
            draws.append(as_array(layer(LOGITS, training=True)))
        np.testing.assert_array_equal(draws[0], draws[1])
        assert np.abs(draws[0] - draws[2]).max() > 0.01

    def test_two_layers_without_a_seed_differ(self):
        a, b = (
            as_array(kg.GumbelSoftmax()(LOGITS, training=True))
            for _ in range(2)
        )
        assert np.abs(a - b).max() > 0.01


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True)
class Scaled(StraightThroughGumbel):
    """An estimator from outside the package: a scaled gradient."""

    name = "scaled"
    factor: float = 2.0

    def backward(self, residual, choice, temperature, dy, axis):
        """`factor` times the gradient of the relaxed sample."""
        d_logits, d_temperature = super().backward(
            residual, choice, temperature, dy, axis
        )
        return self.factor * d_logits, d_temperature


def gradient_of(layer):
    x = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=True)[:, 0])
    return as_array(tape.gradient(loss, x))


class TestEstimator:
    @pytest.mark.parametrize(
        "estimator",
        [
            "st_gumbel",
            StraightThroughGumbel(),
            keras.saving.serialize_keras_object(StraightThroughGumbel()),
            kg.estimators.serialize(StraightThroughGumbel()),
        ],
        ids=["name", "object", "config", "serialized"],
    )
    def test_by_name_object_or_config(self, estimator):
        layer = kg.GumbelSoftmax(hard=True, estimator=estimator, seed=3)
        assert layer.estimator == StraightThroughGumbel()
        default = kg.GumbelSoftmax(hard=True, seed=3)
        np.testing.assert_array_equal(gradient_of(layer), gradient_of(default))

    def test_one_of_the_users_own(self):
        layer = kg.GumbelSoftmax(hard=True, estimator=Scaled(3.0), seed=3)
        default = kg.GumbelSoftmax(hard=True, seed=3)
        np.testing.assert_allclose(
            gradient_of(layer), 3 * gradient_of(default), rtol=1e-5
        )

    @pytest.mark.parametrize("estimator", [Scaled(3.0), Scaled()], ids=repr)
    def test_one_of_the_users_own_comes_back(self, estimator):
        layer = kg.GumbelSoftmax(hard=True, estimator=estimator)
        again = kg.GumbelSoftmax.from_config(layer.get_config())
        assert again.estimator == estimator


class TestManyShapes:
    """One process sees inputs of every rank, and its programs are shared."""

    @pytest.mark.parametrize("hard", [True, *slow(False)])
    def test_logits_of_every_rank(self, hard):
        for axis, shape in [
            (0, (4,)),
            (0, (4, 2)),
            (1, (2, 4)),
            (1, (2, 4, 3)),
            (1, (2, 4, 3, 2)),
            (1, (1, 4, 1, 2, 2)),
        ]:
            layer = kg.GumbelSoftmax(hard=hard, axis=axis, seed=3)
            y = as_array(layer(np.zeros(shape, "float32"), training=True))
            np.testing.assert_allclose(y.sum(axis), 1, atol=1e-6)

    @pytest.mark.parametrize("hard", [True, *slow(False)])
    @pytest.mark.parametrize("training", [True, False])
    def test_masks_of_every_rank(self, hard, training):
        logits = np.zeros((2, 3, 4), "float32")
        allowed = np.array([True, False, True, False])
        for shape in [(2, 3, 4), (3, 4), (4,), (1, 1, 4)]:
            layer = kg.GumbelSoftmax(hard=hard, seed=3)
            mask = np.broadcast_to(allowed, shape)
            y = as_array(layer(logits, class_mask=mask, training=training))
            np.testing.assert_array_equal(y[..., ~allowed], 0)
            np.testing.assert_allclose(y.sum(-1), 1, atol=1e-6)

    @pytest.mark.parametrize("hard", [True, *slow(False)])
    def test_temperatures_of_every_rank(self, hard):
        logits = tf.zeros((2, 3, 4))
        layer = kg.GumbelSoftmax(hard=hard, seed=3)
        draws = []
        for shape in [(), (1,), (3, 1), (2, 3, 1), (2, 1, 1)]:
            tau = np.full(shape, 0.5, "float32")
            layer.seed_generator.state.assign([3, 0])
            with tf.GradientTape() as tape:
                tape.watch(logits)
                y = layer(logits, temperature=tau, training=True)
                loss = tf.reduce_sum(y**2)
            draws.append(as_array(y))
            gradient = as_array(tape.gradient(loss, logits))
            assert np.isfinite(gradient).all()
        for draw in draws[1:]:
            np.testing.assert_allclose(draw, draws[0], atol=1e-6)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    @pytest.mark.parametrize("training", [True, False])
    def test_any_axis_may_hold_the_classes(self, axis, training):
        logits = np.random.default_rng(4).normal(size=(3, 4, 5))
        logits = logits.astype("float32")
        layer = kg.GumbelSoftmax(0.5, axis=axis, noise_scale=0.0)
        y = as_array(layer(logits, training=training))
        np.testing.assert_allclose(
            y, reference.softmax(logits, 0.5, axis), atol=1e-6
        )
