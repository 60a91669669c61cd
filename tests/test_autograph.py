"""A user's `tf.function` takes this package as it is written.

AutoGraph rewrites what is called in one, function by function, which took
five seconds for the first sample.
"""

import keras
import pytest
import tensorflow as tf
from tensorflow.python.autograph.impl import api

import keras_gumbel as kg

pytestmark = pytest.mark.tensorflow


def own(x):
    """A function of the test's, which is rewritten."""
    return -x


SAMPLE, QUANTIZER = kg.GumbelSoftmax(hard=True), kg.GumbelQuantizer(4, 2)
CALLS = {
    "function": lambda x: kg.ops.gumbel_softmax(x, hard=True, seed=1),
    "layer": lambda x: SAMPLE(x, training=True),
    "method": lambda x: QUANTIZER.encode(x),
    "loss": lambda x: kg.losses.categorical_kl(x),
    "callable": kg.remat(lambda x: kg.ops.gumbel_sigmoid(x)),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_of_the_package_is_rewritten(name, monkeypatch):
    rewritten, rewrite = [], api._convert_actual

    def note(entity, context):
        rewritten.append(entity.__module__)
        return rewrite(entity, context)

    monkeypatch.setattr(api, "_convert_actual", note)
    CALLS[name](keras.ops.zeros((2, 3)))

    @tf.function
    def run(x):
        return CALLS[name](own(x))

    run.get_concrete_function(tf.TensorSpec((None, 3)))
    if __name__ not in rewritten:
        pytest.skip("AutoGraph rewrites nothing on this version of Python")
    assert not [one for one in rewritten if one.startswith("keras_gumbel")]
