"""Layers called with symbolic tensors, of sizes that nobody knows yet.

Keras has the shapes of what comes out from a trace: TensorFlow's with None for
what is not known, JAX's with a symbol, of which little can be asked, and
torch's with sizes that stand in for it, which may not fit those that are known.
"""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, as_array, covering

# A table has a row for each class, which must be known.
ROWS = [
    row
    for row in LAYERS
    if (row.takes_class_mask or row.matrix)
    and row.layer is not kg.GumbelEmbedding
]
GATE = (
    "GumbelTopK-hard",
    "GumbelSinkhorn-hard-wide",
    "SampleArgmaxIndex-hard",
    "GumbelSort-ranks",
    "GumbelSinkhorn-soft-wide",
    "GumbelSoftmax-reinmax",
    "GumbelSigmoid-hard",
    "GumbelTopK-soft",
)


@keras.saving.register_keras_serializable(package="tests")
class Around(keras.layers.Layer):
    """A layer of which Keras has to find out what it returns."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, *_):
        self.built = True

    def call(self, *args, **kwargs):
        return self.layer(*args, **kwargs)


def models(row, shape):
    """The layer's model and its own layer, in each way that Keras traces."""

    def with_class_mask(layer, called):
        inputs = [keras.Input(shape), keras.Input(shape, dtype="bool")]
        outputs = called(inputs[0], class_mask=inputs[1])
        return keras.Model(inputs, outputs), layer

    def with_temperature(layer, called):
        inputs = [keras.Input(shape), keras.Input((1,) * len(shape))]
        outputs = called(inputs[0], temperature=inputs[1])
        return keras.Model(inputs, outputs), layer

    for build in (with_class_mask, with_temperature):
        for inside in (False, True):
            layer = row.create(seed=3, inference="sample")
            yield build(layer, Around(layer) if inside else layer)


@covering(ROWS, "unknown", ["rows", "classes", "both"], gate=GATE)
def test_shapes_are_found_and_samples_the_same(row, unknown):
    _, *sizes = row.input_shape
    shape = [
        None if unknown in ("both", name) else size
        for name, size in zip(("rows", "classes"), sizes, strict=True)
    ]
    logits = row.logits()
    mask = np.ones(row.input_shape, bool)
    mask[0, 0, 0] = False
    temperature = np.full((len(logits), 1, 1), 0.7, "float32")
    for model, layer in models(row, shape):
        named = (
            "class_mask" if "bool" in model.inputs[1].dtype else "temperature"
        )
        given = mask if named == "class_mask" else temperature
        y = model([logits, given])
        for symbolic, actual in zip(model.output.shape, y.shape, strict=True):
            assert symbolic in (None, actual)
        layer.seed_generator.state.assign([3, 0])
        expected = layer(logits, **{named: given})
        np.testing.assert_allclose(as_array(y), as_array(expected), atol=1e-6)


@covering(ROWS, "unknown", ["rows", "classes"], gate=GATE[:3])
def test_a_mask_of_keras_comes_along(row, unknown):
    _, *sizes = row.input_shape
    shape = [
        None if unknown == name else size
        for name, size in zip(("rows", "classes"), sizes, strict=True)
    ]
    logits = row.logits()
    logits[:, -1] = 0
    inputs = keras.Input(shape)
    layer = row.create(seed=3, inference="sample")
    model = keras.Model(inputs, layer(keras.layers.Masking()(inputs)))
    y = as_array(model(logits))
    layer.seed_generator.state.assign([3, 0])
    mask = np.any(logits != 0, -1)
    expected = as_array(layer(logits, mask=mask))
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("hard", [True, False])
def test_more_are_asked_for_than_a_size_that_stands_in(hard):
    """Of a sequence that is not known yet, the most to choose are."""
    inputs = keras.Input((None,))
    allowed = keras.Input((None,), dtype="bool")
    layer = kg.GumbelTopK(100, hard=hard, seed=3, inference="sample")
    outputs = Around(layer)(inputs, class_mask=allowed)
    model = keras.Model([inputs, allowed], outputs)
    assert tuple(model.output.shape) == (None, None)
    logits = np.random.default_rng(0).normal(size=(2, 130)).astype("float32")
    mask = np.arange(130) < [[110], [130]]
    y = as_array(model([logits, mask]))
    np.testing.assert_allclose(y.sum(-1), 100, rtol=1e-4)
    np.testing.assert_array_equal(y[~mask], 0)
