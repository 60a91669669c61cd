"""Conditional Poisson subsets, beside the paper's recursion in log space.

Each case is (ours, pasted, inputs): two functions of the inputs with one
result, to be differentiated. What is pasted keeps the logarithm of each
polynomial, and has its marginals, and their gradient, by tapes.
"""

import tensorflow as tf

import keras_gumbel as kg

SIZES = [(256, 64, 4), (64, 256, 8)]
_NEVER = -1e30


def cases():
    """By label, for each size."""
    found = {}
    for rows, classes, k in SIZES:
        inputs = [tf.random.stateless_normal((rows, classes), (1, 2))]
        label = f"{k} of {rows} x {classes}, hard"
        found[label] = (ours(k), pasted(k), inputs)
    return found


def ours(k):
    """The function, with fresh noise at each call."""
    return lambda logits: kg.ops.conditional_poisson_subset(logits, k)


def pasted(k):
    """Ahmed et al.'s algorithms 1 and 2, in plain TensorFlow."""

    def polynomials(logits):
        """log e_j of the first i, (classes + 1, rows, k + 1)."""
        rows = tf.shape(logits)[0]
        first = tf.concat(
            [tf.zeros((rows, 1)), tf.fill((rows, k), _NEVER)], axis=1
        )

        def add(log_e, logit):
            with_it = log_e[:, :-1] + logit[:, None]
            rest = tf.experimental.numpy.logaddexp(log_e[:, 1:], with_it)
            return tf.concat([log_e[:, :1], rest], axis=1)

        log_e = tf.scan(add, tf.transpose(logits), first)
        return tf.concat([first[None], log_e], axis=0)

    def marginals(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total = polynomials(logits)[-1, :, k]
        return tape.gradient(total, logits)

    def draw(logits):
        log_e = polynomials(logits)
        unit = tf.random.uniform(tf.shape(logits))
        left = tf.fill(tf.shape(logits)[:1], k)
        chosen = []
        for i in reversed(range(logits.shape[1])):
            before = tf.gather(
                log_e[i], tf.maximum(left - 1, 0), axis=1, batch_dims=1
            )
            here = tf.gather(log_e[i + 1], left, axis=1, batch_dims=1)
            log_p = logits[:, i] + before - here
            taken = (left > 0) & (tf.math.log(unit[:, i]) < log_p)
            left -= tf.cast(taken, left.dtype)
            chosen.append(tf.cast(taken, logits.dtype))
        return tf.stack(chosen[::-1], axis=1)

    def sample(logits):
        soft = marginals(logits)
        return tf.stop_gradient(draw(logits) - soft) + soft

    return sample
