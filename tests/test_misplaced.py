"""Functions given what is no tensor yet, and metrics given to `compile`."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.harness import to_numpy
from tests.test_messages import refuses

LOGITS = np.zeros((2, 3), "float32")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("hard", lambda x: kg.ops.straight_through(x, LOGITS)),
        ("soft", lambda x: kg.ops.straight_through(LOGITS, x)),
        ("logits", lambda x: kg.losses.categorical_kl(x)),
        ("prior_logits", lambda x: kg.losses.categorical_kl(LOGITS, x)),
        ("logits", lambda x: kg.losses.bernoulli_kl(x)),
        ("prior_logits", lambda x: kg.losses.bernoulli_kl(LOGITS, x)),
        ("logits", kg.ops.gumbel_softmax),
        ("logits", kg.ops.gumbel_sigmoid),
        ("logits", lambda x: kg.ops.gumbel_top_k(x, 2)),
        ("logits", lambda x: kg.ops.conditional_poisson_subset(x, 2)),
        ("logits", lambda x: kg.ops.conditional_poisson_marginals(x, 2)),
        ("scores", kg.ops.gumbel_sort),
        (
            "logits",
            lambda x: kg.ops.gumbel_sinkhorn(keras.ops.stack([x, x, x], 1)),
        ),
        ("logits", lambda x: kg.ops.linear_assignment(x[..., None])),
        ("log_alpha", kg.ops.hard_concrete),
        ("temperature", lambda x: kg.ops.gumbel_softmax(LOGITS, x)),
        ("class_mask", lambda x: kg.ops.gumbel_softmax(LOGITS, class_mask=x)),
        ("table", lambda x: kg.ops.sample_embedding(LOGITS, x)),
        ("inputs", lambda x: kg.GumbelQuantizer(4, 2).logits(x)),
        ("inputs", lambda x: kg.GumbelQuantizer(4, 2).encode(x)),
        pytest.param(
            "logits",
            lambda x: kg.distributions.from_layer(kg.GumbelSoftmax(), x),
            marks=pytest.mark.tensorflow,
        ),
    ],
)
def test_inputs_of_a_functional_model(name, call):
    refuses(
        TypeError,
        name,
        "There call the layer",
        f"{name}=<KerasTensor",
        lambda: call(keras.Input((3,))),
    )


def test_the_remedy():
    class Terms(keras.layers.Layer):
        def call(self, inputs):
            kl = kg.losses.categorical_kl(inputs)
            return kg.ops.straight_through(keras.ops.round(kl), kl)

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Terms()(inputs))
    assert to_numpy(model(LOGITS)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("metric", "by"),
    [
        (kg.metrics.CodePerplexity, "metrics"),
        (kg.metrics.CategoryUsage, "weighted_metrics"),
    ],
)
def test_a_metric_of_codes_in_compile(metric, by):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile(loss="mse", jit_compile=False, **{by: [metric(3)]})
    for run in (model.fit, model.evaluate):
        refuses(
            TypeError,
            metric.__name__,
            "attribute of the layer that makes the codes",
            "update_state of 3 arguments",
            lambda run=run: run(LOGITS, LOGITS, verbose=0),
        )
