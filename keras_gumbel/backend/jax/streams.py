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

# Keras keeps these private. `seed=None` must use its own generator, so that
# `keras.utils.set_random_seed` reaches it.
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.random.seed_generator import global_seed_generator

from keras_gumbel._typing import Seed, Tensor
from keras_gumbel.backend import threefry
from keras_gumbel.backend.jax.programs import compiled
from keras_gumbel.backend.jax.tensors import bitcast
from keras_gumbel.backend.jax.tracing import is_eager, is_in_inner_graph

_PART = "_keras_gumbel_part"
# JAX's names of the generator, full and short.
_THREEFRY = ("threefry2x32", "fry")


def next_key(seed: Seed) -> Tensor:
    """Return the next draw's key: uint32, shape (2,).

    The words are the seed and the count of draws. A key of JAX's own has them
    in the other order: `jax.random.key(7)` draws the same as the seed 7.
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
    """Return whether it is a Threefry key of JAX; raise for another key."""
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


def integer_seed(seed: Seed) -> Seed:
    """Return `seed`, or an integer in place of a JAX key."""
    return int(jax.random.bits(seed)) if is_key(seed) else seed


def stream(seed: int | None) -> keras.random.SeedGenerator:
    """Return a generator that begins with a seed below 2**32."""
    return keras.random.SeedGenerator(seed)


def state_of(generator: keras.random.SeedGenerator) -> keras.Variable:
    """Return a stream's state for a file: two words without a sign."""
    return generator.state


def _words_of_key(key: Tensor) -> Tensor:
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    return jnp.flip(key, -1)


def check_can_change(variable: keras.Variable) -> None:
    """Raise where a change would leave a tracer in the variable."""
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
    return bitcast(random_bits((2,), key, 2 * part)[0], "uint32")


def fetch_and_add(
    variable: keras.Variable, amount: int | tuple[int, ...]
) -> Tensor:
    """Return the value of `variable` and add `amount` to it."""
    check_can_change(variable)
    before = variable.value
    variable.assign(before + np.asarray(amount, before.dtype))
    return before


def value_once(variable: keras.Variable) -> Tensor:
    """Return its value: a block of `remat` is a function of values."""
    return variable.value


def replica() -> tuple[int, int]:
    """Return replica 0 of 1: one program has all data."""
    return 0, 1


def sum_over_replicas(x: Tensor) -> Tensor:
    """Return `x`: there is one replica."""
    return x


def set_apart(generator: keras.random.SeedGenerator, name: str) -> None:
    """Give it draws different from any other name's, or no name's.

    Files hold only its state, which does not depend on the name: two
    generators that are apart may be in one state.
    """
    setattr(generator, _PART, zlib.crc32(name.encode()))


def is_set_apart(generator: keras.random.SeedGenerator) -> bool:
    """Return whether `set_apart` was called with it."""
    return hasattr(generator, _PART)


def random_bits(
    shape: Sequence[int], key: Tensor, start: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """Return 64 random bits per number: two int32 words, the low one first.

    Inside `compiled` only.

    Args:
        shape: Integers.
        key: The key from `next_key`.
        start: The first number's place among the key's 2**64.
    """
    # With a constant key the compiler would compute small draws itself, by
    # arithmetic that differs in the last digit.
    key = lax.optimization_barrier(jnp.asarray(key))
    shape = tuple(shape)
    place = lax.iota("int64", math.prod(shape)) + start
    return threefry.bits_at(key, jnp.reshape(place, shape))
