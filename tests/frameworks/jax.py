"""JAX's part of `tests.harness`."""

import jax
import jax.numpy as jnp
import keras

from keras_gumbel.backend.jax.states import Pure


def slopes(function, tensors, upstream):
    """The value, and what comes back to each of the tensors."""
    value, back = jax.vjp(function, *tensors)
    if upstream is None:
        upstream = jnp.ones_like(value)
    upstream = jnp.asarray(upstream, value.dtype)
    return value, back(jnp.broadcast_to(upstream, value.shape))


def slopes_to(variables, function):
    """Of the sum of `function()`, to variables of Keras."""

    def total(values):
        mapping = list(zip(variables, values, strict=True))
        with keras.StatelessScope(mapping, collect_losses=True):
            return jnp.sum(function())

    return jax.grad(total)([x.value for x in variables])


# How a function of tensors is run: mode -> (function -> function).
MODES = {
    "eager": lambda function: function,
    "graph": lambda function: Pure(function).compiled,
    "compiled": lambda function: Pure(function).compiled,
}
