"""Codes that moved in training leave with the model, alike in each format."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.variants import slow_rows

from .runtimes import export, outputs

pytestmark = pytest.mark.tensorflow
DIM, CODES, BATCH = 6, 16, 32
FORMATS = ("saved_model", "litert", "onnx")


class Coded(keras.layers.Layer):
    """`encode` or `decode` of a layer, as part of a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def vectors(**settings):
    settings = {"num_groups": 2, "num_stages": 2, **settings}
    return kg.VectorQuantizer(CODES, restart_after=2, seed=3, **settings)


def gumbel(**settings):
    return kg.GumbelQuantizer(
        CODES, DIM, 2, restart_after=2, seed=3, **settings
    )


MAKE = {
    "by averages": vectors,
    "by loss": lambda: vectors(update="loss"),
    "cosine": lambda: vectors(distance="cosine", num_groups=1),
    "noisy": lambda: vectors(noise_scale=0.5, num_stages=1),
    "projection": gumbel,
    "distance": lambda: gumbel(similarity="distance"),
}


def trained(make):
    """Encoder, quantizer and rows that are no tie, after codes have moved."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(4 * BATCH, DIM))
    x = x.astype("float32")
    quantizer = make()
    encoder = keras.Sequential([keras.Input((DIM,)), keras.layers.Dense(DIM)])
    model = keras.Sequential([encoder, quantizer, keras.layers.Dense(DIM)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    before = as_array(codebook(quantizer))
    model.fit(x, x, batch_size=BATCH, epochs=3, verbose=0)
    after = as_array(codebook(quantizer))
    assert np.abs(after - before).max(axis=-1).min() > 0.01
    # A format may round a little otherwise, and has no ties to break.
    codes, *near = (
        as_array(quantizer.encode(encoder(x * np.float32(1 + change))))
        for change in (0, 1e-4, -1e-4)
    )
    clear = np.all([np.all(other == codes, axis=-1) for other in near], axis=0)
    assert clear.mean() > 0.9
    return encoder, quantizer, x[clear], codes[clear]


def codebook(quantizer):
    """The vectors of codes (0, 0, ...), (1, 1, ...), ..."""
    stages = getattr(quantizer, "num_stages", 1)
    codes = np.arange(CODES, dtype="int32")[:, None]
    return quantizer.decode(codes.repeat(quantizer.num_groups * stages, 1))


def served(model, target, x, folder):
    """The outputs of the exported model."""
    model(x)
    if target == "saved_model":
        model.export(folder / "served", verbose=False)
        # It has the variables as long as it is there.
        loaded = tf.saved_model.load(str(folder / "served"))
        return [as_array(y) for y in keras.tree.flatten(loaded.serve(x))]
    return outputs(export(model, target, folder), [x])


CASES = [(name, target) for name in MAKE for target in FORMATS]
GATE = [("by loss", "litert"), ("projection", "onnx")]


@pytest.mark.slow_ids("projection-onnx")
@pytest.mark.parametrize(
    ("name", "target"),
    [*GATE, *slow_rows(*(case for case in CASES if case not in GATE))],
)
def test_codes_and_vectors_equal_the_layers(name, target, tmp_path):
    encoder, quantizer, x, codes = trained(MAKE[name])
    expected = as_array(quantizer(encoder(x)))
    features = encoder.outputs[0]
    given = keras.Input((codes.shape[-1],), dtype="int32")
    both = [Coded(quantizer.encode)(features), quantizer(features)]
    to_codes = keras.Model(encoder.inputs[0], both)
    of_codes = keras.Model(given, [Coded(quantizer.decode)(given)])

    found, coded = served(to_codes, target, x, tmp_path)
    np.testing.assert_array_equal(found, codes)
    assert len(np.unique(found)) > CODES / 2
    np.testing.assert_allclose(coded, expected, rtol=0, atol=1e-6)
    integers = codes.astype("int32")
    (decoded,) = served(of_codes, target, integers, tmp_path)
    np.testing.assert_allclose(decoded, expected, rtol=0, atol=1e-6)
