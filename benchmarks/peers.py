"""What a user would otherwise write, and ours, behind one interface.

A peer is a function `make(shape) -> step`. `step()` draws a hard one-hot
sample of fixed float32 logits at temperature 0.5, takes the gradient of its
weighted sum, and returns once both are computed. Each is written as its
users write it; none is tuned, none is crippled.
"""

from collections.abc import Callable

import numpy as np

TEMPERATURE = 0.5
Step = Callable[[], object]


def inputs(shape):
    """The same logits and weights for every peer."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(shape, dtype="float32")
    weights = rng.standard_normal(shape, dtype="float32")
    return logits, weights


def _tensorflow_step(sample, mode):
    import tensorflow as tf

    def step(logits, weights):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.reduce_sum(sample(logits) * weights)
        return loss, tape.gradient(loss, logits)

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "XLA")

    def make(shape):
        logits, weights = map(tf.constant, inputs(shape))

        def run():
            loss, gradient = step(logits, weights)
            loss.numpy()  # waits
            return gradient

        return run

    return make


def pasted_sampler():
    """The ten lines that are pasted from blog to blog."""
    import tensorflow as tf

    def sample(logits):
        uniform = tf.random.uniform(tf.shape(logits))
        gumbel = -tf.math.log(-tf.math.log(uniform + 1e-20) + 1e-20)
        soft = tf.nn.softmax((logits + gumbel) / TEMPERATURE)
        peak = tf.reduce_max(soft, axis=-1, keepdims=True)
        hard = tf.cast(tf.equal(soft, peak), soft.dtype)
        return tf.stop_gradient(hard - soft) + soft

    return sample


def pasted(mode):
    return _tensorflow_step(pasted_sampler(), mode)


def keras_random(mode):
    """The same in Keras 3's own words, with a `SeedGenerator`."""
    import keras
    from keras import ops

    seed = keras.random.SeedGenerator(0)

    def sample(logits):
        uniform = keras.random.uniform(ops.shape(logits), seed=seed)
        gumbel = -ops.log(-ops.log(uniform + 1e-20) + 1e-20)
        soft = ops.softmax((logits + gumbel) / TEMPERATURE)
        hard = ops.one_hot(ops.argmax(soft, axis=-1), logits.shape[-1])
        return ops.stop_gradient(hard - soft) + soft

    return _tensorflow_step(sample, mode)


def tfp(mode):
    """TFP's relaxed sample; it has no hard one with a gradient."""
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    seed = keras.random.SeedGenerator(0)

    def sample(logits):
        key = tf.cast(seed.next(), tf.int32)
        return tfp.distributions.RelaxedOneHotCategorical(
            TEMPERATURE, logits=logits
        ).sample(seed=key)

    return _tensorflow_step(sample, mode)


def sampler_of_ours():
    """keras_gumbel, with a stream of noise as its layers have."""
    import keras

    import keras_gumbel as kg

    seed = keras.random.SeedGenerator(0)

    def sample(logits):
        return kg.ops.gumbel_softmax(logits, TEMPERATURE, hard=True, seed=seed)

    return sample


def ours(mode):
    """That on TensorFlow."""
    return _tensorflow_step(sampler_of_ours(), mode)


def _torch_step(sample, mode):
    import torch

    def loss(logits, weights):
        return (sample(logits) * weights).sum()

    if mode == "compile":
        import torch._dynamo

        loss = torch.compile(loss)

    def step(logits, weights):
        logits.grad = None
        loss(logits, weights).backward()

    def make(shape):
        logits, weights = map(torch.from_numpy, inputs(shape))
        logits.requires_grad_()
        return lambda: step(logits, weights)

    return make


def torch(mode):
    """`torch.nn.functional.gumbel_softmax`, eager or by `torch.compile`."""
    from torch.nn import functional

    def sample(logits):
        return functional.gumbel_softmax(logits, tau=TEMPERATURE, hard=True)

    return _torch_step(sample, mode)


def ours_on_torch(mode):
    """keras_gumbel where Keras is set to torch, with a stream of noise."""
    return _torch_step(sampler_of_ours(), mode)


def jax():
    """JAX as its users write it, under `jax.jit`."""
    import jax
    import jax.numpy as jnp

    def loss(logits, weights, key):
        gumbel = jax.random.gumbel(key, logits.shape)
        soft = jax.nn.softmax((logits + gumbel) / TEMPERATURE)
        hard = jax.nn.one_hot(jnp.argmax(soft, -1), logits.shape[-1])
        sample = jax.lax.stop_gradient(hard - soft) + soft
        return jnp.sum(sample * weights)

    gradient = jax.jit(jax.value_and_grad(loss))

    def make(shape):
        logits, weights = map(jnp.asarray, inputs(shape))
        state = {"key": jax.random.key(0)}

        def run():
            state["key"], key = jax.random.split(state["key"])
            return jax.block_until_ready(gradient(logits, weights, key))

        return run

    return make


PEERS = {
    "keras_gumbel, XLA": lambda: ours("XLA"),
    "keras_gumbel, graph": lambda: ours("graph"),
    "keras_gumbel, eager": lambda: ours("eager"),
    "pasted TF, XLA": lambda: pasted("XLA"),
    "pasted TF, graph": lambda: pasted("graph"),
    "pasted TF, eager": lambda: pasted("eager"),
    "keras_gumbel on torch, compile": lambda: ours_on_torch("compile"),
    "keras_gumbel on torch, eager": lambda: ours_on_torch("eager"),
    "torch, compile": lambda: torch("compile"),
    "torch, eager": lambda: torch("eager"),
    "JAX, jit": jax,
    "keras.random, XLA": lambda: keras_random("XLA"),
    "TFP (soft), XLA": lambda: tfp("XLA"),
}
