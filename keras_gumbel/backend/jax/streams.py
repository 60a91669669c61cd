"""Streams of random numbers, and counts."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

# Keras keeps these to itself. The generator behind `seed=None` must be its
# own, so that `keras.utils.set_random_seed` reaches it.
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.random.seed_generator import global_seed_generator

from keras_gumbel._typing import Seed, Tensor
from keras_gumbel.backend import threefry
from keras_gumbel.backend.jax.programs import compiled
from keras_gumbel.backend.jax.tensors import bitcast
from keras_gumbel.backend.jax.tracing import is_eager, is_in_inner_graph

_PART = "_keras_gumbel_part"
# What JAX calls the generator, whole and in short.
_THREEFRY = ("threefry2x32", "fry")


def next_key(seed: Seed) -> Tensor:
    """The key of the next draw: uint32, shape (2,).

    The words are the seed and the count of draws. A key of JAX's own has
    them in the other order: `jax.random.key(7)` draws what the seed 7 does.
    """
    if isinstance(seed, int | np.integer):
        return np.asarray((seed, 0), np.uint32)
    if isinstance(seed, jax.Array):
        return _words_of_key(seed)
    generator = global_seed_generator() if seed is None else seed
    check_can_change(generator.state)
    key = generator.next()
    part = getattr(seed, _PART, None)
    return key if part is None else _part_key(key, part)


def is_key(seed: Any) -> bool:
    """Whether it is a key of JAX's, by Threefry; an error for another."""
    if not isinstance(seed, jax.Array):
        return False
    if jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        if str(jax.random.key_impl(seed)) in _THREEFRY:
            return True
    elif seed.dtype == jnp.uint32 and seed.shape == (2,):
        return True
    raise ValueError(
        "`seed` must be one key of Threefry, which JAX's keys are unless "
        "`jax_default_prng_impl` says otherwise: `jax.random.key(0)`. "
        f"Received: seed={seed}"
    )


def _words_of_key(key: Tensor) -> Tensor:
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    return jnp.flip(key, -1)


def check_can_change(variable: keras.Variable) -> None:
    """Raise where a change would hold a tracer for ever."""
    if is_in_inner_graph():
        raise ValueError(
            "A stream of noise, or a count, cannot move on inside a loop that "
            "JAX traces, as in `keras.layers.RNN`: Keras has no way to take it "
            "along. Make the layer with `unroll=True`. "
            f"Received: a change of {variable.path!r}"
        )
    if in_stateless_scope() or is_eager():
        return
    raise ValueError(
        "A stream of noise cannot move on inside `jax.jit`, `jax.lax.scan` or "
        "another transformation that traces: the state of a "
        "`keras.random.SeedGenerator` is a variable, and would keep a tracer. "
        "Call the layer by `stateless_call`, or within a "
        "`keras.StatelessScope`; or give a function `seed=key`, a key of "
        "`jax.random.key`, or an integer. "
        f"Received: a draw from {variable.path!r}"
    )


@compiled
def _part_key(key: Tensor, part: int) -> Tensor:
    return random_bits((2,), key, 2 * part)[0]


def fetch_and_add(
    variable: keras.Variable, amount: int | tuple[int, ...]
) -> Tensor:
    """What a `variable` is, and add `amount` to it."""
    check_can_change(variable)
    before = variable.value
    variable.assign(before + np.asarray(amount, before.dtype))
    return before


def set_apart(generator: keras.random.SeedGenerator, name: str) -> None:
    """Have its draws be others than those of any other name, or of none.

    Whatever its state is, which files hold: two generators that are apart may
    be in one state.
    """
    setattr(generator, _PART, zlib.crc32(name.encode()))


def is_set_apart(generator: keras.random.SeedGenerator) -> bool:
    """Whether `set_apart` was called with it."""
    return hasattr(generator, _PART)


def random_bits(
    shape: Sequence[int], key: Tensor, start: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """64 random bits for each number: two words, the low one first, uint32.

    Inside `compiled` only.

    Args:
        shape: Integers.
        key: What `next_key` gave.
        start: The first number's place among the 2**64 of the key.
    """
    # A constant key would have small draws computed by the compiler itself,
    # whose arithmetic differs in the last digit.
    key = lax.optimization_barrier(jnp.asarray(key))
    shape = tuple(shape)
    place = lax.iota("int64", math.prod(shape)) + start
    low, high = threefry.bits_at(key, jnp.reshape(place, shape))
    return bitcast(low, "uint32"), bitcast(high, "uint32")
