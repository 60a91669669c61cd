"""What is no dense tensor of numbers, and what only a symbol stands for.

Each is refused at the call, by an error that names the argument and what to
do instead.
"""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import (
    LAYERS,
    as_array,
    each_layer,
    each_of,
)
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
# Ragged and sparse tensors, and Functional models.
pytestmark = pytest.mark.tensorflow

RAGGED = tf.RaggedTensor.from_row_lengths(tf.ones((4, 5)), [1, 3])
RAGGED_CLASSES = tf.RaggedTensor.from_row_lengths(tf.ones(5), [2, 3])
SPARSE = tf.sparse.from_dense(np.eye(5, dtype="float32"))
KINDS = {
    "ragged": (RAGGED, "tf.ragged.map_flat_values"),
    "ragged classes": (RAGGED_CLASSES, r"to_tensor\(...\)` pads it"),
    "sparse": (SPARSE, "tf.sparse.to_dense"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)

ONES = tf.ones((5, 5))
# A function of one tensor, and the name it has there.
ARGUMENTS = {
    "gumbel_softmax": (kg.ops.gumbel_softmax, "logits"),
    "sample_argmax_index": (kg.ops.sample_argmax_index, "logits"),
    "gumbel_sigmoid": (kg.ops.gumbel_sigmoid, "logits"),
    "gumbel_top_k": (lambda x: kg.ops.gumbel_top_k(x, 2), "logits"),
    "conditional_poisson_marginals": (
        lambda x: kg.ops.conditional_poisson_marginals(x, 2),
        "logits",
    ),
    "conditional_poisson_subset": (
        lambda x: kg.ops.conditional_poisson_subset(x, 2),
        "logits",
    ),
    "gumbel_sort": (kg.ops.gumbel_sort, "scores"),
    "gumbel_sinkhorn": (kg.ops.gumbel_sinkhorn, "logits"),
    "linear_assignment": (kg.ops.linear_assignment, "logits"),
    "hard_concrete": (kg.ops.hard_concrete, "log_alpha"),
    "sample_embedding": (lambda x: kg.ops.sample_embedding(x, ONES), "logits"),
    "table": (lambda x: kg.ops.sample_embedding(ONES, x), "table"),
    "hard": (lambda x: kg.ops.straight_through(x, ONES), "hard"),
    "soft": (lambda x: kg.ops.straight_through(ONES, x), "soft"),
    "categorical_kl": (kg.losses.categorical_kl, "logits"),
    "nearest_code": (lambda x: kg.ops.nearest_code(x, ONES), "vectors"),
    "codebook": (lambda x: kg.ops.nearest_code(ONES, x), "table"),
    "diversity_loss": (kg.losses.diversity_loss, "logits"),
    "bit_entropy_gap": (kg.losses.bit_entropy_gap, "logits"),
    "prior": (lambda x: kg.losses.categorical_kl(ONES, x), "prior_logits"),
    "temperature": (lambda x: kg.ops.gumbel_softmax(ONES, x), "temperature"),
    "class_mask": (
        lambda x: kg.ops.gumbel_softmax(ONES, class_mask=x),
        "class_mask",
    ),
    "temperature of gates": (
        lambda x: kg.ops.gumbel_sigmoid(ONES, x),
        "temperature",
    ),
    "class_mask of gates": (
        lambda x: kg.ops.gumbel_sigmoid(ONES, class_mask=x),
        "class_mask",
    ),
    "class_mask of pairs": (
        lambda x: kg.ops.gumbel_sinkhorn(ONES, class_mask=x),
        "class_mask",
    ),
    "mask": (lambda x: kg.GumbelSoftmax()(ONES, mask=x), "mask"),
}


@each_kind
@pytest.mark.parametrize("function", ARGUMENTS)
def test_of_a_function(kind, function):
    call, name = ARGUMENTS[function]
    x, remedy = KINDS[kind]
    with pytest.raises(TypeError, match=f"`{name}` must be a dense.*{remedy}"):
        call(x)


def test_every_function_of_tensors_is_here():
    public = {name for name, thing in vars(kg.ops).items() if callable(thing)}
    of_shapes = {"sample_gumbel", "sample_logistic"}
    # Its arguments have rows of their own.
    assert public - of_shapes - {"straight_through"} <= set(ARGUMENTS)


def input_name(row):
    """Of what is to be chosen from, in a call of the layer."""
    return next(iter(inspect.signature(row.create().call).parameters))


@each_kind
@each_layer
def test_of_a_layer(row, kind):
    """Before it is built, for a shape that no dense tensor has."""
    x, remedy = KINDS[kind]
    name = input_name(row)
    layer = row.create()
    for call in (
        lambda: layer(x),
        lambda: layer(**{name: x}),
        lambda: layer.call(x),
    ):
        with pytest.raises(TypeError, match=f"`{name}` must be.*{remedy}"):
            call()
        assert not layer.built


def test_what_the_error_names_works():
    layer = kg.GumbelSoftmax()
    mapped = tf.ragged.map_flat_values(layer, RAGGED)
    np.testing.assert_allclose(as_array(mapped.flat_values), 1 / 5, atol=1e-7)
    assert mapped.row_lengths().numpy().tolist() == [1, 3]
    padded = as_array(layer(RAGGED_CLASSES.to_tensor(-float("inf"))))
    np.testing.assert_allclose(padded, [[0.5, 0.5, 0], [1 / 3] * 3], atol=1e-7)
    dense = as_array(layer(tf.sparse.to_dense(SPARSE)))
    np.testing.assert_allclose(dense.sum(1), 1, atol=1e-6)


@each_layer
def test_sparse_inputs_of_a_model(row):
    inputs = keras.Input(row.input_shape[1:], sparse=True)
    with pytest.raises(TypeError, match=r"must be.*tf\.sparse\.to_dense"):
        row.create()(inputs)


@pytest.mark.parametrize("training", [None, *slow(True)])
@each_layer
def test_inputs_of_a_model_are_checked_at_the_call(row, training):
    """By the errors of a call with values, and not when the model runs."""
    inputs = keras.Input(row.input_shape[1:])
    wrong = keras.Input((*row.input_shape[1:-1], 4))
    flags = keras.Input((*row.input_shape[1:-1], 4), dtype="bool")
    numbers = keras.Input(row.input_shape[1:], dtype="int32")
    float_mask = keras.Input(row.input_shape[1:])
    masks = (
        ({"class_mask": float_mask}, TypeError, "`class_mask` must be bool"),
        ({"class_mask": flags}, ValueError, "`class_mask` must broadcast"),
    )
    known = "class_mask" in inspect.signature(row.layer.call).parameters
    for given, exception, message in (
        *(masks if known else ()),
        ({"temperature": wrong}, ValueError, "`temperature` must broadcast"),
        ({"temperature": numbers}, TypeError, "`temperature` must be"),
        ({"temperature": -1.0}, ValueError, "`temperature` must be positive"),
    ):
        with pytest.raises(exception, match=message):
            row.create()(inputs, training=training, **given)
    name = input_name(row)
    with pytest.raises(TypeError, match=f"`{name}` must be a float tensor"):
        row.create()(numbers, training=training)


@each_of(LAYERS, gate=("GumbelQuantizer-hard",))
def test_the_check_leaves_no_trace(row):
    """Nothing is drawn, counted or added, and the spec is as before."""
    layer = row.create(
        seed=3, temperature=kg.schedules.ExponentialAnnealing(2.0, 0.1, 0.5)
    )
    inputs = keras.Input(row.input_shape[1:])
    tau = keras.Input((1,) * (len(row.input_shape) - 1))
    y = layer(inputs, temperature=tau, training=True)
    assert tuple(y.shape)[1:] == row.output_shape[1:]
    assert y.dtype == row.expected_dtype("float32")
    assert as_array(layer.seed_generator.state).tolist() == [3, 0]
    assert int(layer._iterations) == 0
    assert not layer.losses
    expected = row.create(seed=3)(row.logits(), temperature=1.0, training=True)
    found = layer(row.logits(), temperature=1.0, training=True)
    np.testing.assert_array_equal(as_array(found), as_array(expected))
