"""Each error names the argument, says what was expected and what came."""

import math
import re
import types

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.frameworks import tf
from tests.harness import tensor

LOGITS = np.zeros((2, 3), "float32")
NUMBERS = np.zeros((2, 3), "int32")
OPS = [kg.ops.gumbel_softmax, kg.ops.sample_argmax_index]
LAYERS = [kg.GumbelSoftmax, kg.SampleArgmaxIndex]


def each(argument, *things):
    """A test of each of these classes and functions."""
    return pytest.mark.parametrize(
        argument, things, ids=lambda thing: thing.__name__
    )


# Of classes on an axis, and of gates too.
each_op = each("op", *OPS)
each_layer = each("layer", *LAYERS)
every_op = each("op", *OPS, kg.ops.gumbel_sigmoid)
every_layer = each("layer", *LAYERS, kg.GumbelSigmoid)
each_taker = each("take", *OPS, *LAYERS, kg.ops.gumbel_sigmoid)


def zeros(shape):
    return np.zeros(shape, "float32")


def refuses(exception, argument, expectation, received, call):
    """That `call()` raises, and says these three things."""
    with pytest.raises(exception) as error:
        call()
    message = str(error.value)
    assert f"`{argument}`" in message
    assert re.search(expectation, message), message
    assert re.search(r"Received: .*" + re.escape(received), message), message


TEMPERATURES = [
    (0, ValueError, "positive and finite", "temperature=0"),
    (0.0, ValueError, "positive and finite", "temperature=0.0"),
    (-1.0, ValueError, "positive and finite", "temperature=-1.0"),
    (float("nan"), ValueError, "positive and finite", "temperature=nan"),
    (float("inf"), ValueError, "positive and finite", "temperature=inf"),
    ("1", TypeError, "positive number", "temperature='1' (of type str)"),
    (True, TypeError, "positive number", "temperature=True (of type bool)"),
    (None, TypeError, "positive number", "temperature=None"),
]
each_temperature = pytest.mark.parametrize(
    ("value", "exception", "expectation", "received"),
    TEMPERATURES,
    ids=[row[3] for row in TEMPERATURES],
)


class TestTemperature:
    @every_op
    @each_temperature
    def test_of_a_function(self, op, value, exception, expectation, received):
        refuses(
            exception,
            "temperature",
            expectation,
            received,
            lambda: op(LOGITS, value),
        )

    @every_layer
    @each_temperature
    def test_of_a_layer(self, layer, value, exception, expectation, received):
        refuses(
            exception,
            "temperature",
            expectation,
            received,
            lambda: layer(temperature=value),
        )

    @each_layer
    @pytest.mark.parametrize(
        ("value", "exception", "expectation"),
        [
            ([1.0, 2.0], ValueError, "one number.*goes to the call"),
            (np.ones((2, 1), "float32"), ValueError, "one number"),
            (lambda step: 1.0, TypeError, "A function goes to"),
        ],
        ids=["list", "array", "function"],
    )
    def test_no_number_for_a_layer(self, layer, value, exception, expectation):
        refuses(
            exception,
            "temperature",
            expectation,
            f"temperature={value!r}"[:16],
            lambda: layer(temperature=value),
        )

    @each_temperature
    def test_assigned(self, value, exception, expectation, received):
        made = kg.GumbelSoftmax()
        refuses(
            exception,
            "temperature",
            expectation,
            received,
            lambda: setattr(made, "temperature", value),
        )

    @each_layer
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
    def test_of_a_call(self, layer, training, value):
        refuses(
            ValueError,
            "temperature",
            "positive and finite",
            f"temperature={value}",
            lambda: layer()(LOGITS, temperature=value, training=training),
        )

    @each_op
    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
    def test_one_bad_of_many(self, op, value):
        tau = np.array([[1.0], [value]], "float32")
        refuses(
            ValueError,
            "temperature",
            "positive and finite",
            "temperature=",
            lambda: op(LOGITS, tau),
        )

    @each_op
    @pytest.mark.parametrize("kind", ["int32", "bool"])
    def test_tensor_of_another_dtype(self, op, kind):
        refuses(
            TypeError,
            "temperature",
            "float tensor",
            "temperature=",
            lambda: op(LOGITS, np.ones((), kind)),
        )

    @each_op
    @pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 3), (4, 1), (1, 2, 1)])
    def test_shape(self, op, shape):
        refuses(
            ValueError,
            "temperature",
            "broadcast to the logits and have size 1",
            f"temperature of shape {shape}, logits of shape (2, 3)",
            lambda: op(LOGITS, np.ones(shape, "float32")),
        )

    @pytest.mark.parametrize("shape", [(4, 6), (3, 2)])
    def test_shape_of_gates(self, shape):
        """Which may each have their own."""
        layer = kg.GumbelSigmoid()
        for call in (
            lambda tau: kg.ops.gumbel_sigmoid(LOGITS, tau),
            lambda tau: layer(LOGITS, temperature=tau, training=True),
            lambda tau: layer(LOGITS, temperature=tau),
        ):
            refuses(
                ValueError,
                "temperature",
                "broadcast to the logits",
                f"temperature of shape {shape}, logits of shape (2, 3)",
                lambda call=call: call(np.ones(shape, "float32")),
            )

    @each_layer
    def test_shape_in_a_call(self, layer):
        for training in (True, False):
            refuses(
                ValueError,
                "temperature",
                "broadcast to the logits and have size 1",
                "temperature of shape (3,), logits of shape (2, 3)",
                lambda training=training: layer()(
                    LOGITS, temperature=np.ones(3, "float32"), training=training
                ),
            )


class TestLogits:
    @every_op
    @pytest.mark.parametrize("kind", ["int32", "int64", "bool"])
    def test_that_are_no_floats(self, op, kind):
        refuses(
            TypeError,
            "logits",
            "float tensor",
            f"logits of dtype {kind}",
            lambda: op(np.zeros((2, 3), kind)),
        )

    @every_layer
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("from_logits", [True, False])
    def test_that_are_no_floats_in_a_layer(self, layer, from_logits, training):
        refuses(
            TypeError,
            "logits",
            "float tensor",
            "logits of dtype int32",
            lambda: layer(from_logits=from_logits)(NUMBERS, training=training),
        )

    @each_op
    def test_symbolic(self, op):
        refuses(
            TypeError,
            "keras_gumbel.GumbelSoftmax",
            "There call the layer",
            "logits=<KerasTensor",
            lambda: op(keras.Input((3,))),
        )

    @pytest.mark.tensorflow
    @each_op
    def test_of_unknown_rank(self, op):
        call = tf.function(
            op, [tf.TensorSpec(None, "float32")], autograph=False
        )

        refuses(
            ValueError,
            "logits",
            "known rank",
            "logits of shape <unknown>",
            lambda: call(LOGITS),
        )


class TestAxis:
    @each_op
    @pytest.mark.parametrize("axis", [2, -3, 100])
    def test_out_of_range(self, op, axis):
        refuses(
            ValueError,
            "axis",
            re.escape("in [-2, 2)"),
            f"axis={axis}, logits of shape (2, 3)",
            lambda: op(LOGITS, axis=axis),
        )

    @each_layer
    @pytest.mark.parametrize("axis", [2, -3])
    def test_out_of_range_in_a_layer(self, layer, axis):
        """Also before any data, in a Functional model."""
        for x in (LOGITS, keras.Input((3,))):
            refuses(
                ValueError,
                "axis",
                re.escape("in [-2, 2)"),
                f"axis={axis}, logits of shape (",
                lambda x=x: layer(axis=axis)(x),
            )

    @each_op
    @pytest.mark.parametrize("axis", [1.0, "1", None, True])
    def test_no_integer(self, op, axis):
        refuses(
            TypeError,
            "axis",
            "must be an integer",
            f"axis={axis!r} (of type {type(axis).__name__})",
            lambda: op(LOGITS, axis=axis),
        )

    @each_layer
    @pytest.mark.parametrize("axis", [1.0, "1", None, True])
    def test_no_integer_in_a_layer(self, layer, axis):
        refuses(
            TypeError,
            "axis",
            "must be an integer",
            f"axis={axis!r} (of type {type(axis).__name__})",
            lambda: layer(axis=axis),
        )

    @each_op
    def test_without_classes(self, op):
        refuses(
            ValueError,
            "axis",
            "at least one class",
            "axis=-1, logits of shape (2, 0)",
            lambda: op(np.zeros((2, 0), "float32")),
        )


class TestClassMask:
    MASKS = [
        (np.ones((2, 3), "int32"), TypeError, "must be bool", "dtype int32"),
        (np.ones((2, 3), "float32"), TypeError, "must be bool", "float32"),
        (np.ones(4, bool), ValueError, "broadcast", "of shape (4,), logits"),
        (np.ones((3, 3), bool), ValueError, "broadcast", "of shape (3, 3)"),
        (np.ones((1, 2, 3), bool), ValueError, "broadcast", "shape (1, 2, 3)"),
    ]

    @every_op
    @pytest.mark.parametrize(
        ("mask", "exception", "expectation", "received"), MASKS
    )
    def test_of_a_function(self, op, mask, exception, expectation, received):
        refuses(
            exception,
            "class_mask",
            expectation,
            received,
            lambda: op(LOGITS, class_mask=mask),
        )

    @every_layer
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize(
        ("mask", "exception", "expectation", "received"), MASKS
    )
    def test_of_a_call(
        self, layer, mask, exception, expectation, received, training
    ):
        refuses(
            exception,
            "class_mask",
            expectation,
            received,
            lambda: layer()(LOGITS, class_mask=mask, training=training),
        )


SEEDS = [
    (1.0, TypeError, "None, an integer or a", "seed=1.0 (of type float)"),
    ("1", TypeError, "None, an integer or a", "seed='1' (of type str)"),
    (True, TypeError, "None, an integer or a", "seed=True (of type bool)"),
    (-1, ValueError, "at least 0 and below", "seed=-1"),
    (2**32, ValueError, "at least 0 and below", "seed=4294967296"),
]
each_seed = pytest.mark.parametrize(
    ("value", "exception", "expectation", "received"),
    SEEDS,
    ids=[row[3] for row in SEEDS],
)


class TestSeed:
    @every_op
    @each_seed
    def test_of_a_function(self, op, value, exception, expectation, received):
        refuses(
            exception,
            "seed",
            expectation,
            received,
            lambda: op(LOGITS, seed=value),
        )

    @each_seed
    def test_of_the_noise(self, value, exception, expectation, received):
        refuses(
            exception,
            "seed",
            expectation,
            received,
            lambda: kg.ops.sample_gumbel((2,), seed=value),
        )

    @every_layer
    @each_seed
    def test_of_a_layer(self, layer, value, exception, expectation, received):
        refuses(
            exception,
            "seed",
            expectation,
            received,
            lambda: layer(seed=value),
        )


SCALES = [
    (-1.0, ValueError, "finite and not negative", "noise_scale=-1.0"),
    (float("nan"), ValueError, "finite and not negative", "noise_scale=nan"),
    (float("inf"), ValueError, "finite and not negative", "noise_scale=inf"),
    ("1", TypeError, "must be a number", "noise_scale='1' (of type str)"),
    (True, TypeError, "must be a number", "noise_scale=True (of type bool)"),
]
each_scale = pytest.mark.parametrize(
    ("value", "exception", "expectation", "received"),
    SCALES,
    ids=[row[3] for row in SCALES],
)


class TestNoiseScale:
    @every_op
    @each_scale
    def test_of_a_function(self, op, value, exception, expectation, received):
        refuses(
            exception,
            "noise_scale",
            expectation,
            received,
            lambda: op(LOGITS, noise_scale=value),
        )

    @every_layer
    @each_scale
    def test_of_a_layer(self, layer, value, exception, expectation, received):
        refuses(
            exception,
            "noise_scale",
            expectation,
            received,
            lambda: layer(noise_scale=value),
        )


class TestChoices:
    @pytest.mark.parametrize("hard", [True, False])
    @each_taker
    def test_estimator_of_no_known_name(self, take, hard):
        """Of a soft sample too, which makes no use of it."""
        first = [LOGITS] if isinstance(take, types.FunctionType) else []
        refuses(
            ValueError,
            "estimator",
            r"one of \['gapped_st', 'gumbel_rao', 'reinmax', 'st', ",
            "estimator='gumble'",
            lambda: take(*first, hard=hard, estimator="gumble"),
        )

    @pytest.mark.parametrize("value", [1, None, kg.GumbelSoftmax])
    @each_taker
    def test_estimator_of_another_type(self, take, value):
        first = [LOGITS] if isinstance(take, types.FunctionType) else []
        refuses(
            TypeError,
            "estimator",
            "a name or an object",
            f"estimator={value!r}",
            lambda: take(*first, hard=True, estimator=value),
        )

    def test_estimator_config_of_something_else(self):
        config = keras.saving.serialize_keras_object(keras.optimizers.SGD())
        refuses(
            ValueError,
            "estimator",
            "object of",
            "estimator={",
            lambda: kg.estimators.get(config),
        )

    @pytest.mark.parametrize("value", ["int32", "float", "complex64", 7])
    def test_dtype_of_the_noise(self, value):
        refuses(
            ValueError,
            "dtype",
            "must be a float dtype",
            f"dtype={value!r}",
            lambda: kg.ops.sample_gumbel((2,), dtype=value),
        )


ESTIMATORS = [
    kg.estimators.GappedStraightThrough,
    kg.estimators.GumbelRao,
    kg.estimators.ReinMax,
    kg.estimators.StraightThrough,
    kg.estimators.StraightThroughGumbel,
]


class TestEstimators:
    @pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
    @pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda x: x.__name__)
    def test_backward_temperature(self, cls, value):
        refuses(
            ValueError,
            "backward_temperature",
            "positive and finite",
            f"backward_temperature={value}",
            lambda: cls(backward_temperature=value),
        )

    @pytest.mark.parametrize("value", ["1", True])
    @pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda x: x.__name__)
    def test_backward_temperature_of_another_type(self, cls, value):
        refuses(
            TypeError,
            "backward_temperature",
            "a number",
            f"backward_temperature={value!r}",
            lambda: cls(backward_temperature=value),
        )

    @pytest.mark.parametrize("value", [-1.0, math.nan])
    def test_backward_temperature_that_is_known(self, value):
        refuses(
            ValueError,
            "backward_temperature",
            "positive and finite",
            f"backward_temperature={value}",
            lambda: kg.estimators.ReinMax(backward_temperature=tensor(value)),
        )

    @pytest.mark.parametrize(
        ("value", "kind", "words"),
        [
            (tensor([1.0, 2.0]), ValueError, "must be one number"),
            (tensor([1], "int32")[0], TypeError, "scalar float tensor"),
        ],
    )
    def test_backward_temperature_that_is_no_scalar(self, value, kind, words):
        refuses(
            kind,
            "backward_temperature",
            words,
            "backward_temperature",
            lambda: kg.estimators.ReinMax(backward_temperature=value),
        )

    @pytest.mark.parametrize(
        "function",
        [
            lambda x, rule: kg.ops.gumbel_softmax(x, hard=True, estimator=rule),
            lambda x, rule: kg.ops.sample_argmax_index(
                x, hard=True, estimator=rule
            ),
            lambda x, rule: kg.ops.gumbel_sigmoid(x, hard=True, estimator=rule),
            lambda x, rule: kg.ops.sample_embedding(
                x, keras.ops.ones((3, 2)), estimator=rule
            ),
        ],
    )
    def test_a_schedule_is_for_layers(self, function):
        schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 10, 0.5)
        rule = kg.estimators.ReinMax(backward_temperature=schedule)
        refuses(
            TypeError,
            "backward_temperature",
            "scalar float tensor",
            "backward_temperature",
            lambda: function(keras.ops.zeros((2, 3)), rule),
        )

    @pytest.mark.parametrize(
        "layer", [kg.GumbelSoftmax, kg.SampleArgmaxIndex, kg.GumbelSigmoid]
    )
    def test_a_tensor_is_for_functions(self, layer):
        rule = kg.estimators.ReinMax(backward_temperature=tensor(1.0))
        refuses(
            TypeError,
            "backward_temperature",
            "no place in a configuration",
            "backward_temperature",
            lambda: layer(hard=True, estimator=rule),
        )

    @pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
    def test_gap(self, value):
        refuses(
            ValueError,
            "gap",
            "positive and finite",
            f"gap={value}",
            lambda: kg.estimators.GappedStraightThrough(gap=value),
        )

    @pytest.mark.parametrize("value", [0, -1])
    def test_num_samples(self, value):
        refuses(
            ValueError,
            "num_samples",
            "at least 1",
            f"num_samples={value}",
            lambda: kg.estimators.GumbelRao(num_samples=value),
        )

    @pytest.mark.parametrize("value", [2.0, "2", True])
    def test_num_samples_of_another_type(self, value):
        refuses(
            TypeError,
            "num_samples",
            "an integer",
            f"num_samples={value!r}",
            lambda: kg.estimators.GumbelRao(num_samples=value),
        )


class TestStraightThrough:
    @pytest.mark.parametrize("shape", [(3,), (3, 2), (1, 3), (2, 3, 1)])
    def test_other_shapes(self, shape):
        refuses(
            ValueError,
            "hard",
            "`soft` must have the same shape",
            f"hard of shape (2, 3), soft of shape {shape}",
            lambda: kg.ops.straight_through(LOGITS, zeros(shape)),
        )


class TestScoreFunctionLoss:
    @pytest.mark.parametrize(
        "shape", [(2, 3), (1, 2, 3), (4, 3, 2), (4, 2, 1), (4, 2, 2, 3)]
    )
    def test_samples_of_other_shapes(self, shape):
        refuses(
            ValueError,
            "samples",
            r"\(S, \*logits.shape\), with S at least 2",
            f"samples of shape {shape}, logits of shape (2, 3)",
            lambda: kg.estimators.score_function_loss(
                zeros(shape[:1]), LOGITS, zeros(shape)
            ),
        )

    @pytest.mark.parametrize("shape", [(), (3,), (4, 3), (4, 2, 3), (2, 4)])
    def test_values_of_other_shapes(self, shape):
        refuses(
            ValueError,
            "values",
            r"\(S, \*batch\), where batch begins",
            f"values of shape {shape}, samples of shape (4, 2, 3), axis=1",
            lambda: kg.estimators.score_function_loss(
                zeros(shape), LOGITS, zeros((4, 2, 3))
            ),
        )

    def test_values_that_are_no_floats(self):
        refuses(
            TypeError,
            "values",
            "float tensor",
            "values of dtype int32",
            lambda: kg.estimators.score_function_loss(
                np.zeros((4, 2), "int32"), LOGITS, zeros((4, 2, 3))
            ),
        )

    def test_checks_its_logits_axis_and_mask_too(self):
        loss = kg.estimators.score_function_loss
        many, values = zeros((4, 2, 3)), zeros((4, 2))
        refuses(
            TypeError,
            "logits",
            "float",
            "logits of dtype int32",
            lambda: loss(values, NUMBERS, many),
        )
        refuses(
            ValueError,
            "axis",
            "in",
            "axis=2",
            lambda: loss(values, LOGITS, many, axis=2),
        )
        refuses(
            TypeError,
            "class_mask",
            "bool",
            "class_mask of dtype float32",
            lambda: loss(values, LOGITS, many, class_mask=LOGITS),
        )


def first_entry(z):
    return z[..., 0]


class TestDiagnostics:
    FUNCTIONS = [
        kg.diagnostics.exact_expectation,
        kg.diagnostics.exact_gradient,
        kg.diagnostics.gradient_report,
    ]
    each_function = pytest.mark.parametrize(
        "function", FUNCTIONS, ids=lambda function: function.__name__
    )

    @each_function
    @pytest.mark.parametrize(
        "row",
        [[0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]],
        ids=["nan", "inf", "nothing allowed"],
    )
    def test_logits_of_no_distribution(self, function, row):
        refuses(
            ValueError,
            "logits",
            "numbers or -inf, and allow a class in every row",
            "logits=[[",
            lambda: function(first_entry, np.array([[0.0, 1.0], row])),
        )

    @each_function
    def test_logits_that_are_no_floats(self, function):
        refuses(
            TypeError,
            "logits",
            "float tensor",
            "logits of dtype int32",
            lambda: function(first_entry, NUMBERS),
        )

    @each_function
    @pytest.mark.parametrize(
        ("objective", "shape"),
        [
            (keras.ops.sum, ()),
            (lambda z: keras.ops.sum(z, 0), (2, 3)),
            (lambda z: z, (2, 2, 3)),
            (lambda z: z[:1, ..., 0], (1, 2)),
            (lambda z: z[..., :1], (2, 2, 1)),
        ],
        ids=["none", "classes", "states", "one", "last"],
    )
    def test_values_of_other_shapes(self, function, objective, shape):
        refuses(
            ValueError,
            "objective",
            r"shape \(m, \*batch\)",
            f"objective(states) of shape {shape}, states of shape (2, 2, 3)",
            lambda: function(objective, LOGITS),
        )

    @each_function
    def test_values_whose_shape_changes(self, function):
        refuses(
            ValueError,
            "objective",
            r"one value for each state of each example, here of shape \(3, 2\)",
            "objective(states) of shape (2, 2)",
            lambda: function(lambda z: z[:2, ..., 0], LOGITS),
        )

    @pytest.mark.parametrize("function", FUNCTIONS[:2])
    def test_too_many_states(self, function):
        refuses(
            ValueError,
            "logits",
            "at most 1,000,000 joint states to enumerate",
            "20 variables of 2 classes, 2**20 states",
            lambda: function(
                lambda z: keras.ops.sum(z[..., 0], -1), np.zeros((3, 20, 2))
            ),
        )

    @pytest.mark.parametrize(
        ("factor", "length"), [(0.0, "0.0"), (np.nan, "nan"), (np.inf, "nan")]
    )
    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    def test_a_gradient_that_nothing_can_be_relative_to(self, factor, length):
        refuses(
            ValueError,
            "objective",
            "gradient is finite and not zero",
            f"length={length}",
            lambda: kg.diagnostics.gradient_report(
                lambda z: 5.0 + factor * z[..., 0], LOGITS
            ),
        )

    @pytest.mark.parametrize(
        ("argument", "value", "exception", "expectation"),
        [
            ("estimators", "soft", TypeError, "a sequence"),
            ("estimators", 3, TypeError, "a sequence"),
            ("temperatures", 0.5, TypeError, "a sequence"),
            ("num_samples", 31, ValueError, "at least 32"),
            ("num_samples", 100.0, TypeError, "an integer"),
            ("reference_samples", 0, ValueError, "at least 32"),
            ("seed", None, TypeError, "an integer"),
            ("seed", -1, ValueError, "at least 0 and below"),
        ],
        ids=str,
    )
    def test_arguments(self, argument, value, exception, expectation):
        refuses(
            exception,
            argument,
            expectation,
            f"{argument}={value!r}",
            lambda: kg.diagnostics.gradient_report(
                first_entry, LOGITS, **{argument: value}
            ),
        )

    @pytest.mark.parametrize(
        ("argument", "value", "exception", "expectation"),
        [
            ("estimators", "gumble", ValueError, "one of .*'score_function'"),
            ("temperatures", 0.0, ValueError, "positive and finite"),
            ("temperatures", None, TypeError, "a number"),
        ],
        ids=str,
    )
    def test_one_bad_of_many(self, argument, value, exception, expectation):
        refuses(
            exception,
            argument,
            expectation,
            f"{argument}={value!r}",
            lambda: kg.diagnostics.gradient_report(
                first_entry, LOGITS, **{argument: [value]}
            ),
        )


def fit(anneal, *layers, **options):
    """A training of two batches."""
    model = keras.Sequential([keras.layers.Dense(3), *layers])
    model.compile("sgd", "mse", jit_compile=False, **options)
    model.fit(LOGITS, LOGITS, batch_size=1, verbose=0, callbacks=[anneal])


class TestCallback:
    @pytest.mark.parametrize(
        ("argument", "value", "exception", "expectation"),
        [
            ("schedule", 0.5, TypeError, "Keras schedule or a function"),
            ("schedule", "cosine", TypeError, "Keras schedule or a function"),
            ("schedule", None, TypeError, "Keras schedule or a function"),
            ("frequency", "step", ValueError, "one of"),
            ("frequency", 1, ValueError, "one of"),
            ("initial_step", -1, ValueError, "at least 0"),
            ("initial_step", 0.5, TypeError, "must be an integer"),
        ],
    )
    def test_arguments(self, argument, value, exception, expectation):
        arguments = {"schedule": abs, argument: value}
        refuses(
            exception,
            argument,
            expectation,
            f"{argument}={value!r}",
            lambda: kg.TemperatureScheduler(**arguments),
        )

    @pytest.mark.parametrize(
        ("value", "exception", "expectation"),
        [
            (0.0, ValueError, "positive finite temperature"),
            (-1.0, ValueError, "positive finite temperature"),
            (float("nan"), ValueError, "positive finite temperature"),
            ("hot", TypeError, "must return a number"),
            (None, TypeError, "must return a number"),
        ],
    )
    def test_what_a_schedule_returns(self, value, exception, expectation):
        """At which step, too."""
        anneal = kg.TemperatureScheduler(
            lambda step: 1.0 if step < 1 else value
        )
        refuses(
            exception,
            "schedule",
            expectation,
            f"schedule(1)={value!r}",
            lambda: fit(anneal, kg.GumbelSoftmax(), run_eagerly=True),
        )

    def test_no_layer(self):
        with pytest.raises(ValueError) as error:
            fit(kg.TemperatureScheduler(abs), keras.layers.Dense(3, name="d3"))
        message = str(error.value)
        assert "needs layers with a live temperature" in message
        assert re.search(r"Received: .*d3", message)

    def test_layers_that_cannot_be_set(self):
        wrong = keras.layers.Dense(3, name="d3")
        anneal = kg.TemperatureScheduler(abs, layers=[wrong])
        with pytest.raises(ValueError) as error:
            fit(anneal, kg.GumbelSoftmax())
        message = str(error.value)
        assert "needs layers with a live temperature" in message
        assert re.search(r"Received: .*d3", message)

    def test_names_that_no_layer_has(self):
        anneal = kg.TemperatureScheduler(abs, layers=["chance"])
        refuses(
            ValueError,
            "layers",
            r"no layer of that name.*\['choice'\]",
            "layers=['chance']",
            lambda: fit(anneal, kg.GumbelSoftmax(name="choice")),
        )

    def test_no_optimizer(self):
        class Custom(keras.Sequential):
            def train_step(self, data):
                return {"loss": keras.ops.sum(self(data[0], training=True))}

        model = Custom([kg.GumbelSoftmax()])
        model.compile(optimizer=None)
        refuses(
            ValueError,
            "frequency='batch'",
            "no optimizer.*Use `frequency='epoch'`",
            "model=<Custom",
            lambda: model.fit(
                LOGITS,
                LOGITS,
                verbose=0,
                callbacks=[kg.TemperatureScheduler(abs)],
            ),
        )
