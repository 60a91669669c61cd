"""Padding that Keras announces, and that covers the classes: it forbids.

A mask of Keras is aligned from the left, and covers the classes if it ends
with their axis.
"""

import re

import keras
import numpy as np
import pytest
from keras.src.backend.common.masking import get_keras_mask

import keras_gumbel as kg
from tests.conformance.registry import (
    LAYERS,
    PARTS,
    TRAINED,
    as_array,
    covering,
    each_of,
)
from tests.harness import carrying, in_mode, modes, tensor, value_and_grad
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

COVERED = [row for row in LAYERS if row.padding]
each_covered_layer = each_of(COVERED)
TRAINING = [True, False]
each_training = pytest.mark.parametrize("training", TRAINING)


def padding(row):
    """Two classes and more are left in each row, or none."""
    mask = np.ones(row.input_shape, bool)
    mask[1:, :, 3:] = False
    mask[2, 1] = [True, False, True, False, False]
    mask[0, 0] = False
    return mask


def announced(x, mask):
    """A tensor with a mask, as Keras hands it on."""
    return carrying(tensor(x), mask)


def mask_of(y):
    mask = get_keras_mask(y)
    return mask if mask is None else keras.ops.convert_to_numpy(mask)


def value_and_gradient(row, x, training, announce=None, **arguments):
    """Of a new layer, from the beginning of its stream."""
    layer = row.create(seed=3)
    weight = np.random.default_rng(1).normal(size=row.output_shape)

    def call(x):
        x = x if announce is None else announced(x, announce)
        return layer(x, training=training, **arguments)

    y, (gradient,) = value_and_grad(call, x, upstream=weight)
    return as_array(y), as_array(gradient)


@covering(
    COVERED,
    "training",
    TRAINING,
    gate=(*PARTS[1], "GumbelSoftmax-hard", "GumbelEmbedding-hard"),
)
def test_it_forbids_as_a_class_mask_does(row, training):
    """Bit for bit, given or announced, and without a gradient."""
    mask, logits = padding(row), row.logits()
    expected = value_and_gradient(row, logits, training, class_mask=mask)
    given = value_and_gradient(row, logits, training, mask=mask)
    found = value_and_gradient(row, logits, training, announce=mask)
    for by_class_mask, by_mask, by_logits in zip(
        expected, given, found, strict=True
    ):
        np.testing.assert_array_equal(by_mask, by_class_mask)
        np.testing.assert_array_equal(by_logits, by_class_mask)
    value, gradient = given
    assert np.isfinite(value).all()
    np.testing.assert_array_equal(gradient[~mask], 0)
    np.testing.assert_array_equal(value[0, 0], 0)
    plain = as_array(row.create(seed=3)(logits, training=training))
    assert not np.array_equal(value, plain)


@each_of(COVERED, gate=TRAINED)
@each_training
def test_it_joins_a_class_mask_and_a_temperature(row, training):
    """Which are tensors, so that Keras fills in no `mask`."""
    mask, x = padding(row), tensor(row.logits())
    allowed = np.ones(row.input_shape[-1], bool)
    allowed[0] = row.k > 1
    tau = tensor(np.linspace(0.5, 2, len(x)).reshape(-1, 1, 1), "float32")
    both = {"class_mask": mask & allowed, "temperature": tau}
    if row.k > 1:
        # What is left may be too few, which is no error of a class mask.
        allowed[:3] = [True, True, True]
        both["class_mask"] = mask & allowed
    expected = value_and_gradient(row, x, training, **both)
    found = value_and_gradient(
        row,
        x,
        training,
        announce=mask,
        class_mask=tensor(allowed),
        temperature=tau,
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@each_covered_layer
def test_it_goes_on_where_the_classes_do(row):
    mask = padding(row)
    y = row.create()(announced(row.logits(), mask))
    if row.padding == "kept":
        np.testing.assert_array_equal(mask_of(y), mask)
    elif row.padding == "places":
        np.testing.assert_array_equal(mask_of(y), np.sort(mask)[..., ::-1])
    else:
        assert mask_of(y) is None
    inputs = keras.Input(row.input_shape[1:])
    carrying(inputs, keras.Input(row.input_shape[1:], dtype="bool"))
    symbolic = get_keras_mask(row.create()(inputs))
    assert (symbolic is None) == (row.padding == "dropped")


@covering(
    [row for row in LAYERS if not row.matrix],
    "training",
    TRAINING,
    gate=(*TRAINED, "SampleArgmaxIndex-soft"),
)
def test_a_mask_of_positions_is_passed_on_alone(row, training):
    """Also where its sizes are those that one of the classes would have.

    A mask of the rows of a matrix is one of items: it has its own tests.
    """
    shape = (5, 5, 5)
    x = np.random.default_rng(4).normal(size=shape).astype("float32")
    mask = np.random.default_rng(5).random(shape[:2]) < 0.5
    y = row.create(seed=3)(announced(x, mask), training=training)
    plain = row.create(seed=3)(x, training=training)
    np.testing.assert_array_equal(as_array(y), as_array(plain))
    np.testing.assert_array_equal(mask_of(y), mask)


@each_of(COVERED, gate=TRAINED)
@pytest.mark.parametrize("training", [True, *slow(False)])
@modes("compiled")
def test_every_mode_agrees(row, training, mode):
    mask, logits = padding(row), row.logits()
    eager = as_array(
        row.create(seed=3)(announced(logits, mask), training=training)
    )
    layer = row.create(seed=3)

    def call(x, mask):
        return layer(announced(x + 0.0, mask), training=training)

    y = as_array(in_mode(mode, call)(tensor(logits), tensor(mask)))
    np.testing.assert_allclose(y, eager, atol=5e-6)


@each_of(COVERED, gate=TRAINED)
def test_it_survives_saving_and_fit(row, tmp_path):
    """As an input of a model, whose layer is called with `mask=`."""
    classes = row.input_shape[-1]
    inputs = keras.Input((None, classes), name="x")
    real = keras.Input((None, classes), dtype="bool", name="real")
    x = keras.layers.Dense(classes)(inputs)
    y = row.create(seed=3)(x, mask=real)
    # A loss would look for one number a row in the mask of an output.
    model = keras.Model([inputs, real], keras.ops.multiply(y, 1.0))
    model.compile("sgd", "mse", jit_compile=False)
    data = [row.logits(), padding(row)]
    target = np.zeros(row.output_shape, "float32")
    history = model.fit(data, target, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    y = as_array(again.predict(data, verbose=0))
    np.testing.assert_array_equal(y, as_array(model.predict(data, verbose=0)))
    np.testing.assert_array_equal(y[0, 0], 0)
    if row.output_shape == row.input_shape and row.padding == "kept":
        np.testing.assert_array_equal(y[~padding(row)], 0)


@each_of(COVERED, gate=TRAINED)
def test_it_forbids_where_the_noise_is_given(row):
    shape = row.input_shape[1:]
    inputs = keras.Input(shape, name="x")
    real = keras.Input(shape, dtype="bool", name="real")
    noise = np.random.default_rng(6).gumbel(size=row.input_shape)
    data = [row.logits(), padding(row), noise.astype("float32")]
    found = {}
    for name in ("mask", "class_mask"):
        choice = row.create(name="choice")(inputs, **{name: real})
        given = kg.export.with_noise_input(keras.Model([inputs, real], choice))
        found[name] = as_array(given(data))
    np.testing.assert_array_equal(found["mask"], found["class_mask"])
    np.testing.assert_array_equal(found["mask"][0, 0], 0)


BAD = {
    "float": ((4, 5, 5), "float32", TypeError),
    "integer": ((4, 5, 5), "int32", TypeError),
    "classes": ((4, 5, 4), "bool", ValueError),
    "positions": ((4, 4), "bool", ValueError),
    "rank": ((4, 5, 5, 1), "bool", ValueError),
}


@covering(COVERED, "kind", BAD)
def test_one_that_does_not_fit_is_an_error(row, kind):
    """At the call, symbolic or not."""
    shape, dtype, exception = BAD[kind]
    what = f"dtype {dtype}" if exception is TypeError else f"shape {shape}"
    message = rf"(?s)`mask`.*must.*Received: mask of {re.escape(what)}"
    with pytest.raises(exception, match=message):
        row.create()(np.zeros((4, 5, 5), "float32"), mask=np.ones(shape, dtype))
    mask = keras.Input(batch_shape=shape, dtype=dtype)
    with pytest.raises(exception, match=message):
        row.create()(keras.Input(batch_shape=(4, 5, 5)), mask=mask)
