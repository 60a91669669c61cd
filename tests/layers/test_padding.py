"""Padded sequences, as a model meets them."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.conformance.test_keras_masks import announced, mask_of
from tests.frameworks import tf
from tests.harness import tensor
from tests.variants import slow, slow_rows

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

TOKENS = np.array([[5, 2, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [3, 4, 1, 2, 5, 1]])
REAL = TOKENS != 0


@keras.saving.register_keras_serializable("tests")
class Scores(keras.layers.Layer):
    """One number for each position, which keeps the mask of these."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(1)
        self.supports_masking = True

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return keras.ops.squeeze(self.dense(x), -1)

    def compute_output_shape(self, shape):
        return shape[:-1]


def reader(layer):
    """Hard attention: which position is read, by `layer`, and what is there."""
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(6, 4, mask_zero=True)(tokens)
    pick = layer(Scores()(x))
    picked = keras.ops.einsum("bt,btd->bd", pick, x)
    return keras.Model(tokens, [keras.layers.Dense(1)(picked), pick])


@pytest.mark.tensorflow
@pytest.mark.parametrize("hard", slow(True, False))
def test_attention_never_reads_padding(hard, tmp_path):
    """In training, inference and after loading; with lengths that vary."""
    model = reader(kg.GumbelSoftmax(hard=hard, seed=1, name="pick"))
    model.compile(loss=["mse", None], jit_compile=False)
    batches = [(TOKENS, np.ones((3, 1))), (TOKENS[:2, :4], np.ones((2, 1)))]
    data = tf.data.Dataset.from_generator(
        lambda: batches,
        output_signature=(
            tf.TensorSpec((None, None), "int32"),
            tf.TensorSpec((None, 1), "float32"),
        ),
    ).apply(tf.data.experimental.assert_cardinality(len(batches)))
    losses = model.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, again):
        for training in (True, False):
            pick = as_array(one(TOKENS, training=training)[1])
            np.testing.assert_array_equal(pick[~REAL], 0)
            np.testing.assert_allclose(pick.sum(1), 1, atol=1e-6)
            np.testing.assert_array_equal(mask_of(one(TOKENS)[1]), REAL)
    np.testing.assert_array_equal(
        as_array(again(TOKENS)[1]), as_array(model(TOKENS)[1])
    )


def softmax():
    return kg.GumbelSoftmax(hard=True, axis=1, seed=1)


def index():
    return kg.SampleArgmaxIndex(axis=-2, seed=1)


def top_k():
    return kg.GumbelTopK(2, axis=1, seed=1)


OVER_TIME = (softmax, index, top_k)
KEPT = {(softmax, True), (index, False), (top_k, False)}


def forbidden(x, real):
    """The oracle: -inf where there is padding."""
    return np.where(real, x, np.float32("-inf"))


@pytest.mark.parametrize(
    ("make", "training"),
    [
        (make, training)
        if (make, training) in KEPT
        else pytest.param(make, training, marks=pytest.mark.slow)
        for make in OVER_TIME
        for training in (True, False)
    ],
)
def test_a_mask_that_ends_with_the_axis_covers_it(make, training):
    """Scores (batch, time, heads) over time, a mask (batch, time)."""
    x = np.random.default_rng(0).normal(size=(3, 6, 2)).astype("float32")
    y = make()(announced(x, REAL), training=training)
    expected = make()(forbidden(x, REAL[..., None]), training=training)
    np.testing.assert_array_equal(as_array(y), as_array(expected))
    assert (mask_of(y) is None) == isinstance(make(), kg.SampleArgmaxIndex)


@pytest.mark.parametrize(
    ("hard", "training"),
    [(False, True), (True, False), *slow_rows((False, False), (True, True))],
)
def test_fewer_than_k_are_all_taken(hard, training):
    """No error, which the same class mask is where its values are known."""
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    layer = kg.GumbelTopK(2, hard=hard, seed=1)
    real = np.array([[True] * 6, [True] + [False] * 5, [False] * 6])
    y = as_array(layer(x, mask=real, training=training))
    np.testing.assert_allclose(y.sum(1), [2, 1, 0], atol=1e-6)
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(y[~real], 0)
    with pytest.raises(ValueError, match="allow at least `k` classes"):
        layer(x, class_mask=real, training=training)


def test_gates_are_covered_by_a_mask_of_their_own_shape():
    """Then padding stays shut; one of positions alone changes nothing."""
    x = np.ones((3, 6), "float32")
    gate = kg.GumbelSigmoid(hard=True)
    np.testing.assert_array_equal(as_array(gate(announced(x, REAL))), REAL)
    y = gate(announced(x[..., None], REAL))
    np.testing.assert_array_equal(as_array(y), 1)
    np.testing.assert_array_equal(mask_of(y), REAL)


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, *slow(True)])
def test_a_set_with_padding_is_sorted_among_itself(hard):
    """A mask of the rows of a matrix is of items, and of their places."""
    x = np.random.default_rng(0).normal(size=(3, 6, 6)).astype("float32")
    layer = kg.GumbelSinkhorn(hard=hard)
    y = layer(announced(x, REAL))
    pairs = REAL[:, :, None] & REAL[:, None, :]
    expected = as_array(layer(x, class_mask=pairs))
    np.testing.assert_array_equal(as_array(y), expected)
    np.testing.assert_allclose(as_array(y).sum(1), REAL, atol=1e-6)
    np.testing.assert_array_equal(mask_of(y), REAL)


@pytest.mark.parametrize(
    "layer",
    [kg.GumbelSoftmax(), kg.GumbelSoftmax(dtype="mixed_float16")],
    ids=lambda layer: layer.compute_dtype,
)
def test_half_precision_as_by_a_class_mask(layer):
    x = tensor(np.random.default_rng(1).normal(size=(3, 6)), "float16")
    y = layer(x, mask=REAL)
    expected = layer(x, class_mask=REAL)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(as_array(y), as_array(expected))


def test_probabilities_as_by_a_class_mask():
    probs = keras.ops.softmax(
        np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    )
    layer = kg.GumbelSoftmax(from_logits=False)
    np.testing.assert_array_equal(
        as_array(layer(probs, mask=REAL)),
        as_array(layer(probs, class_mask=REAL)),
    )


def test_what_is_given_comes_before_what_is_announced():
    """Lists too, of which Keras makes no tensor."""
    x = announced(np.zeros((3, 6), "float32"), REAL)
    layer = kg.GumbelSoftmax()
    given = ~REAL
    for mask in (given, given.tolist(), tensor(given)):
        y = as_array(layer(x, mask=mask))
        np.testing.assert_array_equal(y > 0, given)


def test_an_explicit_mask_goes_on_where_keras_hands_it_on():
    x = np.zeros((3, 6), "float32")
    keras_own = mask_of(keras.layers.Softmax()(x, mask=tensor(REAL)))
    y = kg.GumbelSoftmax()(x, mask=REAL.tolist())
    if keras_own is None:  # Keras 3.10
        assert mask_of(y) is None
    else:
        np.testing.assert_array_equal(mask_of(y), REAL)


def test_padded_positions_in_a_sequential_model():
    """(batch, time, classes) with a mask (batch, time) is as without."""
    x = np.ones((3, 6, 6), "float32") * REAL[..., None]
    for layer in (
        kg.GumbelSoftmax(hard=True),
        keras.layers.TimeDistributed(kg.GumbelSoftmax(hard=True)),
    ):
        model = keras.Sequential([keras.layers.Masking(), layer])
        y = model(x)
        np.testing.assert_array_equal(as_array(y), as_array(layer(x)))
        np.testing.assert_array_equal(mask_of(y), REAL)


def test_time_distributed_scores():
    """Each step has its own part of the mask."""
    x = np.zeros((2, 3, 6), "float32")
    real = np.random.default_rng(0).random((2, 3, 6)) < 0.6
    layer = keras.layers.TimeDistributed(kg.GumbelSoftmax())
    y = as_array(layer(announced(x, real)))
    np.testing.assert_array_equal(y > 0, real)


def test_a_mask_of_inputs_is_none_of_gates_on_features():
    """`HardConcreteGate` has its gates in common to all, and hands it on."""
    x = np.ones((3, 6), "float32")
    layer = kg.HardConcreteGate()
    y = layer(announced(x, REAL))
    np.testing.assert_array_equal(as_array(y), as_array(layer(x)))
    np.testing.assert_array_equal(mask_of(y), REAL)
