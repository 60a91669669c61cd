"""One seed gives one sample, in eager, graph and XLA code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conformance.registry import (
    LAYERS,
    TRAINED,
    as_array,
    each_layer,
    each_of,
)
from tests.variants import slow


@each_of(LAYERS, gate=TRAINED)
def test_eager_graph_and_xla_draw_the_same_samples(row):
    logits = tf.constant(row.logits())
    draws = {}
    for mode, options in {
        "eager": None,
        "graph": {"jit_compile": False},
        "xla": {"jit_compile": True},
    }.items():
        layer = row.create(seed=3)

        def call(x, layer=layer):
            return layer(x, training=True)

        function = call if options is None else tf.function(call, **options)
        draws[mode] = [as_array(function(logits)) for _ in range(2)]
    for mode in ("graph", "xla"):
        for eager, other in zip(draws["eager"], draws[mode], strict=True):
            if row.hard:
                np.testing.assert_array_equal(other, eager)
            else:
                np.testing.assert_allclose(other, eager, atol=5e-6)
    first, second = draws["eager"]
    assert row.is_sample(first)
    assert not np.array_equal(first, second)


@each_of(LAYERS, gate=TRAINED)
def test_gradients_are_the_same_in_eager_graph_and_xla(row):
    logits = tf.Variable(row.logits())
    weight = np.random.default_rng(1).normal(size=row.output_shape)
    gradients = {}
    for mode in ("eager", "graph", "xla"):
        layer = row.create(seed=3)

        def gradient(layer=layer):
            with tf.GradientTape() as tape:
                y = layer(logits.value(), training=True)
                loss = tf.reduce_sum(y * weight.astype("float32"))
            return tape.gradient(loss, logits)

        if mode != "eager":
            gradient = tf.function(gradient, jit_compile=mode == "xla")
        gradients[mode] = as_array(gradient())
    assert np.abs(gradients["eager"]).max() > 1e-3
    for mode in ("graph", "xla"):
        np.testing.assert_allclose(
            gradients[mode], gradients["eager"], atol=2e-5
        )


@each_of(LAYERS, gate=TRAINED)
@pytest.mark.parametrize("settings", [(True, False), *slow((False, "auto"))])
def test_fit_trains_alike_with_and_without_xla(row, settings):
    """The same losses to 1e-5, and they fall."""
    losses = {}
    x = row.logits(batch=64)
    target = row.target(x)
    for jit in settings:
        keras.utils.set_random_seed(0)
        model = row.model(seed=3)
        model.compile(
            keras.optimizers.Adam(0.1), "mean_squared_error", jit_compile=jit
        )
        history = model.fit(
            x, target, batch_size=16, epochs=5, shuffle=False, verbose=0
        )
        losses[jit] = history.history["loss"]
    one, other = losses.values()
    np.testing.assert_allclose(one, other, rtol=1e-5)
    assert one[-1] < 0.6 * one[0]


@each_layer
def test_functional_sequential_and_subclassed_models_agree(row):
    class Subclassed(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.choice = layer

        def call(self, x, training=None):
            return self.choice(x, training=training)

    logits = row.logits()
    inputs = keras.Input(row.input_shape[1:])
    draws = [
        as_array(model(logits, training=True))
        for model in (
            keras.Model(inputs, row.create(seed=3)(inputs)),
            keras.Sequential([row.create(seed=3)]),
            Subclassed(row.create(seed=3)),
            row.create(seed=3),
        )
    ]
    assert row.is_sample(draws[0])
    for draw in draws[1:]:
        np.testing.assert_array_equal(draw, draws[0])


@each_layer
@pytest.mark.parametrize("training", [True, False])
def test_one_program_serves_every_temperature(row, training):
    layer = row.create(seed=3)
    layer(row.logits())
    traces = []

    @tf.function
    def call(x):
        traces.append(1)
        return layer(x, training=training)

    outputs = []
    for temperature in (1.0, 0.5, 5.0):
        layer.temperature = temperature
        layer.seed_generator.state.assign([3, 0])
        outputs.append(as_array(call(row.logits())))
    assert len(traces) == 1
    # Noise-free gates have no temperature.
    if not row.hard and (training or row.takes_logits):
        assert np.abs(outputs[0] - outputs[2]).max() > 0.01
