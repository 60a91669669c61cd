"""Subsets of k classes, beside the loop of softmaxes that people paste.

Each case is (ours, pasted, inputs): two functions of the inputs with one
result, to be differentiated.
"""

import tensorflow as tf

import keras_gumbel as kg

SIZES = [(256, 64, 4), (1024, 1024, 8), (64, 4096, 16)]
TEMPERATURE = 0.5
_EPSILON = 1e-20
_TINY = 1e-38


def cases():
    """By label, for each size and both kinds."""
    found = {}
    for rows, classes, k in SIZES:
        for hard in (False, True):
            kind = "hard" if hard else "soft"
            inputs = [tf.random.stateless_normal((rows, classes), (1, 2))]
            found[f"top {k} of {rows} x {classes}, {kind}"] = (
                ours(k, hard),
                pasted(k, hard),
                inputs,
            )
    return found


def ours(k, hard):
    """The layer, as a model calls it in training."""
    layer = kg.GumbelTopK(k, TEMPERATURE, hard=hard)
    return lambda logits: layer(logits, training=True)


def pasted(k, hard):
    """Xie and Ermon's relaxation in plain TensorFlow; top_k for hard."""

    def sample(logits):
        uniform = tf.random.uniform(tf.shape(logits))
        noise = -tf.math.log(-tf.math.log(uniform + _EPSILON) + _EPSILON)
        scores = perturbed = logits + noise
        one_hot = tf.zeros_like(logits)
        k_hot = tf.zeros_like(logits)
        for _ in range(k):
            scores += tf.math.log(tf.maximum(1.0 - one_hot, _TINY))
            one_hot = tf.nn.softmax(scores / TEMPERATURE)
            k_hot += one_hot
        if not hard:
            return k_hot
        chosen = tf.math.top_k(perturbed, k).indices
        chosen = tf.reduce_sum(tf.one_hot(chosen, logits.shape[-1]), axis=-2)
        return tf.stop_gradient(chosen - k_hot) + k_hot

    return sample
