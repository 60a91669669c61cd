"""What is no dense tensor of numbers, and what only a symbol stands for.

Each is refused at the call, by an error that names the argument and what to
do instead.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, each_layer, each_of
from tests.variants import slow

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
    "gumbel_sinkhorn": (kg.ops.gumbel_sinkhorn, "logits"),
    "linear_assignment": (kg.ops.linear_assignment, "logits"),
    "hard_concrete": (kg.ops.hard_concrete, "log_alpha"),
    "sample_embedding": (lambda x: kg.ops.sample_embedding(x, ONES), "logits"),
    "table": (lambda x: kg.ops.sample_embedding(ONES, x), "table"),
    "hard": (lambda x: kg.ops.straight_through(x, ONES), "hard"),
    "soft": (lambda x: kg.ops.straight_through(ONES, x), "soft"),
    "categorical_kl": (kg.losses.categorical_kl, "logits"),
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
    public = {name for name in kg.ops.__all__} if hasattr(
        kg.ops, "__all__"
    ) else {
        name
        for name, function in vars(kg.ops).items()
        if callable(function)
    }
    without_tensors = {"sample_gumbel", "sample_logistic"}
    assert public - without_tensors - {"straight_through"} <= set(ARGUMENTS)


@each_kind
@each_layer
def test_of_a_layer(row, kind):
    """Before it is built, for a shape that no dense tensor has."""
    x, remedy = KINDS[kind]
    layer = row.create()
    name = "logits" if row.takes_logits_by_name else "inputs"
    with pytest.raises(TypeError, match=f"`{name}` must be a dense.*{remedy}"):
        layer(x, training=True)
    assert not layer.built
