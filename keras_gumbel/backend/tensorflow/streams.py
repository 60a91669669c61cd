"""Streams of random numbers, and counts that no two callers share."""

import functools
import zlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Keras keeps these private. `seed=None` must use its own generator, so that
# `keras.utils.set_random_seed` reaches it.
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.random.seed_generator import global_seed_generator
from tensorflow.compiler.tf2xla.python import xla

# `tf` does not export the call of a function by its name.
from tensorflow.python.eager import context, execute

from keras_gumbel._typing import Seed, Tensor
from keras_gumbel.backend import replay, threefry
from keras_gumbel.backend.tensorflow.programs import (
    Unread,
    compiled,
    fetch_then_add,
)
from keras_gumbel.backend.tensorflow.tensors import bitcast, read
from keras_gumbel.backend.tensorflow.tracing import is_vectorised


def next_key(seed: Seed) -> Tensor:
    """Return the next draw's key: int64, shape (2,), different per replica.

    In a graph it may be unread. Then only `compiled` and `with_gradient` take
    it, once, and the program that they call reads it.

    The numbers are the seed and the count of draws. Their low words are
    Threefry's 64-bit key, so no two draws of a generator share one.
    """
    return replay.once(lambda: _drawn_key(seed), graph())


def is_key(seed: Any) -> bool:
    """Return False: TensorFlow has no keys of its own."""
    del seed
    return False


def integer_seed(seed: Seed) -> Seed:
    """Return `seed` unchanged, since it is no key."""
    return seed


def stream(seed: int | None) -> keras.random.SeedGenerator:
    """Return a generator that begins with a seed below 2**32."""
    return keras.random.SeedGenerator(seed)


def state_of(generator: keras.random.SeedGenerator) -> keras.Variable:
    """Return a stream's state for a file: two words without a sign."""
    return generator.state


def _drawn_key(seed: Seed) -> Tensor:
    here = tf.distribute.get_replica_context()
    replicas = here.num_replicas_in_sync if here else 1
    if isinstance(seed, int | np.integer):
        key = tf.constant((seed, 0), tf.int64)
    else:
        generator = global_seed_generator() if seed is None else seed
        part = getattr(seed, _PART, None)
        if part is None and replicas == 1 and _can_be_read_later(generator):
            return Unread(generator.state.value.handle, _int64(_ONE_DRAW))
        key = _advance(generator)
        if part is not None:
            key = _part_key(key, _int64(part))
    if replicas > 1:
        key = _replica_key(key, replicas, here.replica_id_in_sync_group)
    return key


def _advance(generator: keras.random.SeedGenerator) -> Tensor:
    """Return `generator.next()`, with no other thread in between."""
    if in_stateless_scope():
        return generator.next()
    return _fetched(generator.state, _ONE_DRAW)


def _can_be_read_later(generator: keras.random.SeedGenerator) -> bool:
    """Return whether one XLA program of a graph can read the state."""
    if tf.executing_eagerly() or in_stateless_scope() or replay.is_running():
        return False
    if is_vectorised():
        return False
    return not _is_elsewhere(generator.state.value)


def _is_elsewhere(state: Any) -> bool:
    """Return whether it is on a parameter server, or one per replica."""
    on_server = "/job:ps" in (state.device or "")
    return on_server or tf.distribute.in_cross_replica_context()


def check_can_change(variable: keras.Variable) -> None:
    """Do nothing: a variable can change in any graph."""


def fetch_and_add(
    variable: keras.Variable, amount: int | tuple[int, ...]
) -> Tensor:
    """Return the value of an int64 `variable` and add `amount` in one step.

    XLA locks it against other threads and other runs of a graph.
    """
    return replay.once(lambda: _fetched(variable, amount), graph())


def value_once(variable: keras.Variable) -> Tensor:
    """Return its value; in a block of `remat`, its value in the first run."""
    return replay.once(lambda: tf.identity(read(variable)), graph())


def replica() -> tuple[Tensor | int, int]:
    """Return the number of this replica, and how many there are."""
    here = tf.distribute.get_replica_context()
    if here is None or here.num_replicas_in_sync == 1:
        return 0, 1
    return here.replica_id_in_sync_group, here.num_replicas_in_sync


def sum_over_replicas(x: Tensor) -> Tensor:
    """Return the sum of the `x` of all replicas; all must call this."""
    if replica()[1] == 1:
        return x
    here = tf.distribute.get_replica_context()
    return here.all_reduce(tf.distribute.ReduceOp.SUM, x)


def _fetched(variable: keras.Variable, amount: int | tuple[int, ...]) -> Tensor:
    if in_stateless_scope():
        before = keras.ops.convert_to_tensor(variable)
        variable.assign_add(amount)
        return before
    state, added = variable.value, _int64(amount)
    if _is_elsewhere(state):
        # XLA cannot reach it.
        before = state.read_value()
        state.assign_add(added, read_value=False)
        return before
    if is_vectorised():
        # All examples would share one read of a variable. TensorFlow runs a
        # Python function for each in turn.
        before = tf.py_function(
            lambda: _fetched(variable, amount), [], tf.int64
        )
        return tf.ensure_shape(before, added.shape)
    if not tf.executing_eagerly():
        return _fetch_and_add(state.handle, added)
    # This does what a call of the trace does, in a fraction of its time.
    trace = _fetching(added.shape)
    name, inputs = tf.compat.as_str(trace.name), [state.handle, added]
    return execute.execute(name, 1, inputs, None, context.context())[0]


@functools.cache
def _int64(number: int | tuple[int, ...]) -> Tensor:
    with tf.init_scope():
        return tf.constant(number, tf.int64)


_fetch_and_add = compiled(fetch_then_add)


@functools.cache
def _fetching(shape: tf.TensorShape) -> Any:
    """Return the trace of `_fetch_and_add`."""
    program = tf.function(fetch_then_add, jit_compile=True, autograph=False)
    return program.get_concrete_function(
        tf.TensorSpec((), tf.resource), tf.TensorSpec(shape, tf.int64)
    )


def set_apart(generator: keras.random.SeedGenerator, name: str) -> None:
    """Give it draws different from any other name's, or no name's.

    Files hold only its state, which does not depend on the name: two
    generators that are apart may be in one state.
    """
    setattr(generator, _PART, zlib.crc32(name.encode()))


def is_set_apart(generator: keras.random.SeedGenerator) -> bool:
    """Return whether `set_apart` was called with it."""
    return hasattr(generator, _PART)


_PART = "_keras_gumbel_part"


_ONE_DRAW = (0, 1)


@compiled
def _part_key(key: Tensor, part: Tensor) -> Tensor:
    return tf.cast(_random_bits((2,), key, 2 * part), tf.int64)


@compiled
def _replica_key(key: Tensor, replicas: int, replica: Tensor) -> Tensor:
    return tf.random.split(key, replicas, alg="threefry")[replica]


def graph() -> Any:
    """Return the graph being traced, None in eager code."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def random_bits(
    shape: Tensor, key: Tensor, start: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """Return 64 random bits per number: two int32 words, the low one first.

    Inside `compiled` only.

    Args:
        shape: Integers or an integer tensor.
        key: The key from `next_key`.
        start: The first number's place among the key's 2**64.
    """
    if is_vectorised():
        return _bits_of_each(shape, key, start)
    bits = _random_bits(shape, key, start)
    high = tf.cast(tf.bitwise.right_shift(bits, np.uint64(32)), tf.uint32)
    low = tf.cast(bits, tf.uint32)
    return bitcast(low, "int32"), bitcast(high, "int32")


def _bits_of_each(
    shape: Tensor, key: Tensor, start: Tensor | int
) -> tuple[Tensor, Tensor]:
    """Compute `random_bits` by arithmetic, where there is no generator."""
    count = tf.reduce_prod(tf.cast(tf.stack(shape), tf.int64))
    place = tf.range(count) + tf.cast(start, tf.int64)
    return threefry.bits_at(key, tf.reshape(place, shape))


def _random_bits(shape: Tensor, key: Tensor, start: Tensor | int) -> Tensor:
    """Return 64 bits for each number, by Threefry."""
    # With a constant key the compiler would compute small draws itself, by
    # arithmetic that differs in the last digit.
    (key,) = xla.optimization_barrier(key)
    # `tf.random.stateless_uniform(alg="threefry")` does this with a seed, but
    # always counts from 0.
    bits: Tensor = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape,
        key=tf.reshape(tf.bitcast(tf.cast(key, tf.int32), tf.uint64), [1]),
        counter=tf.reshape(tf.cast(start, tf.uint64), [1]),
        alg=tf.random.Algorithm.THREEFRY.value,
        dtype=tf.uint64,
    )
    return bits
