"""`GumbelSoftmax`: inference, temperature, schedules, seeds, estimators."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.estimators import StraightThroughGumbel
from tests import reference
from tests.conformance.registry import as_array
from tests.harness import ALWAYS_KNOWN, grad, in_mode, tensor, value_and_grad
from tests.variants import slow, slow_rows

LOGITS = np.random.default_rng(5).normal(size=(6, 4)).astype("float32")


class TestInference:
    """As every layer's: `tests/conformance/test_inference.py`."""

    def test_predict_evaluate_and_a_bare_call_are_inference(self):
        model = keras.Sequential([kg.GumbelSoftmax(hard=True)])
        model.compile(loss="mean_squared_error", jit_compile=False)
        expected = reference.one_hot_argmax(LOGITS)
        np.testing.assert_array_equal(as_array(model(LOGITS)), expected)
        predicted = model.predict(LOGITS, verbose=0)
        np.testing.assert_array_equal(predicted, expected)
        assert model.evaluate(LOGITS, expected, verbose=0) == 0.0

    @pytest.mark.parametrize("axis", [0, 1])
    def test_ties_go_to_the_first_class(self, axis):
        rows = np.array([[0, 2, 2, 2], [5, 5, 0, 0], [1, 1, 1, 1]], "float32")
        logits = np.moveaxis(rows, -1, axis)
        y = as_array(kg.GumbelSoftmax(hard=True, axis=axis)(logits))
        np.testing.assert_array_equal(
            np.moveaxis(y, axis, -1), np.eye(4)[[1, 0, 0]]
        )


class TestTemperature:
    @pytest.mark.parametrize(
        ("override", "hard"),
        [
            (0.3, False),
            (2, False),
            (np.linspace(0.1, 5, 6, dtype="float32")[:, None], True),
            *slow_rows(
                (np.float32(0.3), False),
                (0.3, True),
                (np.linspace(0.1, 5, 6, dtype="float32")[:, None], False),
            ),
        ],
        ids=lambda x: type(x).__name__,
    )
    def test_a_call_brings_its_own(self, override, hard):
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
        def slope_of(function):
            """Of the squares of the first class, as a number is changed."""
            return grad(
                lambda tau: keras.ops.sum(function(tau)[:, 0] ** 2),
                np.array([[0.5]], "float32"),
            )

        found = slope_of(
            lambda tau: kg.GumbelSoftmax(seed=3)(
                LOGITS, temperature=tau, training=True
            )
        )
        step = 1e-2
        up, down = (
            as_array(kg.ops.gumbel_softmax(LOGITS, 0.5 + change, seed=3))
            for change in (step, -step)
        )
        slope = ((up**2 - down**2)[:, 0] / (2 * step)).sum()
        assert abs(slope) > 0.01
        np.testing.assert_allclose(found, [[slope]], rtol=0.02)

    @pytest.mark.parametrize(
        "assign",
        [
            lambda layer: setattr(layer, "temperature", 0.25),
            lambda layer: setattr(layer, "temperature", np.float32(0.25)),
            lambda layer: setattr(layer, "temperature", tensor(0.25)),
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

    def test_is_a_float32_weight_that_does_not_train(self):
        layer = kg.GumbelSoftmax(dtype="float16")
        assert layer.trainable_weights == []
        assert layer.non_trainable_weights == [layer.temperature]
        assert layer.temperature.dtype == "float32"

    @pytest.mark.skipif(ALWAYS_KNOWN, reason="known values are an error")
    def test_a_value_that_only_the_program_knows_gives_nan(self):
        call = in_mode(
            "graph", lambda tau: kg.ops.gumbel_softmax(LOGITS, tau, seed=3)
        )
        assert np.isfinite(as_array(call(tensor(1.0)))).all()
        for bad in (0.0, -1.0):
            assert np.isnan(as_array(call(tensor(bad)))).all()


class FirstClass(keras.losses.Loss):
    """The mean of the first output: a loss that shows the temperature."""

    def call(self, y_true, y_pred):
        return y_pred[:, 0]


def annealed_model(schedule, **options):
    """Outputs sigmoid(1 / temperature) and nothing else that changes."""
    dense = keras.layers.Dense(2, kernel_initializer="identity")
    layer = kg.GumbelSoftmax(schedule, noise_scale=0.0, name="choice")
    model = keras.Sequential([keras.Input((2,)), dense, layer])
    options = {"jit_compile": False, **options}
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

    @pytest.mark.parametrize(
        ("steps_per_execution", "jit_compile"),
        # Keras on torch takes one step at a time.
        [(1, False)]
        if ALWAYS_KNOWN
        else [(4, True), *slow_rows((1, False), (4, False), (1, True))],
    )
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
        layer = kg.GumbelSoftmax(schedule)
        for step in range(8):
            layer(LOGITS, training=True)
            expected = pytest.approx(float(schedule(step)), rel=1e-6)
            assert float(layer.temperature) == expected

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

    @pytest.mark.parametrize("way", slow("keras", "weights.h5"))
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
    # Also a row without a class, and one that is wrong.
    PROBS = np.array(
        [[0.2, 0.0, 0.8], [0.5, 0.25, 0.25], [0.0, 0.0, 0.0], [-0.1, 0.5, 0.6]],
        "float32",
    )

    @pytest.mark.parametrize(
        ("hard", "training"),
        [
            (True, True),
            (False, False),
            *slow_rows((True, False), (False, True)),
        ],
    )
    def test_are_the_logits_of_their_log(self, hard, training):
        """0 is exactly 0, without a gradient; NaN shows a negative one."""
        probs = kg.GumbelSoftmax(50.0, hard=hard, from_logits=False, seed=3)
        logits = kg.GumbelSoftmax(50.0, hard=hard, seed=3)
        last = np.tile(np.eye(3, dtype="float32")[2], (4, 1))
        y, (gradient,) = value_and_grad(
            lambda x: probs(x, training=training), self.PROBS, upstream=last
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log(self.PROBS)
        y, gradient = as_array(y), as_array(gradient)
        expected = as_array(logits(log, training=training))
        np.testing.assert_allclose(y, expected, atol=1e-6)
        np.testing.assert_allclose(y[:3].sum(-1), [1, 1, 0], atol=1e-6)
        assert (y[self.PROBS == 0] == 0).all()
        assert np.isnan(y[3]).all()
        assert np.isfinite(gradient[:3]).all()
        assert (gradient[self.PROBS == 0] == 0).all()
        assert np.abs(gradient[:3]).max() > 1e-3

    @pytest.mark.slow
    def test_zero_never_comes(self):
        layer = kg.GumbelSoftmax(hard=True, from_logits=False, seed=3)
        y = as_array(layer(np.tile(self.PROBS[:1], (4000, 1)), training=True))
        assert y[:, 1].sum() == 0
        # 0.2 of 4000 is 800, with a standard deviation of 25.
        assert abs(y[:, 0].sum() - 800) < 150


class TestSeeds:
    @pytest.mark.parametrize(
        "number", [0, 3, 2**31 - 1, 2**31, 2**32 - 1, np.int64(3)]
    )
    def test_the_first_draw_is_that_of_the_function(self, number):
        layer = kg.GumbelSoftmax(0.5, seed=number)
        y = layer(LOGITS, training=True)
        expected = kg.ops.gumbel_softmax(LOGITS, 0.5, seed=number)
        np.testing.assert_allclose(as_array(y), as_array(expected), atol=1e-6)

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
    return grad(lambda x: keras.ops.sum(layer(x, training=True)[:, 0]), LOGITS)


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

    @pytest.mark.parametrize(
        ("hard", "cases"),
        [
            (True, [(0, (4,)), (1, (1, 4, 1, 2, 2))]),
            *slow_rows(
                (True, [(0, (4, 2)), (1, (2, 4)), (1, (2, 4, 3))]),
                (True, [(1, (2, 4, 3, 2))]),
                (False, [(0, (4,)), (0, (4, 2)), (1, (1, 4, 1, 2, 2))]),
                (False, [(1, (2, 4)), (1, (2, 4, 3)), (1, (2, 4, 3, 2))]),
            ),
        ],
    )
    def test_logits_of_every_rank(self, hard, cases):
        for axis, shape in cases:
            layer = kg.GumbelSoftmax(hard=hard, axis=axis, seed=3)
            y = as_array(layer(np.zeros(shape, "float32"), training=True))
            np.testing.assert_allclose(y.sum(axis), 1, atol=1e-6)

    @pytest.mark.parametrize(
        ("hard", "shapes"),
        [
            (True, [(4,), (3, 4)]),
            *slow_rows(
                (True, [(2, 3, 4), (1, 1, 4)]),
                (False, [(2, 3, 4), (3, 4), (4,), (1, 1, 4)]),
            ),
        ],
    )
    @pytest.mark.parametrize("training", [True, False])
    def test_masks_of_every_rank(self, hard, shapes, training):
        logits = np.zeros((2, 3, 4), "float32")
        allowed = np.array([True, False, True, False])
        for shape in shapes:
            layer = kg.GumbelSoftmax(hard=hard, seed=3)
            mask = np.broadcast_to(allowed, shape)
            y = as_array(layer(logits, class_mask=mask, training=training))
            np.testing.assert_array_equal(y[..., ~allowed], 0)
            np.testing.assert_allclose(y.sum(-1), 1, atol=1e-6)

    @pytest.mark.parametrize(
        ("hard", "shapes"),
        [
            (True, [(), (3, 1)]),
            *slow_rows(
                (True, [(1,), (2, 3, 1), (2, 1, 1)]),
                (False, [(), (1,), (3, 1), (2, 3, 1), (2, 1, 1)]),
            ),
        ],
    )
    def test_temperatures_of_every_rank(self, hard, shapes):
        logits = np.zeros((2, 3, 4), "float32")
        layer = kg.GumbelSoftmax(hard=hard, seed=3)
        draws = []
        for shape in shapes:
            tau = np.full(shape, 0.5, "float32")
            layer.seed_generator.state.assign([3, 0])
            y, (gradient,) = value_and_grad(
                lambda x, tau=tau: layer(x, temperature=tau, training=True),
                logits,
                upstream=np.arange(24.0, dtype="float32").reshape(2, 3, 4),
            )
            draws.append(as_array(y))
            assert np.isfinite(as_array(gradient)).all()
        for draw in draws[1:]:
            np.testing.assert_allclose(draw, draws[0], atol=1e-6)

    @pytest.mark.parametrize(
        ("axis", "training"),
        [
            (0, True),
            (1, False),
            *slow_rows((1, True), (2, True), (0, False), (2, False)),
        ],
    )
    def test_any_axis_may_hold_the_classes(self, axis, training):
        logits = np.random.default_rng(4).normal(size=(3, 4, 5))
        logits = logits.astype("float32")
        layer = kg.GumbelSoftmax(0.5, axis=axis, noise_scale=0.0)
        y = as_array(layer(logits, training=training))
        np.testing.assert_allclose(
            y, reference.softmax(logits, 0.5, axis), atol=1e-6
        )
