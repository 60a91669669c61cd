"""Gates: `gumbel_sigmoid` beside the lines that are pasted for it."""

import keras
import tensorflow as tf

import keras_gumbel as kg

SHAPES = [(64, 10), (2560, 10), (4096, 1024)]
TEMPERATURE = 0.5
EPSILON = 1e-7


def pasted(logits, hard):
    """Uniform noise kept off 0 and 1, and a straight-through of the soft."""
    uniform = tf.random.uniform(tf.shape(logits), EPSILON, 1 - EPSILON)
    noise = tf.math.log(uniform) - tf.math.log(1 - uniform)
    soft = tf.sigmoid((logits + noise) / TEMPERATURE)
    if not hard:
        return soft
    return tf.stop_gradient(tf.cast(soft > 0.5, soft.dtype) - soft) + soft


def cases():
    """`{label: (ours, pasted, inputs)}`, to be differentiated by `inputs`."""
    seed = keras.random.SeedGenerator(0)
    found = {}
    for shape in SHAPES:
        logits = tf.random.normal(shape)
        for hard in (False, True):
            kind = "hard" if hard else "soft"

            def ours(x, hard=hard):
                return kg.ops.gumbel_sigmoid(
                    x, TEMPERATURE, hard=hard, seed=seed
                )

            def theirs(x, hard=hard):
                return pasted(x, hard)

            label = f"{kind}, {shape[0]} x {shape[1]}"
            found[label] = ours, theirs, [logits]
    return found
