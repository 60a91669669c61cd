"""Hard concrete gates in training, beside the L0 code that is pasted.

A step multiplies a batch by gates of its own for each example, adds the
penalty, and takes the gradient to the batch and to the gates' locations.
"""

import math

import keras
import tensorflow as tf

import keras_gumbel as kg

SHAPES = {"128 x 512": (128, 512), "4096 x 1024": (4096, 1024)}
BETA, GAMMA, ZETA, EPSILON = 2 / 3, -0.1, 1.1, 1e-6


class Pasted(keras.layers.Layer):
    """Noise that is kept from 0 and 1 by hand, as L0 code has it."""

    def build(self, shape):
        self.log_alpha = self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, inputs, training=None):
        shift = BETA * math.log(-GAMMA / ZETA)
        self.add_loss(0.01 * tf.reduce_sum(tf.sigmoid(self.log_alpha - shift)))
        u = tf.random.uniform(tf.shape(inputs), EPSILON, 1 - EPSILON)
        noise = tf.math.log(u) - tf.math.log(1 - u)
        s = tf.sigmoid((noise + self.log_alpha) / BETA)
        z = tf.clip_by_value(s * (ZETA - GAMMA) + GAMMA, 0.0, 1.0)
        return inputs * z


def step(layer, features):
    """The layer's training call, of its weight too."""
    layer.build((None, features))

    def gated(inputs, log_alpha):
        layer.log_alpha = log_alpha
        return layer(inputs, training=True)

    return gated


def cases():
    """Ours, the pasted code, and the inputs of both, by label."""
    found = {}
    for label, (batch, features) in SHAPES.items():
        inputs = tf.random.stateless_normal((batch, features), [1, 2])
        log_alpha = tf.random.stateless_normal((features,), [3, 4])
        found[label] = (
            step(kg.HardConcreteGate(l0_weight=0.01, seed=0), features),
            step(Pasted(), features),
            [inputs, log_alpha],
        )
    return found
