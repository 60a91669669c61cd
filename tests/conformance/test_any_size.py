"""Another size, the same sample: of every layer, in every mode.

A layer in a graph of known sizes has a program of exactly these; eager calls
and graphs of unknown sizes have one of more rows and classes.
"""

import keras
import numpy as np
import pytest

from tests.conformance.registry import LAYERS, TRAINED, covering, each_of
from tests.frameworks import tf
from tests.harness import in_mode, tensor, to_numpy, value_and_grad

pytestmark = pytest.mark.tensorflow
# On no rung of the ladder.
BATCH, CLASSES = 13, 11
# The number of classes of these is that of their weights, or levels.
FIXED = ("GumbelEmbedding", "GumbelQuantizer", "FiniteScalarQuantizer")


def logits_of(row):
    shape = [BATCH, *row.input_shape[1:]]
    if row.layer.__name__ not in FIXED:
        shape = [CLASSES if size == 5 else size for size in shape]
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def unknown(function, built):
    """A graph that knows of a size only what the layer's weights tell."""

    def call(x):
        sizes = [None] * (len(x.shape) - 1) + [x.shape[-1] if built else None]
        graph = tf.function(
            function,
            autograph=False,
            input_signature=[tf.TensorSpec(sizes, x.dtype)],
        )
        return graph(x)

    return call


@pytest.mark.slow_ids("GumbelQuantizer-hard-unknown", "GumbelTopK-hard-unknown")
@pytest.mark.tensorflow
@covering(
    LAYERS,
    "how",
    ["eager", "unknown", "at inference"],
    gate=(*TRAINED, "GumbelSigmoid-hard", "GumbelTopK-hard"),
)
def test_another_size_the_same_sample(row, how):
    logits = tensor(logits_of(row))
    inference = how == "at inference"

    def passes(layer):
        def call(x):
            y, (slope,) = value_and_grad(
                lambda x: layer(x, training=not inference), x
            )
            return y, slope

        return call

    def created():
        layer = row.create(seed=3)
        layer.build(logits.shape)
        return layer

    exact = to_numpy(in_mode("graph", passes(created()))(logits))
    other = passes(created())
    if how == "unknown":
        other = unknown(other, row.trained_weights or row.weights > 1)
    found = to_numpy(other(logits))
    if row.hard:
        np.testing.assert_array_equal(found[0], exact[0])
    for mine, right in zip(found, exact, strict=True):
        scale = max(np.abs(right).max(), 1e-6)
        np.testing.assert_allclose(mine, right, rtol=0, atol=8e-6 * scale)


@pytest.mark.slow_ids("GumbelSinkhorn-hard")
@each_of(LAYERS, gate=("GumbelSinkhorn-hard", *TRAINED[:1]))
def test_fit_of_any_batch(row):
    """With a last batch that is smaller: as by XLA, which knows each size."""
    x = row.logits(batch=13)
    weights = []
    for jit in (False, True):
        model = row.model(seed=3)
        before = model.get_weights()
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit)
        model.fit(x, row.target(x), batch_size=5, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    learned = zip(before, weights[0], strict=True)
    assert any(np.abs(one - first).max() > 1e-6 for first, one in learned)


@each_of(LAYERS, gate=TRAINED[:1])
def test_predict_of_any_batch(row):
    """What `predict` gives of each batch is what calls give."""
    x = row.logits(batch=13)
    model = row.model(seed=3, inference="sample")
    parts = [to_numpy(model(tensor(x[i : i + 5]))) for i in (0, 5, 10)]
    again = row.model(seed=3, inference="sample")
    found = again.predict(x, batch_size=5, verbose=0)
    np.testing.assert_allclose(found, np.concatenate(parts), atol=2e-5)
