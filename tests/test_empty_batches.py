"""Nothing in the batch: losses of 0, and no NaN in any number of a model."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import each_layer
from tests.frameworks import tf
from tests.harness import tensor, to_numpy
from tests.variants import slow

LOSSES = {
    kg.HardConcreteGate: {"l0_weight": 1.0},
    kg.GumbelQuantizer: {"kl_weight": 1.0},
}
MASKS = {kg.HardConcreteGate: (0, 1, 5), kg.GumbelQuantizer: (0, 3, 1, 5)}


@pytest.mark.tensorflow
@each_layer
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("masks", [MASKS, *slow(True)], ids=["some", "all"])
def test_layers(row, training, masks):
    layer = row.create(**LOSSES.get(row.layer, {}))
    x = tensor(row.logits(0))
    given = [{}]
    if row.layer in MASKS or (masks is True and row.takes_class_mask):
        mask = np.ones(MASKS.get(row.layer, x.shape), bool)
        given.append({"class_mask": mask})
    for options in given:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training, **options)
            loss = tf.add_n([tf.reduce_sum(y), *layer.losses])
        assert y.shape == (0, *row.output_shape[1:])
        assert np.isfinite(loss)
        if options or row.layer is not kg.HardConcreteGate:
            # Without a mask that of the gates is of no example.
            assert all(one == 0 for one in layer.losses)
        sources = [x, *layer.trainable_variables]
        for gradient in tape.gradient(loss, sources):
            assert gradient is None or np.all(np.isfinite(gradient))
        for metric in layer.metrics:
            assert metric.result() == 0


def test_one_example_counts_as_it_did():
    layer = kg.HardConcreteGate(l0_weight=1.0)
    mask = np.array([[True, False], [True, True]])
    layer(np.ones((2, 2), "float32"), class_mask=mask)
    loss, active = to_numpy([layer.losses[0], layer.expected_active()])
    assert loss == pytest.approx(1.5 * active / 2, rel=1e-6)


def test_losses_and_estimators():
    nothing = np.zeros((0, 3), "float32")
    assert kg.losses.categorical_kl(nothing).shape == (0,)
    assert kg.losses.bernoulli_kl(nothing).shape == (0, 3)
    values, samples = np.zeros((4, 0), "float32"), np.zeros((4, 0, 3))
    loss = kg.estimators.score_function_loss(
        values, nothing, samples.astype("float32")
    )
    assert loss.shape == (0,)


@pytest.mark.tensorflow
def test_distributions():
    nothing = np.zeros((0, 3), "float32")
    law = kg.distributions.from_layer(kg.GumbelSoftmax(), nothing)
    assert law.log_prob(nothing).shape == (0,)


@pytest.mark.parametrize(
    "metric", [kg.metrics.CodePerplexity, kg.metrics.CategoryUsage]
)
def test_metrics(metric):
    counter = metric(3)
    counter.update_state(np.zeros((0,), "int32"))
    counter.update_state(np.zeros((0, 3), "float32"))
    assert counter.result() == 0
    assert keras.backend.standardize_dtype(counter.result().dtype) == "float32"
