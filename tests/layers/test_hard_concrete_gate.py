"""`HardConcreteGate`: gates in training and after, the penalty, errors."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import reference, statistics
from tests.conformance.registry import as_array
from tests.harness import (
    ALWAYS_KNOWN,
    APART,
    dtype_of,
    grad_to,
    in_mode,
    tensor,
    to_numpy,
    value_and_grad,
)
from tests.ops.test_hard_concrete import check_law, gates
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

LOG_ALPHA = np.array([-4.0, -1.0, 0.0, 2.0, 6.0], "float32")
WIDE = LOG_ALPHA.astype("float64")
SHAPE = (6, 3, 5)
INPUTS = np.random.default_rng(5).normal(size=SHAPE).astype("float32")
SHIFT = np.log(0.1 / 1.1)


def at(log_alpha=LOG_ALPHA, shape=SHAPE, **arguments):
    """A layer that has these gates."""
    layer = kg.HardConcreteGate(**arguments)
    layer.build(shape)
    layer.log_alpha.assign(log_alpha)
    return layer


def open_(log_alpha, temperature=2 / 3, scale=1.0):
    """P(z != 0), in float64."""
    x = np.asarray(log_alpha, "float64") - temperature * SHIFT
    return reference.logistic_cdf(x / scale)


class TestTraining:
    def test_law(self, seed):
        """Of each gate over the examples, and none tells of another."""
        inputs = np.ones((2**19, 2), "float32")
        layer = at([0.5, -1.0], inputs.shape, temperature=0.4, seed=seed)
        y = as_array(layer(inputs, training=True))
        for column, log_alpha in zip(y.T, (0.5, -1.0), strict=True):
            setting = (log_alpha, 0.4, (-0.1, 1.1), 1.0)
            check_law(lambda *_, z=column: z, setting, seed)
        assert statistics.correlation_p(*y.T) > FALSE_FAIL_RATE

    def test_a_first_call_is_the_op(self):
        settings = {"stretch": (-0.3, 1.2), "noise_scale": 0.7, "seed": 3}
        layer = kg.HardConcreteGate(
            temperature=0.5, log_alpha_initializer="ones", **settings
        )
        y = layer(INPUTS[:, 0], training=True)
        rows = np.ones((6, 5), "float32")
        z = kg.ops.hard_concrete(rows, 0.5, **settings)
        np.testing.assert_allclose(y, INPUTS[:, 0] * to_numpy(z), rtol=APART)

    @pytest.mark.parametrize(
        ("axis", "shape"),
        [
            (-1, (6, 1, 5)),
            (1, (6, 3, 1)),  # channels first
            ([1, 2], (6, 3, 5)),
            *slow_rows((2, (6, 1, 5)), ((1,), (6, 3, 1)), ((-1, 1), (6, 3, 5))),
        ],
    )
    def test_noise_is_of_an_example_and_shared_by_what_is_not_gated(
        self, axis, shape
    ):
        layer = kg.HardConcreteGate(axis, seed=3)
        z = as_array(layer(np.ones(SHAPE, "float32"), training=True))
        assert layer.log_alpha.shape == tuple(n for n in shape[1:] if n > 1)
        expected = kg.ops.hard_concrete(np.zeros(shape, "float32"), seed=3)
        np.testing.assert_array_equal(z, np.broadcast_to(expected, SHAPE))
        # No two examples have the same gates.
        assert len(np.unique(z.reshape(6, -1), axis=0)) == 6

    def test_gradients(self):
        """To inputs and locations, under the noise of the op."""
        layer = at(seed=3)
        weight = INPUTS[::-1].copy()
        _, (d_x,) = value_and_grad(
            lambda x: layer(x, training=True), INPUTS, upstream=weight
        )
        again = at(seed=3)
        (d_log_alpha,) = grad_to(
            [again.log_alpha],
            lambda: again(INPUTS, training=True) * tensor(weight),
        )
        rows = np.tile(LOG_ALPHA, (6, 1))
        z, (d_rows,) = value_and_grad(
            lambda rows: kg.ops.hard_concrete(rows, seed=3),
            rows,
            upstream=(INPUTS * weight).sum(1),
        )
        np.testing.assert_allclose(d_x, weight * as_array(z)[:, None])
        np.testing.assert_allclose(
            d_log_alpha, as_array(d_rows).sum(0), atol=1e-5
        )
        assert np.abs(d_log_alpha).max() > 0.1

    def test_a_temperature_for_each_example(self):
        layer = at(shape=(6, 5), seed=3)
        tau = np.linspace(0.1, 2, 6).astype("float32")[:, None]
        y, (slope,) = value_and_grad(
            lambda tau: layer(INPUTS[:, 0], temperature=tau, training=True),
            tau,
        )
        z = kg.ops.hard_concrete(np.tile(LOG_ALPHA, (6, 1)), tau, seed=3)
        np.testing.assert_allclose(y, INPUTS[:, 0] * to_numpy(z), rtol=APART)
        slope = as_array(slope)
        assert slope.shape == (6, 1)
        assert np.abs(slope).max() > 1e-3
        # The penalty is the mean over the examples.
        layer.l0_weight = 2.0
        layer(INPUTS[:, 0], temperature=tau)
        expected = 2 * open_(LOG_ALPHA, tau).sum() / 6
        assert to_numpy(layer.losses[0]) == pytest.approx(expected, rel=1e-5)


class TestInference:
    @pytest.mark.parametrize("inference", [None, "deterministic"])
    @pytest.mark.parametrize("training", [None, False])
    def test_no_noise(self, inference, training):
        layer = at(inference=inference, temperature=0.1, stretch=(-0.3, 1.2))
        y = layer(INPUTS, training=training)
        expected = gates(LOG_ALPHA, 1.0, (-0.3, 1.2))
        np.testing.assert_allclose(y, INPUTS * expected, atol=1e-6)
        np.testing.assert_allclose(layer.gates(), expected, atol=1e-6)
        assert layer.resolved_inference == "deterministic"
        assert as_array(layer.seed_generator.state)[1] == 0
        # Closed is closed, and open is open.
        np.testing.assert_array_equal(as_array(y)[..., 0], 0)
        np.testing.assert_array_equal(as_array(y)[..., 4], INPUTS[..., 4])

    def test_gradient_of_the_gates(self):
        layer = at()
        (found,) = grad_to([layer.log_alpha], layer.gates)
        up, down = (gates(WIDE + h, 1.0) for h in (1e-5, -1e-5))
        np.testing.assert_allclose(found, (up - down) / 2e-5, atol=1e-5)

    @pytest.mark.slow
    def test_what_is_never_needed_is_closed_exactly(self):
        """Two features of five tell the target: three gates end at 0."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=(256, 5)).astype("float32")
        layer = kg.HardConcreteGate(l0_weight=0.05, seed=3)
        model = keras.Sequential([layer, keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.05), "mean_squared_error")
        model.fit(x, x[:, 1] - x[:, 3], 64, 60, verbose=0)
        found = as_array(layer.gates())
        np.testing.assert_array_equal(found[[0, 2, 4]], 0)
        assert found[[1, 3]].min() > 0.9
        # Nothing of those features is left, whatever they are.
        other = np.where([True, False, True, False, True], 1e6 * x, x)
        np.testing.assert_array_equal(model(other), model(x))


class TestPenalty:
    @pytest.mark.parametrize(
        ("temperature", "scale"),
        [
            (2 / 3, 2.0),
            (0.2, 0.0),
            *slow_rows((2 / 3, 1.0), (2 / 3, 0.0), (0.2, 1.0), (0.2, 2.0)),
        ],
    )
    def test_expected_active_is_the_rate_of_open_gates(
        self, temperature, scale, seed
    ):
        """Detected: a rate that is 1.5 % off."""
        n = 2**17
        layer = at(
            LOG_ALPHA, (n, 5), noise_scale=scale, seed=seed, temperature=9.0
        )
        layer.temperature = temperature  # the live one counts
        z = as_array(layer(np.ones((n, 5), "float32"), training=True))
        if scale:
            expected = open_(LOG_ALPHA, temperature, scale)
            for column, prob in zip(z.T, expected, strict=True):
                count = int(np.sum(column != 0))
                p = statistics.binomial_p(count, n, prob)
                assert p > FALSE_FAIL_RATE
        else:
            expected = z[0] != 0
        assert to_numpy(layer.expected_active()) == pytest.approx(
            expected.sum(), rel=1e-5
        )

    def test_gradient(self):
        """By differences in float64."""
        layer = at(temperature=0.5, noise_scale=0.8)
        (found,) = grad_to([layer.log_alpha], layer.expected_active)
        up, down = (open_(WIDE + h, 0.5, 0.8) for h in (1e-5, -1e-5))
        # Elsewhere the slope of a sigmoid is p (1 - p), rounded where p is 1.
        least = 0.0 if keras.config.backend() == "tensorflow" else 2e-7
        np.testing.assert_allclose(
            found, (up - down) / 2e-5, rtol=1e-4, atol=least
        )

    @pytest.mark.parametrize("training", [True, False, None])
    def test_every_call_adds_it(self, training):
        layer = at(l0_weight=0.25)
        layer(INPUTS, training=training)
        (loss,) = layer.losses
        expected = 0.25 * open_(LOG_ALPHA).sum()
        assert to_numpy(loss) == pytest.approx(expected, rel=1e-6)
        assert dtype_of(loss) == "float32"

    def test_a_temperature_that_is_not_positive_shows(self):
        layer = at(l0_weight=1.0)
        layer.temperature.assign(-1.0)
        layer(INPUTS)
        assert np.isnan(layer.losses[0])

    def test_it_reaches_the_gates_in_fit(self):
        """The inputs are 0: nothing else can."""
        layer = at(shape=(4, 5), l0_weight=0.5, seed=3)
        model = keras.Sequential([keras.Input((5,)), layer])
        model.compile(
            keras.optimizers.SGD(1.0), "mean_squared_error", jit_compile=False
        )
        x = np.zeros((4, 5), "float32")
        history = model.fit(x, x, verbose=0)
        rate = open_(LOG_ALPHA)
        assert history.history["loss"] == pytest.approx([0.5 * rate.sum()])
        expected = LOG_ALPHA - 0.5 * rate * (1 - rate)
        np.testing.assert_allclose(layer.log_alpha, expected, atol=1e-6)
        assert model.evaluate(x, x, verbose=0) == pytest.approx(
            0.5 * open_(expected).sum(), rel=1e-5
        )

    @pytest.mark.skipif(ALWAYS_KNOWN, reason="nothing is traced")
    def test_its_weight_is_live(self):
        layer = at(l0_weight=0.25)
        variable, traces = layer.l0_weight, []

        def penalty():
            traces.append(1)
            layer(INPUTS, training=True)
            return layer.losses[0]

        penalty = in_mode("graph", penalty)
        traced = []
        for weight in (0.25, 0.0, 3.0):
            layer.l0_weight = weight
            assert layer.l0_weight is variable
            assert to_numpy(penalty()) == pytest.approx(
                weight * open_(LOG_ALPHA).sum(), rel=1e-6
            )
            traced.append(len(traces))
        assert len(set(traced)) == 1
        assert variable.dtype == "float32"
        assert layer.get_config()["l0_weight"] == 0.25
        assert layer.trainable_weights == [layer.log_alpha]

    def test_schedules_of_both_numbers_count_one_step_a_call(self, tmp_path):
        decay = keras.optimizers.schedules.ExponentialDecay
        layer = at(
            shape=(6, 5),
            temperature=decay(1.0, 1, 0.5),
            l0_weight=keras.optimizers.schedules.PolynomialDecay(0.0, 4, 1.0),
        )
        inputs = keras.Input((5,))
        model = keras.Model(inputs, layer(inputs))
        for step in range(3):
            layer(INPUTS[:, 0], training=True)
            assert float(layer.temperature) == 0.5**step
            assert float(layer.l0_weight) == pytest.approx(step / 4)
            layer(INPUTS[:, 0])
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras").layers[-1]
        assert float(again.l0_weight) == pytest.approx(0.5)
        again(INPUTS[:, 0], training=True)
        assert float(again.l0_weight) == pytest.approx(0.75)
        assert float(again.temperature) == 0.125

    def test_gates_and_weight_are_saved(self, tmp_path):
        layer = at(axis=(1, 2), log_alpha=INPUTS[0], l0_weight=0.25)
        model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
        layer.l0_weight.assign(0.75)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        (found,) = again.layers
        np.testing.assert_array_equal(found.log_alpha, INPUTS[0])
        assert float(found.l0_weight) == 0.75
        assert found.axis == (1, 2)
        np.testing.assert_array_equal(again(INPUTS), model(INPUTS))


class TestMask:
    MASK = np.array([True, True, False, True, False])

    @pytest.mark.parametrize("training", [True, False])
    def test_forbidden_gates(self, training):
        layer = at(seed=3, l0_weight=1.0)

        def call(layer):
            return layer(INPUTS, class_mask=self.MASK, training=training)

        def loss():
            return keras.ops.sum(call(layer) ** 2) + layer.losses[0]

        (slope,) = grad_to([layer.log_alpha], loss)
        layer = at(seed=3, l0_weight=1.0)
        made = call(layer)
        penalty = open_(LOG_ALPHA)[self.MASK].sum()
        assert to_numpy(layer.losses[0]) == pytest.approx(penalty, rel=1e-6)
        plain = as_array(at(seed=3)(INPUTS, training=training))
        np.testing.assert_array_equal(made, np.where(self.MASK, plain, 0))
        np.testing.assert_array_equal(slope[~self.MASK], 0)
        assert np.all(slope[self.MASK] != 0)

    @pytest.mark.parametrize("training", [True, *slow(False)])
    def test_for_each_example_as_an_input_of_a_model(self, training):
        inputs = keras.Input((None, 5))
        allowed = keras.Input((1, 5), dtype="bool")
        layer = at(seed=3, l0_weight=1.0)
        model = keras.Model(
            [inputs, allowed], layer(inputs, class_mask=allowed)
        )
        mask = np.random.default_rng(2).random((6, 1, 5)) < 0.5
        y = model([INPUTS, mask], training=training)
        plain = as_array(at(seed=3)(INPUTS, training=training))
        np.testing.assert_array_equal(y, np.where(mask, plain, 0))
        penalty = np.where(mask, open_(LOG_ALPHA), 0).sum() / 6
        assert to_numpy(model.losses[0]) == pytest.approx(penalty, rel=1e-6)


class TestNumbers:
    @pytest.mark.parametrize(
        ("mode", "training"),
        [
            ("compiled", True),
            ("eager", False),
            *slow_rows(("eager", True), ("compiled", False)),
        ],
    )
    def test_nan_shows(self, training, mode):
        log_alpha, inputs = LOG_ALPHA.copy(), INPUTS.copy()
        log_alpha[1], inputs[2, 1, 0] = np.nan, np.nan
        layer = at(log_alpha, seed=3, l0_weight=1.0)

        def call():
            y = layer(inputs, training=training)
            return y, layer.losses[0], layer.gates()

        y, loss, found = map(as_array, in_mode(mode, call)())
        nan = np.isnan(inputs) | (np.arange(5) == 1)
        np.testing.assert_array_equal(np.isnan(y), nan)
        assert np.isnan(loss)
        np.testing.assert_array_equal(np.isnan(found), np.arange(5) == 1)
        quiet = at(log_alpha, noise_scale=0.0)
        assert np.isnan(quiet.expected_active())

    @pytest.mark.parametrize(
        ("policy", "dtype"),
        [("mixed_bfloat16", "bfloat16"), ("float64", "float64")],
    )
    def test_gates_are_float32_under_any_policy(self, policy, dtype):
        """And the product is rounded once, from inputs that are not."""
        layer = at(seed=3, dtype=policy)
        inputs = INPUTS.astype("float64") / 3
        if dtype == "bfloat16":
            inputs = inputs.astype("float32")
        y = layer(inputs, training=True)
        ones = np.ones(SHAPE, "float32")
        z = as_array(at(seed=3)(ones, training=True))
        expected = keras.ops.cast(as_array(inputs) * z, dtype)
        if dtype == "float64":
            np.testing.assert_array_equal(y, expected)
        else:
            np.testing.assert_allclose(as_array(y), as_array(expected), 2**-8)
        assert dtype_of(y) == dtype
        assert layer.log_alpha.dtype == layer.l0_weight.dtype == "float32"


AXIS_ERRORS = [
    (3, ValueError, r"`axis` must be in \[-3, 3\) .*axis=3, inputs of"),
    (-4, ValueError, r"`axis` must be in \[-3, 3\)"),
    (0, ValueError, "`axis` must not be the first one, that of the examples"),
    (-3, ValueError, "`axis` must not be the first one"),
    ((1, -2), ValueError, r"name each axis once. Received: axis=\(1, -2\)"),
    (1, ValueError, r"must be of known size.*shape \(None, None, 5\)"),
]
ERRORS = [
    ({"axis": 1.0}, TypeError, "`axis` must be an integer. .*axis=1.0"),
    ({"axis": True}, TypeError, "`axis` must be an integer. .*axis=True"),
    ({"axis": (1, "2")}, TypeError, "`axis` must be an integer. .*axis='2'"),
    ({"axis": ()}, ValueError, "`axis` must name at least one"),
    ({"stretch": (0.1, 1.1)}, ValueError, r"`stretch` .*\(0.1, 1.1\)"),
]


class TestErrors:
    @pytest.mark.parametrize(("axis", "exception", "message"), AXIS_ERRORS)
    def test_axes(self, axis, exception, message):
        with pytest.raises(exception, match=message):
            kg.HardConcreteGate(axis).build((None, None, 5))

    @pytest.mark.parametrize(("arguments", "exception", "message"), ERRORS)
    def test_of_the_constructor(self, arguments, exception, message):
        with pytest.raises(exception, match=message):
            kg.HardConcreteGate(**arguments)

    def test_of_a_live_weight(self):
        layer = kg.HardConcreteGate(l0_weight=0.5)
        for call in (
            lambda: setattr(layer, "l0_weight", -1),
            lambda: kg.HardConcreteGate(l0_weight=-1),
        ):
            with pytest.raises(ValueError, match=r"`l0_weight`.*l0_weight=-1"):
                call()
        assert float(layer.l0_weight) == 0.5
        schedule = keras.optimizers.schedules.ExponentialDecay(-1.0, 1, 0.5)
        with pytest.raises(ValueError, match="`l0_weight`"):
            kg.HardConcreteGate(l0_weight=schedule)

    @pytest.mark.parametrize(
        ("inputs", "options", "exception", "message"),
        [
            (np.ones(SHAPE, "int32"), {}, TypeError, "`inputs` must be .*int3"),
            (INPUTS[..., :4], {}, ValueError, "expected axis 2"),
            (INPUTS[0], {}, ValueError, "expected ndim=3"),
            (
                INPUTS,
                {"class_mask": np.ones(3, bool)},
                ValueError,
                r"`class_mask` must broadcast.*\(3,\), gates of .*\(6, 1, 5\)",
            ),
            (
                INPUTS,
                {"temperature": np.ones((6, 3, 1), "float32")},
                ValueError,
                r"`temperature` must broadcast to the gates",
            ),
        ],
    )
    def test_of_a_call(self, inputs, options, exception, message):
        with pytest.raises(exception, match=message):
            at()(inputs, **options)
