"""Random orders, beside the SoftSort that people paste, and beside Sinkhorn.

Each case is (ours, pasted, inputs): two functions of the inputs, to be
differentiated.
"""

import tensorflow as tf

import keras_gumbel as kg

SIZES = [(64, 64), (8, 1024)]
TEMPERATURE = 0.5
_EPSILON = 1e-20


def cases():
    """By label, for each size and output."""
    found = {}
    for rows, n in SIZES:
        inputs = [tf.random.stateless_normal((rows, n), (1, 2))]
        for output in ("permutation", "ranks"):
            for hard in (False, True):
                kind = "hard" if hard else "soft"
                found[f"{rows} x {n}, {kind} {output}"] = (
                    ours(output, hard),
                    pasted(output, hard),
                    inputs,
                )
    found["8 x 1024, soft permutation, beside GumbelSinkhorn"] = (
        ours("permutation", False),
        by_sinkhorn(),
        inputs,
    )
    return found


def ours(output, hard):
    """The layer, as a model calls it in training."""
    layer = kg.GumbelSort(TEMPERATURE, hard=hard, output=output)
    return lambda scores: layer(scores, training=True)


def pasted(output, hard):
    """SoftSort in plain TensorFlow, straight through where hard."""

    def sample(scores):
        uniform = tf.random.uniform(tf.shape(scores))
        noise = -tf.math.log(-tf.math.log(uniform + _EPSILON) + _EPSILON)
        x = (scores + noise)[..., None]
        z = tf.sort(x, axis=-2, direction="DESCENDING")
        gaps = -tf.abs(z - tf.transpose(x, (0, 2, 1))) / TEMPERATURE
        soft = tf.nn.softmax(gaps)
        if hard:
            one_hot = tf.one_hot(tf.argmax(soft, -1), scores.shape[-1])
            soft += tf.stop_gradient(one_hot - soft)
        if output == "permutation":
            return soft
        places = tf.range(scores.shape[-1], dtype="float32")
        return tf.linalg.matvec(soft, tf.zeros_like(scores) + places, True)

    return sample


def by_sinkhorn():
    """A score for each pair: large ones fit early places."""
    layer = kg.GumbelSinkhorn(TEMPERATURE)

    def sample(scores):
        places = tf.linspace(1.0, 0.0, scores.shape[-1])
        return layer(scores[..., None] * places, training=True)

    return sample
