"""`tf.debugging.enable_check_numerics`, by which users look for a NaN.

Everything runs with it, masks included, and it still finds theirs. (Under a
user's `jit_compile=True` TensorFlow itself does not run with it.)
"""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, covering, each_of
from tests.directional import by_forward_mode
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
pytestmark = pytest.mark.tensorflow


@contextlib.contextmanager
def check_numerics():
    tf.debugging.enable_check_numerics()
    try:
        yield
    finally:
        tf.debugging.disable_check_numerics()


@pytest.fixture
def checked():
    with check_numerics():
        yield


def _mask(row):
    """A class that is forbidden, and a row in which all are."""
    if not row.takes_class_mask and not row.matrix:
        return {}
    mask = np.ones(row.input_shape, "bool")
    mask[..., 1] = False
    mask[0, 0] = False
    return {"class_mask": tf.constant(mask)}


def _graph(function):
    return tf.function(function, autograph=False)


def _gradient(layer, logits, **kwargs):
    def run():
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = layer(logits, **kwargs)
            loss = tf.reduce_sum(tf.cast(y, "float32") ** 2)
            loss += tf.add_n(layer.losses) if layer.losses else 0.0
        return y, tape.gradient(
            loss, [logits, *layer.trainable_variables], None, "zero"
        )

    return run


def _eager(function):
    return function


# Eagerly of a choice, in a graph of what rounds outside of a program.
_GATE = ("GumbelSoftmax-hard", "FiniteScalarQuantizer-hard")


@covering(LAYERS, "place", [_eager, _graph], gate=_GATE)
def test_calls_and_gradients(row, place, checked):
    logits = tf.constant(row.logits())
    variants = [{"training": True}]
    modes = {*row.create()._inference_modes} - {None, "sample"}
    variants += [{"inference": mode} for mode in sorted(modes)]
    for variant in variants:
        inference = variant.pop("inference", None)
        layer = row.create(inference=inference, trainable=True)
        layer(logits)
        for mask in ({}, _mask(row)):
            y, gradients = place(_gradient(layer, logits, **variant, **mask))()
            assert np.isfinite(y).all()
            assert all(np.isfinite(g).all() for g in gradients)


@each_of(LAYERS, gate=())
def test_fit(row, checked):
    model = row.model()
    model.compile("sgd", "mse", jit_compile=False)
    logits = row.logits(batch=8)
    model.fit(logits, row.target(logits), epochs=2, batch_size=4, verbose=0)
    assert np.isfinite(model.predict(logits, verbose=0)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: kg.FiniteScalarQuantizer((3, 4)),
        lambda: kg.FiniteScalarQuantizer((2, 2)),
        lambda: kg.VectorQuantizer(5),
    ],
    ids=["levels", "bits", "vectors"],
)
def test_codes(make, checked):
    layer = make()
    layer(tf.zeros((1, 2)))
    code = layer.encode(tf.constant([[0.1, -0.2]]))
    found = _graph(layer.decode)(code)
    np.testing.assert_array_equal(found, layer.decode(code))
    assert np.isfinite(found).all()


class _Root(keras.layers.Layer):
    """A user's layer with a fault."""

    def call(self, x):
        return keras.ops.sqrt(x)


@pytest.mark.parametrize("eagerly", [False, *slow(True)])
def test_a_users_nan_is_found(eagerly, checked):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, kernel_initializer="identity"),
            _Root(),
            kg.GumbelSoftmax(hard=True),
        ]
    )
    model.compile("sgd", "mse", run_eagerly=eagerly, jit_compile=False)
    x = -np.ones((2, 4), "float32")
    with pytest.raises(tf.errors.InvalidArgumentError, match='op "Sqrt"'):
        model.fit(x, x, verbose=0)
    # The look was not lost on the way.
    with pytest.raises(tf.errors.InvalidArgumentError, match='op "Log"'):
        tf.math.log(tf.constant([-1.0]))


def test_an_error_within_leaves_it_as_it_was(checked):
    with pytest.raises(ValueError, match="temperature"):
        kg.GumbelSoftmax()(tf.zeros((2, 3)), temperature=tf.zeros((2, 3)))
    with pytest.raises(tf.errors.InvalidArgumentError, match='op "Log"'):
        tf.math.log(tf.constant([-1.0]))


def _choice(**given):
    return kg.ops.gumbel_softmax(hard=True, **given)


def _gapped(**given):
    return _choice(estimator="gapped_st", **given)


def _subset(**given):
    return kg.ops.gumbel_top_k(k=3, **given)[0]


@pytest.mark.slow
@pytest.mark.parametrize("function", [_choice, *slow(_gapped, _subset)])
def test_programs_outlive_it(function):
    """What is traced before runs under it, and what is traced under it after.

    Sizes of its own, so that the programs are traced here.
    """
    logits = tf.zeros((3, 11))
    mask = tf.range(11) < 7

    def sample():
        return function(logits=logits, class_mask=mask, seed=1)

    before = _graph(sample)
    expected = before()
    with check_numerics():
        under = _graph(sample)
        for found in (before(), under(), sample()):
            np.testing.assert_array_equal(found, expected)
    for found in (before(), under(), sample(), _graph(sample)()):
        np.testing.assert_array_equal(found, expected)
    # A compiled program of the user's, which must not have been spoiled.
    tf.function(sample, jit_compile=True)()


@pytest.mark.parametrize("place", [_graph, *slow(_eager)])
def test_functions_that_forbid(place, checked):
    logits = tf.constant([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0]])
    mask = tf.constant([[True, False, True], [True, True, True]])
    samples = kg.ops.gumbel_softmax(
        tf.stack([logits] * 3), hard=True, class_mask=mask, seed=1
    )

    def run():
        loss = kg.estimators.score_function_loss(
            tf.reduce_sum(samples[..., 0], -1)[:, None] + tf.zeros((3, 2)),
            logits,
            samples,
            class_mask=mask,
        )
        return (
            loss,
            kg.losses.categorical_kl(logits),
            kg.ops.straight_through(tf.round(logits), logits),
            kg.ops.hard_concrete(logits, class_mask=mask, seed=1),
            kg.ops.sample_gumbel((4,), seed=1),
        )

    for found in place(run)():
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: kg.GumbelSigmoid(from_logits=False),
        lambda: kg.GumbelSoftmax(from_logits=False, hard=True),
        *slow(
            lambda: kg.GumbelSigmoid(from_logits=False, inference="argmax"),
            lambda: kg.GumbelTopK(1, from_logits=False),
        ),
    ],
    ids=["gates", "classes", "hard gates", "subsets"],
)
def test_probabilities_of_zero(make, checked):
    probs = tf.constant([[0.0, 0.4, 0.6], [0.0, 1.0, 0.0]])
    for training in (False, True):
        assert np.isfinite(make()(probs, training=training)).all()


def test_metrics(checked):
    for metric in (kg.metrics.CodePerplexity(4), kg.metrics.CategoryUsage(4)):
        metric.update_state(tf.constant([0, 1, 1]))
        _graph(metric.update_state)(tf.constant([0, 1, 3]))
        assert np.isfinite(metric.result())


@pytest.mark.slow
def test_second_derivatives_and_forward_mode(checked):
    logits = tf.constant([[0.0, 1.0, 2.0]])

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(kg.ops.gumbel_softmax(x, seed=1) ** 2)
        return tape.gradient(y, x)

    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(gradient(logits)[:, 0])
    assert np.isfinite(tape.gradient(total, logits)).all()
    assert np.isfinite(by_forward_mode(gradient, (logits,), (logits,)))


def test_other_switches_for_debugging():
    """They run what is traced otherwise operation by operation."""
    layer = kg.GumbelSoftmax(hard=True, seed=1)
    x = tf.zeros((4, 3))
    tf.config.run_functions_eagerly(True)
    try:
        _graph(lambda: layer(x, training=True))()
    finally:
        tf.config.run_functions_eagerly(False)
    with check_numerics():
        tf.config.run_functions_eagerly(True)
        try:
            _graph(lambda: layer(x, training=True))()
        finally:
            tf.config.run_functions_eagerly(False)
