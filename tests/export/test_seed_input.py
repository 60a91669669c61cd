"""A model that is given a seed samples on whatever runs it, as Keras does."""

import itertools

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.estimators import Estimator, StraightThrough
from keras_gumbel.numerics import categorical
from keras_gumbel.numerics.portable_noise import random_words
from tests.conformance.registry import LAYERS, as_array, each_of
from tests.variants import slow, slow_rows

from .runtimes import export, outputs, run

EACH = pytest.mark.parametrize("target", ["litert", "onnx", *slow("openvino")])
# Loops, which OpenVINO alone can run, in most of a minute.
MATCHED = "GumbelSinkhorn-hard"
PORTABLE = [row for row in LAYERS if not str(row).startswith(MATCHED)]
GATE = ("GumbelSoftmax-hard",)
SETTINGS = {"onnx": {"opset_version": 18}}
CLASSES = 6


def pair(a, t):
    return np.array([a, t], "uint32").view("int32")


def written(given, target, folder):
    return export(given, target, folder, **SETTINGS.get(target, {}))


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


class Bits(keras.Layer):
    """The words of a key, for each entry of x."""

    def call(self, x, key):
        return list(random_words(tuple(keras.ops.shape(x)), key))

    def compute_output_spec(self, x, key):
        return [keras.KerasTensor(x.shape, "int32") for _ in range(2)]


def threefry(first, second, count):
    """Salmon et al.'s in unsigned words: of the paper, and of nothing here."""
    words = np.array([first, second, first ^ second ^ 0x1BD11BDA], "uint32")
    x = np.arange(count, dtype="uint32") + words[0]
    y = np.zeros(count, "uint32") + words[1]
    turns = (13, 15, 26, 6), (17, 29, 16, 24)
    for group, four in enumerate(itertools.islice(itertools.cycle(turns), 5)):
        for turn in map(np.uint32, four):
            x = x + y
            y = (y << turn | y >> np.uint32(32) - turn) ^ x
        x = x + words[(group + 1) % 3]
        y = y + words[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


@EACH
def test_the_words_of_each_runtime_are_exact(target, tmp_path):
    x = keras.Input((CLASSES,), name="x")
    key = keras.Input(batch_shape=(2,), dtype="int32", name="seed")
    model = keras.Model([x, key], Bits()(x, key))
    model(model.inputs)
    path = written(model, target, tmp_path)
    for first, second in [(0, 0), (17, 3), (2**32 - 1, 2**31 + 5)]:
        for rows in (1, 5000):
            feeds = {"x": numbers(rows, CLASSES), "seed": pair(first, second)}
            right = threefry(first, second, rows * CLASSES)
            found = [y.view("uint32") for y in outputs(path, feeds)[:2]]
            # Of LiteRT's outputs the order is its own.
            if not np.array_equal(np.ravel(found[0]), right[0]):
                found.reverse()
            for mine, other in zip(found, right, strict=True):
                np.testing.assert_array_equal(np.ravel(mine), other)


@pytest.mark.slow_ids("GumbelSoftmax-hard-onnx")
@EACH
@each_of(PORTABLE, gate=GATE)
def test_samples_equal_keras(row, target, tmp_path):
    model = row.model(temperature=0.5, inference="sample", seed=7)
    given = kg.export.with_seed_input(model)
    names = [x.name for x in given.inputs]
    path = written(given, target, tmp_path)
    x = row.logits()
    for t in range(2):
        expected = as_array(model(x))
        found = run(path, dict(zip(names, [x, pair(7, t)], strict=True)))
        if row.hard:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, atol=5e-6)
    # The file is not of one batch, nor of finite numbers only.
    some = run(path, dict(zip(names, [x[:1], pair(7, 1)], strict=True)))
    np.testing.assert_allclose(some, found[:1], rtol=1e-5, atol=1e-6)
    x[1, 1, 1] = np.nan
    feeds = [x, pair(7, 1)]
    shown = run(path, dict(zip(names, feeds, strict=True)))
    right = as_array(given(feeds))
    np.testing.assert_allclose(shown, right, rtol=1e-5, atol=5e-6)
    assert np.isnan(shown[1]).any()
    assert not np.isnan(shown[[0, 2, 3]]).any()


@pytest.mark.parametrize(
    ("estimator", "target"),
    slow_rows(
        *itertools.product(
            ("st", "gapped_st", "gumbel_rao"), ("litert", "onnx", "openvino")
        )
    ),
)
def test_each_estimator_of_many_classes(estimator, target, tmp_path):
    """Of 100 rows of 1000 classes none is another, and no mask is lost."""
    logits = keras.Input((1000,), name="logits")
    mask = keras.Input((1000,), dtype="bool", name="mask")
    choice = kg.SampleArgmaxIndex(
        hard=True, estimator=estimator, inference="sample", seed=3
    )
    model = keras.Model([logits, mask], choice(logits, class_mask=mask))
    given = kg.export.with_seed_input(model)
    path = written(given, target, tmp_path)
    x, allowed = 3 * numbers(100, 1000), numbers(100, 1000) < 0.5
    allowed[5] = False
    feeds = {"logits": x, "mask": allowed, "seed": pair(3, 0)}
    found = run(path, feeds)
    np.testing.assert_array_equal(found, as_array(model([x, allowed])))
    rows = np.arange(100) != 5
    assert allowed[rows, found.astype(int)[rows]].all()


def shared(**settings):
    """Layers of one stream: in a model in a model, called twice, and more."""
    stream = keras.random.SeedGenerator(11)
    settings |= {"seed": stream, "inference": "sample"}
    choice = kg.GumbelSoftmax(hard=True, **settings)
    inner = keras.Sequential([keras.Input((CLASSES,)), choice])
    a, b = keras.Input((CLASSES,), name="a"), keras.Input((CLASSES,), name="b")
    both = keras.layers.Concatenate()([inner(a), inner(b)])
    gate = kg.GumbelSigmoid(0.5, **settings)(both + a[:, :1])
    index = kg.SampleArgmaxIndex(hard=True, estimator="reinmax", **settings)(a)
    dropped = keras.layers.Dropout(0.5)(gate)
    return keras.Model({"a": a, "b": b}, [both, dropped, index])


def test_layers_share_a_stream_from_call_to_call():
    """What is promised of `seed`: call t of such a model, from 0."""
    model = shared()
    given = kg.export.with_seed_input(model)
    assert [x.name for x in given.inputs] == ["a", "b", "seed"]
    a, b = numbers(64, CLASSES), -numbers(64, CLASSES)
    for t in range(3):
        expected = [as_array(y) for y in model({"a": a, "b": b})]
        found = [as_array(y) for y in given([a, b, pair(11, t)])]
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], atol=5e-6)
        np.testing.assert_array_equal(found[2], expected[2])
    # The two calls of a layer draw noise of their own.
    halves = np.split(as_array(given([a, a, pair(11, 0)])[0]), 2, axis=1)
    assert not np.array_equal(*halves)


def test_the_rule_for_keys_that_the_docstring_tells():
    """Draw n of call t has the key (a, 4 t + n): each layer's own state."""
    model = shared()
    given = kg.export.with_seed_input(model)
    a = numbers(64, CLASSES)
    both = as_array(given([a, a, pair(5, 9)])[0])
    for n in range(2):
        choice = kg.GumbelSoftmax(hard=True, seed=5)
        state = choice.seed_generator.state
        state.assign(np.array([5, 9 * 4 + n], "int64"))
        np.testing.assert_array_equal(
            both[:, n * CLASSES : (n + 1) * CLASSES],
            as_array(choice(a, training=True)),
        )


@pytest.mark.slow_ids("axis1")
@pytest.mark.parametrize("axis", [1, (1, 2)])
def test_other_axes(axis):
    x = numbers(5, 4, 3, 2)
    for rule, hard in (("st_gumbel", False), ("reinmax", True)):
        layer = kg.GumbelSoftmax(
            hard=hard, axis=axis, estimator=rule, inference="sample", seed=3
        )
        model = keras.Sequential([keras.Input(x.shape[1:]), layer])
        given = kg.export.with_seed_input(model)
        np.testing.assert_allclose(
            as_array(given([x, pair(3, 0)])), as_array(model(x)), atol=5e-6
        )


@pytest.mark.slow_ids("None", "reinmax")
@pytest.mark.parametrize("estimator", [None, "st_gumbel", "reinmax"])
def test_codes_of_several_stages_and_groups(estimator):
    """A draw for each stage, of all groups at once."""
    layer = kg.VectorQuantizer(
        16,
        num_groups=2,
        num_stages=3,
        noise_scale=0.1,
        estimator=estimator,
        inference="sample",
        seed=3,
    )
    model = keras.Sequential([keras.Input((7, 4)), layer])
    given = kg.export.with_seed_input(model)
    assert given.get_layer("with_seed").draws == 3
    x = numbers(50, 7, 4)
    for t in range(2):
        expected = as_array(model(x))
        np.testing.assert_array_equal(
            as_array(given([x, pair(3, t)])), expected
        )


@pytest.mark.parametrize("levels", [(2, 2, 2), (8, 5, 5)])
def test_noise_that_is_rounded(levels):
    """Logistic noise for bits, uniform for other levels."""
    layer = kg.FiniteScalarQuantizer(
        levels, noise_scale=1.0, inference="sample", seed=3
    )
    model = keras.Sequential([keras.Input((3,)), layer])
    given = kg.export.with_seed_input(model)
    x = numbers(500, 3)
    np.testing.assert_array_equal(
        as_array(given([x, pair(3, 0)])), as_array(model(x))
    )


@pytest.mark.slow_ids("True")
@pytest.mark.parametrize("hard", [True, False])
def test_float64_and_far_rows(hard):
    x = numbers(64, CLASSES).astype("float64")
    x[:8] += 1e6
    for rule in ("st_gumbel", "st"):
        layer = kg.GumbelSoftmax(
            hard=hard,
            estimator=rule,
            inference="sample",
            seed=3,
            dtype="float64",
        )
        inputs = keras.Input((CLASSES,), dtype="float64")
        model = keras.Model(inputs, layer(inputs))
        given = kg.export.with_seed_input(model)
        y = as_array(given([x, pair(3, 0)]))
        np.testing.assert_allclose(y, as_array(model(x)), atol=1e-12)


def simple(**settings):
    layer = kg.GumbelSoftmax(hard=True, name="choice", **settings)
    return keras.Sequential([keras.Input((3,), name="logits"), layer])


@pytest.mark.parametrize(
    "settings", [{}, *slow({"opset_version": 17})], ids=str
)
def test_an_opset_without_xor_is_refused(settings, tmp_path):
    given = kg.export.with_seed_input(simple())
    with pytest.raises(ValueError, match="opset_version=18"):
        export(given, "onnx", tmp_path, **settings)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.slow_ids("onnx")
@EACH
def test_a_seed_of_another_size_is_an_error(target, tmp_path):
    path = written(kg.export.with_seed_input(simple()), target, tmp_path)
    x = numbers(2, 3)
    for seed in ([1], [1, 2, 3]):
        # Each runtime has errors of its own.
        with pytest.raises(Exception, match=r"(?i)shape|size|element"):
            run(path, {"logits": x, "seed": np.array(seed, "int32")})


def test_bad_seeds_in_keras():
    given = kg.export.with_seed_input(simple())
    layer, x = given.get_layer("with_seed"), numbers(2, 3)
    for seed in (np.zeros(3, "int32"), np.zeros((2, 2), "int32"), [0.0, 1.0]):
        seed = keras.ops.convert_to_tensor(seed)
        with pytest.raises(ValueError, match=r"`seed` must be two integers"):
            layer(x, seed)
    with pytest.raises(ValueError, match=r"incompatible|Received"):
        given([x, np.zeros(3, "int32")])


class Own(StraightThrough):
    """An estimator that draws in a way of its own."""

    def forward(self, draw):
        return categorical.first_argmax(-draw.logits(), draw.axis), None


class OfTheRule(StraightThrough):
    """One that has a gradient of its own alone."""

    def backward(self, draw, kept, choice, temperature, dy):
        return Estimator.backward(self, draw, kept, choice, temperature, dy)


def test_an_estimator_that_draws_in_its_own_way_is_refused():
    with pytest.raises(ValueError, match=r"must know how.*'choice'.*Own\(\)"):
        kg.export.with_seed_input(simple(estimator=Own()))
    model = simple(estimator=OfTheRule(), inference="sample", seed=2)
    given, x = kg.export.with_seed_input(model), numbers(9, 3)
    np.testing.assert_array_equal(
        as_array(given([x, pair(2, 0)])), as_array(model(x))
    )


def test_a_model_that_draws_nothing_is_refused():
    quiet = kg.VectorQuantizer(5, noise_scale=0.0)
    model = keras.Sequential([keras.Input((4,)), quiet])
    with pytest.raises(ValueError, match="a sampling layer that draws"):
        kg.export.with_seed_input(model)


class Cell(keras.Layer):
    """A cell of an RNN that samples at each step."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.choice = kg.GumbelSoftmax(
            hard=True, inference="sample", seed=3, name="choice"
        )
        self.state_size = self.output_size = 4

    def build(self, shape):
        self.choice.build(shape)

    def call(self, x, states):
        y = self.choice(x + states[0])
        return y, [y]


@pytest.mark.slow
def test_a_loop_is_refused_and_its_steps_are_not():
    x = keras.Input((5, 4))
    model = keras.Model(x, keras.layers.RNN(Cell())(x))
    with pytest.raises(ValueError, match=r"inside a loop.*'choice'"):
        kg.export.with_seed_input(model)
    model = keras.Model(x, keras.layers.RNN(Cell(), unroll=True)(x))
    given = kg.export.with_seed_input(model)
    values = numbers(7, 5, 4)
    for t in range(2):
        np.testing.assert_array_equal(
            as_array(given([values, pair(3, t)])), as_array(model(values))
        )


def test_an_input_of_that_name_is_refused():
    x = keras.Input((3,), name="seed")
    model = keras.Model(x, kg.GumbelSoftmax()(x))
    with pytest.raises(ValueError, match=r"no input of the name 'seed'"):
        kg.export.with_seed_input(model)


def test_too_many_classes_for_the_sums():
    x = keras.Input((2**19 + 1,), name="logits")
    y = kg.SampleArgmaxIndex(hard=True, estimator="st")(x)
    with pytest.raises(ValueError, match=r"at most 524288 classes"):
        kg.export.with_seed_input(keras.Model(x, y))
