"""Streams of random numbers, and counts that no two callers read alike."""

import functools
import zlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Keras keeps these to itself. The generator behind `seed=None` must be its
# own, so that `keras.utils.set_random_seed` reaches it.
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.random.seed_generator import global_seed_generator
from tensorflow.compiler.tf2xla.python import xla

# The call of a function by its name has no name under `tf.`.
from tensorflow.python.eager import context, execute

from keras_gumbel._typing import Seed, Tensor
from keras_gumbel.backend import replay, threefry
from keras_gumbel.backend.tensorflow.programs import (
    Unread,
    compiled,
    fetch_then_add,
)
from keras_gumbel.backend.tensorflow.tensors import bitcast
from keras_gumbel.backend.tensorflow.tracing import is_vectorised


def next_key(seed: Seed) -> Tensor:
    """The key of the next draw: int64, shape (2,), other on every replica.

    In a graph it is what `compiled` and `with_gradient` read it by, in the
    program that they call: nothing else can be done with it, and that once.

    Threefry's own key is 64 bits: the low words of these two, which are the
    seed and the count of draws, so that no two draws of a generator share it.
    """
    return replay.once(lambda: _drawn_key(seed), graph())


def is_key(seed: Any) -> bool:
    """Whether it is a key of the framework's own, of which this has none."""
    del seed
    return False


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
    """`generator.next()`, which no other thread reads in between."""
    if in_stateless_scope():
        return generator.next()
    return _fetched(generator.state, _ONE_DRAW)


def _can_be_read_later(generator: keras.random.SeedGenerator) -> bool:
    """In a graph, by one program, which XLA lets reach the state."""
    if tf.executing_eagerly() or in_stateless_scope() or replay.is_running():
        return False
    if is_vectorised():
        return False
    return not _is_elsewhere(generator.state.value)


def _is_elsewhere(state: Any) -> bool:
    """On a parameter server; or several variables, of each replica one."""
    on_server = "/job:ps" in (state.device or "")
    return on_server or tf.distribute.in_cross_replica_context()


def check_can_change(variable: keras.Variable) -> None:
    """Nothing: a variable can change in any graph."""


def fetch_and_add(
    variable: keras.Variable, amount: int | tuple[int, ...]
) -> Tensor:
    """What an int64 `variable` is, and add `amount` to it, in one step.

    Neither other threads nor other runs of a graph find it in between, which
    XLA locks.
    """
    return replay.once(lambda: _fetched(variable, amount), graph())


def _fetched(variable: keras.Variable, amount: int | tuple[int, ...]) -> Tensor:
    if in_stateless_scope():
        before = keras.ops.convert_to_tensor(variable)
        variable.assign_add(amount)
        return before
    state, added = variable.value, _int64(amount)
    if _is_elsewhere(state):
        # XLA does not reach it.
        before = state.read_value()
        state.assign_add(added, read_value=False)
        return before
    if is_vectorised():
        # What is read from a variable, all would share. TensorFlow runs a
        # Python function for one after the other.
        before = tf.py_function(
            lambda: _fetched(variable, amount), [], tf.int64
        )
        return tf.ensure_shape(before, added.shape)
    if not tf.executing_eagerly():
        return _fetch_and_add(state.handle, added)
    # What a call of the trace comes to, in a fraction of its time.
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
    """The trace of `_fetch_and_add`."""
    program = tf.function(fetch_then_add, jit_compile=True, autograph=False)
    return program.get_concrete_function(
        tf.TensorSpec((), tf.resource), tf.TensorSpec(shape, tf.int64)
    )


def set_apart(generator: keras.random.SeedGenerator, name: str) -> None:
    """Have its draws be others than those of any other name, or of none.

    Whatever its state is, which files hold: two generators that are apart may
    be in one state.
    """
    setattr(generator, _PART, zlib.crc32(name.encode()))


def is_set_apart(generator: keras.random.SeedGenerator) -> bool:
    """Whether `set_apart` was called with it."""
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
    """The graph that is being traced, None in eager code."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def random_bits(
    shape: Tensor, key: Tensor, start: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """64 random bits for each number: two words, the low one first, uint32.

    Inside `compiled` only.

    Args:
        shape: Integers or an integer tensor.
        key: What `next_key` gave.
        start: The first number's place among the 2**64 of the key.
    """
    if is_vectorised():
        return _bits_of_each(shape, key, start)
    bits = _random_bits(shape, key, start)
    high = tf.cast(tf.bitwise.right_shift(bits, np.uint64(32)), tf.uint32)
    return tf.cast(bits, tf.uint32), high


def _bits_of_each(
    shape: Tensor, key: Tensor, start: Tensor | int
) -> tuple[Tensor, Tensor]:
    """`random_bits` by arithmetic, where there is no generator."""
    count = tf.reduce_prod(tf.cast(tf.stack(shape), tf.int64))
    place = tf.range(count) + tf.cast(start, tf.int64)
    low, high = threefry.bits_at(key, tf.reshape(place, shape))
    return bitcast(low, "uint32"), bitcast(high, "uint32")


def _random_bits(shape: Tensor, key: Tensor, start: Tensor | int) -> Tensor:
    """64 bits for each number, by Threefry."""
    # A constant key would have small draws computed by the compiler itself,
    # whose arithmetic differs in the last digit.
    (key,) = xla.optimization_barrier(key)
    # What `tf.random.stateless_uniform(alg="threefry")` does with a seed,
    # which always counts from 0.
    bits: Tensor = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape,
        key=tf.reshape(tf.bitcast(tf.cast(key, tf.int32), tf.uint64), [1]),
        counter=tf.reshape(tf.cast(start, tf.uint64), [1]),
        alg=tf.random.Algorithm.THREEFRY.value,
        dtype=tf.uint64,
    )
    return bits
