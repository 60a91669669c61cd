"""Unknown dimensions, empty batches, class masks and time masks."""

import keras
import numpy as np
import pytest

from tests.conformance.registry import (
    LAYERS,
    PARTS,
    as_array,
    covering,
    each_layer,
    each_of,
)
from tests.frameworks import tf
from tests.harness import dtype_of, grad, value_and_grad

MASKED = [row for row in LAYERS if row.takes_class_mask]


@each_layer
def test_unknown_dimensions(row):
    """Symbolic shapes are true, and the values those of the bare layer."""
    classes = row.input_shape[-1]
    inputs = keras.Input((None, classes))
    layer = row.create()
    outputs = layer(inputs)
    unknown = [None] * (len(row.output_shape) - 1)
    if len(row.output_shape) == len(row.input_shape):
        unknown[-1:] = [None, classes]
        unknown = unknown[: len(row.output_shape)]
    model = keras.Model(inputs, outputs)
    for shape in ((1, 2), (3, 7)):
        if row.matrix:
            shape = (shape[0], min(shape[1], classes))
        logits = np.random.default_rng(2).normal(size=(*shape, classes))
        logits = logits.astype("float32")
        y = model(logits)
        assert outputs.dtype == dtype_of(y)
        assert len(outputs.shape) == len(y.shape)
        for symbolic, actual in zip(outputs.shape, y.shape, strict=True):
            assert symbolic in (None, actual)
        np.testing.assert_array_equal(as_array(y), as_array(layer(logits)))


@pytest.mark.tensorflow
@each_of(LAYERS, gate=("GumbelSoftmax-hard",))
def test_sampling_where_every_dimension_but_the_rank_is_unknown(row):
    layer = row.create(seed=3)
    layer.build(row.input_shape)
    known = row.create(seed=3)
    rank = len(row.input_shape)

    @tf.function(input_signature=[tf.TensorSpec([None] * rank, "float32")])
    def call(x):
        return layer(x, training=True)

    for batch in (row.input_shape[0], 2):
        y = as_array(call(row.logits(batch)))
        expected = as_array(known(row.logits(batch), training=True))
        if row.hard:
            np.testing.assert_array_equal(y, expected)
        else:
            np.testing.assert_allclose(y, expected, atol=5e-6)


@each_layer
def test_compute_output_shape_and_spec_are_true(row):
    layer = row.create()
    y = layer(row.logits())
    assert layer.compute_output_shape(row.input_shape) == row.output_shape
    assert tuple(y.shape) == row.output_shape
    spec = layer.compute_output_spec(keras.KerasTensor(row.input_shape))
    assert spec.shape == row.output_shape
    assert spec.dtype == dtype_of(y)


@covering(LAYERS, "training", [True, False])
def test_an_empty_batch_gives_an_empty_batch(row, training):
    layer = row.create(seed=3)
    x = row.logits(batch=0)
    y, (gradient,) = value_and_grad(lambda x: layer(x, training=training), x)
    assert tuple(y.shape) == (0, *row.output_shape[1:])
    assert tuple(gradient.shape) == x.shape
    # The stream is where one draw, of any size, leaves it.
    assert as_array(layer.seed_generator.state)[1] == int(training)


@covering(
    MASKED,
    "training",
    [True, False],
    gate=(
        "GumbelEmbedding-hard",
        "GumbelTopK-hard",
        "GumbelSoftmax-hard",
        "SampleArgmaxIndex-soft",
        "GumbelSigmoid-hard",
    ),
)
def test_class_mask_as_an_input_of_a_model(row, training):
    """Forbidden classes never come, a row without classes is empty.

    What is left alone is chosen, unless it is a gate.
    """
    classes = row.input_shape[-1]
    inputs = keras.Input((None, classes))
    allowed = keras.Input((None, classes), dtype="bool")
    layer = row.create(seed=3)
    model = keras.Model([inputs, allowed], layer(inputs, class_mask=allowed))
    mask = np.zeros(row.input_shape, bool)
    mask[..., 2 : 2 + row.k] = True
    mask[0] = False
    logits = row.logits()
    y = as_array(model([logits, mask], training=training))
    plain = as_array(row.create(seed=3)(logits, training=training))
    if row.is_index:
        np.testing.assert_array_equal(y, 2 * mask[..., 2])
    elif row.is_gates:
        np.testing.assert_allclose(y, mask * plain, atol=1e-6)
    else:
        np.testing.assert_array_equal(y[~mask], 0)
        rounding = 1e-6 * (row.k - 1)
        np.testing.assert_allclose(y.sum(-1), mask.sum(-1), atol=rounding)
    # With every class allowed the mask changes nothing.
    layer.seed_generator.state.assign([3, 0])
    y = as_array(model([logits, np.ones_like(mask)], training=training))
    np.testing.assert_allclose(y, plain, atol=1e-6)


@covering(
    MASKED,
    "training",
    [True, False],
    gate=("GumbelSoftmax-hard", "SampleArgmaxIndex-soft"),
)
def test_masked_classes_get_no_gradient(row, training):
    mask = np.ones(row.input_shape[-1], bool)
    mask[[0, 3]] = False
    empty = np.ones((*row.input_shape[:-1], 1), bool)
    empty[0] = False
    layer = row.create(seed=3)
    gradient = grad(
        lambda x: keras.ops.sum(
            layer(x, class_mask=mask & empty, training=training) ** 2
        ),
        row.logits(),
    )
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[..., ~mask], 0)
    np.testing.assert_array_equal(gradient[0], 0)
    assert np.abs(gradient[1:][..., mask]).max() > 1e-3


@each_of(MASKED, gate=("GumbelSigmoid-hard",))
def test_minus_infinite_logits_are_a_class_mask(row):
    mask = np.array([True, False, True, True, False])
    logits = row.logits()
    for training in (True, False):
        by_mask = row.create(seed=3)(logits, class_mask=mask, training=training)
        by_logits = row.create(seed=3)(
            np.where(mask, logits, np.float32("-inf")), training=training
        )
        np.testing.assert_array_equal(as_array(by_mask), as_array(by_logits))


@each_of(MASKED, gate=("GumbelSigmoid-hard",))
def test_class_mask_survives_saving_and_fit(row, tmp_path):
    classes = row.input_shape[-1]
    inputs = keras.Input((None, classes), name="x")
    allowed = keras.Input((None, classes), dtype="bool", name="allowed")
    x = keras.layers.Dense(classes)(inputs)
    model = keras.Model(
        [inputs, allowed], row.create(seed=3)(x, class_mask=allowed)
    )
    model.compile("sgd", "mean_squared_error", jit_compile=False)
    mask = np.zeros(row.input_shape, bool)
    mask[..., 1] = True
    target = np.zeros(row.output_shape, "float32")
    if row.k > 1 and keras.config.backend() != "tensorflow":
        # There this `fit` is eager, so that the mask is known to allow too few.
        with pytest.raises(ValueError, match="must allow at least `k`"):
            model.fit([row.logits(), mask], target, verbose=0)
        return
    history = model.fit([row.logits(), mask], target, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    y = as_array(again.predict([row.logits(), mask], verbose=0))
    if row.is_gates:
        assert 0 < history.history["loss"][0] < 1 / classes
        assert (y[..., 1] > 0).any()
        assert (y[~mask] == 0).all()
        return
    expected = 1.0 if row.is_index else 1 / classes
    assert history.history["loss"] == pytest.approx([expected])
    assert (y if row.is_index else y.argmax(-1)).tolist() == [[1] * 3] * 4


@each_layer
def test_the_time_mask_passes_through(row):
    tokens = np.array([[5, 2, 0, 0], [1, 0, 0, 0]])
    inputs = keras.Input((None,), dtype="int32")
    size = tokens.shape[1] if row.square else 5
    x = keras.layers.Embedding(6, size, mask_zero=True)(inputs)
    outputs = row.create()(x)
    model = keras.Model(inputs, outputs)
    y = model(tokens)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(y._keras_mask), tokens != 0
    )
    assert row.create().supports_masking


@each_of(
    (row for row in LAYERS if len(row.output_shape) == len(row.input_shape)),
    gate=PARTS[0],
)
def test_a_loss_counts_unmasked_steps_alone(row):
    """The mask that passed through reaches the loss."""
    tokens = np.array([[5, 2, 0, 0], [1, 0, 0, 0]])
    size = tokens.shape[1] if row.square else 5
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(6, size, mask_zero=True),
            row.create(),
        ]
    )
    model.compile(loss="mean_squared_error", jit_compile=False)
    y = as_array(model(tokens))
    target = np.where((tokens != 0)[..., None], y, 77)
    losses = model.evaluate(tokens, target, verbose=0, return_dict=True)
    assert losses["loss"] == pytest.approx(0.0, abs=1e-6)
