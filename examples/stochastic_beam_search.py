"""Texts drawn without replacement from a language model, by beam search.

After Kool, van Hoof, Welling, 2019, https://arxiv.org/abs/1903.06059. The k
texts whose log-probabilities plus Gumbel noise are largest are k draws without
replacement; and a beam search finds them without a look at the others, if it
gives each node the largest perturbed log-probability of the texts below it.
That is drawn from the top down: the children's under the condition that the
largest of them is their parent's.

First its law, beside all 256 texts of 4 letters out of 4; then estimates of an
entropy from k draws of the model of `text_generation.py`, at temperatures.
"""

import argparse
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from matplotlib.figure import Figure
from text_generation import ONE_HOT, Writer, letters, prose

import keras_gumbel as kg

SEED = keras.random.SeedGenerator(0)
FEW = (0, 5, 14, 20)  # a space, e, n, t


def conditioned(perturbed, parent):
    """Gumbel variables given that the largest of them is `parent`."""
    below = perturbed - ops.max(perturbed, axis=-1, keepdims=True)
    v = parent - perturbed + ops.log(-ops.expm1(below))
    return parent - ops.relu(v) - ops.softplus(-ops.abs(v))


@partial(tf.function, jit_compile=True)
def search(writer, count, k, length, heat=1.0, noise=True, few=range(27)):
    """`count` beams of k: texts, their log-probabilities, and perturbed."""
    texts = ops.zeros((count, 1, 0), "int32")
    log_p, perturbed = ops.zeros((count, 1)), kg.ops.sample_gumbel((count, 1))
    state, x = ops.zeros((count, writer.cell.units)), ONE_HOT[[0] * count]
    for _ in range(length):
        state, _ = writer.cell(x, state)
        logits = ops.take(writer.head(state), list(few), axis=-1) / heat
        logits = ops.reshape(logits, (*log_p.shape, len(few)))
        log_p = log_p[..., None] + ops.log_softmax(logits)
        score = log_p
        if noise:
            score += kg.ops.sample_gumbel(log_p.shape, seed=SEED)
            score = conditioned(score, perturbed[..., None])
        score, log_p = (ops.reshape(y, (count, -1)) for y in (score, log_p))
        perturbed, place = ops.top_k(score, min(k, score.shape[1]))
        log_p = ops.take_along_axis(log_p, place, axis=1)
        parent, last = place[..., None] // len(few), place[..., None] % len(few)
        texts = ops.take_along_axis(texts, parent, axis=1)
        texts = ops.concatenate([texts, last], axis=-1)
        state = ops.reshape(state, (count, -1, writer.cell.units))
        state = ops.take_along_axis(state, parent, axis=1)
        state = ops.reshape(state, (-1, writer.cell.units))
        x = ops.reshape(ops.take(ONE_HOT[list(few)], last, axis=0), (-1, 27))
    return texts, log_p, perturbed
