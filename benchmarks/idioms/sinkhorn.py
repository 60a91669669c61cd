"""Permutations: Gumbel-Sinkhorn as it is pasted into TensorFlow.

Noise clipped by eps, a Python loop of `reduce_logsumexp`, and for hard
samples SciPy in `tf.numpy_function`, which XLA cannot compile.
"""

import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

import keras_gumbel as kg

SHAPES = [(64, 8, 8), (256, 16, 16), (16, 64, 64)]
TEMPERATURE, ITERATIONS, EPS = 1.0, 20, 1e-20
NO_XLA = {f"{b} x {n} x {n} hard" for b, n, _ in SHAPES}


def perturbed(logits):
    u = tf.random.uniform(tf.shape(logits))
    return logits - tf.math.log(-tf.math.log(u + EPS) + EPS)


def sinkhorn(x):
    for _ in range(ITERATIONS):
        x = x - tf.reduce_logsumexp(x, axis=2, keepdims=True)
        x = x - tf.reduce_logsumexp(x, axis=1, keepdims=True)
    return tf.exp(x)


def pasted_soft(logits):
    return sinkhorn(perturbed(logits) / TEMPERATURE)


def matching(x):
    permutations = np.zeros_like(x)
    for matrix, permutation in zip(x, permutations, strict=True):
        rows, columns = linear_sum_assignment(-matrix)
        permutation[rows, columns] = 1
    return permutations


def pasted_hard(logits):
    x = perturbed(logits)
    soft = sinkhorn(x / TEMPERATURE)
    hard = tf.numpy_function(matching, [x], tf.float32)
    hard.set_shape(x.shape)
    return soft + tf.stop_gradient(hard - soft)


def ours_soft(logits):
    return kg.ops.gumbel_sinkhorn(logits, TEMPERATURE, ITERATIONS)


def ours_hard(logits):
    return kg.ops.gumbel_sinkhorn(logits, TEMPERATURE, ITERATIONS, hard=True)


def cases():
    """By label: ours, what is pasted, and what both are given."""
    found = {}
    for shape in SHAPES:
        logits = tf.random.stateless_normal(shape, (0, 0))
        name = " x ".join(map(str, shape))
        found[f"{name} soft"] = ours_soft, pasted_soft, [logits]
        found[f"{name} hard"] = ours_hard, pasted_hard, [logits]
    return found
