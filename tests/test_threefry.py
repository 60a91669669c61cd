"""The random bits of a place are those of TensorFlow's Threefry."""

import numpy as np
import pytest

from keras_gumbel import backend, numerics
from keras_gumbel.backend import threefry
from tests.frameworks import tf
from tests.harness import in_mode, modes, tensor, to_numpy

pytestmark = pytest.mark.tensorflow

KEYS = [(0, 0), (17, 3), (2**32 - 1, 2**31 + 5)]
# Within and across the border of a low word, and where series begin.
STARTS = [0, 2**31 - 20, 2**32 - 20, 2**44 * 3 - 20, 2**63 - 100]
COUNT = 41


def reference(key, start):
    """Of `tf.random`, by a program: it has no kernel outside."""

    @tf.function(jit_compile=True, autograph=False)
    def bits(key, start):
        return tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=(COUNT,),
            key=tf.reshape(tf.bitcast(tf.cast(key, tf.int32), tf.uint64), [1]),
            counter=tf.reshape(tf.cast(start, tf.uint64), [1]),
            alg=tf.random.Algorithm.THREEFRY.value,
            dtype=tf.uint64,
        )

    return bits(tf.constant(key, tf.int64), tf.constant(start, tf.int64))


@pytest.mark.tensorflow
@modes()
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("key", KEYS)
def test_the_bits_are_those_of_tf_random(key, start, mode):
    run = in_mode(mode, lambda key, n: tuple(threefry.bits_at(key, n)))
    places = start + np.arange(COUNT, dtype="int64")
    words = run(tensor(np.array(key, "int64")), tensor(places))
    low, high = (x.view("uint32").astype("uint64") for x in to_numpy(words))
    np.testing.assert_array_equal(
        low | high << np.uint64(32), to_numpy(reference(key, start))
    )


def test_a_known_answer():
    """That of Salmon et al.'s own tests, for a counter and a key of zeros."""
    zeros = tensor(np.zeros(2, "int64"))
    low, high = threefry.bits_at(zeros, zeros[:1])
    words = [int(x[0]) & 0xFFFFFFFF for x in to_numpy((low, high))]
    assert words == [0x6B200159, 0x99BA4EFE]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("draw", [numerics.random_unit, numerics.random_half])
def test_numbers_of_places_are_those_of_a_run(draw, dtype):
    key = tensor(np.array([5, 7], "int64"))
    start = 2**32 - 20

    @backend.compiled
    def run(key):
        return draw((COUNT,), key, dtype, start)

    @backend.compiled
    def each(key, places):
        return draw((COUNT,), key, dtype, places)

    places = tensor(start + np.arange(COUNT, dtype="int64"))
    for mine, right in zip(
        np.atleast_2d(*[to_numpy(each(key, places))]),
        np.atleast_2d(*[to_numpy(run(key))]),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, right)
