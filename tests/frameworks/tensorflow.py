"""TensorFlow's part of `tests.harness`."""

import keras
import tensorflow as tf


def slopes(function, tensors, upstream):
    """The value, and what comes back to each of the tensors."""
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    if upstream is not None:
        upstream = keras.ops.cast(upstream, value.dtype)
    found = tape.gradient(value, tensors, output_gradients=upstream)
    return value, tuple(found)


def slopes_to(variables, function):
    """Of the sum of `function()`, to variables of Keras."""
    with tf.GradientTape() as tape:
        value = function()
    return tape.gradient(value, [x.value for x in variables])


# How a function of tensors is run: mode -> (function -> function).
MODES = {
    "eager": lambda function: function,
    "graph": lambda function: tf.function(function, autograph=False),
    "compiled": lambda function: tf.function(
        function, autograph=False, jit_compile=True
    ),
}
