"""Another size, the same sample: of every layer, in every mode.

A layer in a graph of known sizes has a program of exactly these; eager calls
and graphs of unknown sizes have one of more rows and classes.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.conformance.registry import LAYERS, TRAINED, covering
from tests.harness import in_mode, tensor, to_numpy, value_and_grad

pytestmark = pytest.mark.tensorflow
# On no rung of the ladder.
BATCH, CLASSES = 13, 11
# The number of classes of these is that of their weights.
OF_WEIGHTS = ("GumbelEmbedding", "GumbelQuantizer")


def logits_of(row):
    shape = [BATCH, *row.input_shape[1:]]
    if row.layer.__name__ not in OF_WEIGHTS:
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


@covering(
    LAYERS,
    "how",
    ["eager", "unknown", "noise of nobody"],
    gate=(*TRAINED, "GumbelSigmoid-hard", "GumbelTopK-hard"),
)
def test_another_size_the_same_sample(row, how):
    logits = tensor(logits_of(row))
    inference = how == "noise of nobody"

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


@covering(
    LAYERS,
    "training",
    [True, False],
    gate=(*TRAINED[:1], "GumbelSinkhorn-hard"),
)
def test_fit_and_predict_of_any_batch(row, training):
    """With a last batch that is smaller: the same as of one that is known."""
    model = row.model(seed=3, inference="sample")
    x = row.logits(batch=13)
    parts = [to_numpy(model(tensor(x[i : i + 5]))) for i in (0, 5, 10)]
    again = row.model(seed=3, inference="sample")
    found = again.predict(x, batch_size=5, verbose=0)
    np.testing.assert_allclose(found, np.concatenate(parts), atol=2e-5)
    if training:
        again.compile("sgd", "mse", jit_compile=False)
        again.fit(x, row.target(x), batch_size=5, verbose=0)
