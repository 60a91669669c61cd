"""One seed gives one sample, in eager, graph and XLA code."""

import keras
import numpy as np
import pytest

from tests.conformance.registry import (
    LAYERS,
    PARTS,
    TRAINED,
    as_array,
    covering,
    each_layer,
    each_of,
)
from tests.harness import (
    ALWAYS_KNOWN,
    in_mode,
    tensor,
    to_numpy,
    value_and_grad,
)
from tests.variants import slow


@covering(
    LAYERS,
    "mode",
    ["compiled", "graph"],
    gate=(*TRAINED, "GumbelSigmoid-hard"),
)
def test_every_mode_draws_the_same_samples_and_gradients(row, mode):
    logits, draws = tensor(row.logits()), {}
    weight = np.random.default_rng(1).normal(size=row.output_shape)
    for how in ("eager", mode):
        layer = row.create(seed=3)
        layer.build(row.input_shape)

        def call(x, layer=layer):
            y, (gradient,) = value_and_grad(
                lambda x: layer(x, training=True), x, upstream=weight
            )
            return y, gradient

        function = in_mode(how, call)
        draws[how] = [to_numpy(function(logits)) for _ in range(2)]
    for eager, other in zip(*draws.values(), strict=True):
        if row.hard:
            np.testing.assert_array_equal(other[0], eager[0])
        else:
            np.testing.assert_allclose(other[0], eager[0], atol=5e-6)
        np.testing.assert_allclose(other[1], eager[1], atol=2e-5)
    (first, gradient), (second, _) = draws["eager"]
    assert row.is_sample(first)
    assert not np.array_equal(first, second)
    assert np.abs(gradient).max() > 1e-3


@each_of(LAYERS, gate=TRAINED[:1])
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
            x, target, batch_size=16, epochs=8, shuffle=False, verbose=0
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


@pytest.mark.skipif(ALWAYS_KNOWN, reason="nothing is traced")
@covering(
    LAYERS, "training", [True, False], gate=(*PARTS[1], "GumbelSoftmax-soft")
)
def test_one_program_serves_every_temperature(row, training):
    layer = row.create(seed=3)
    layer(row.logits())
    traces = []

    def call(x):
        traces.append(1)
        return layer(x, training=training)

    call = in_mode("graph", call)
    outputs, traced = [], []
    for temperature in (1.0, 0.5, 5.0):
        layer.temperature = temperature
        layer.seed_generator.state.assign([3, 0])
        outputs.append(as_array(call(tensor(row.logits()))))
        traced.append(len(traces))
    # What changes variables may be traced twice at first, to see which.
    assert len(set(traced)) == 1
    # Noise-free gates have no temperature.
    if not row.hard and (training or row.takes_logits):
        assert np.abs(outputs[0] - outputs[2]).max() > 0.01
