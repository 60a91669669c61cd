"""One stream read by many threads at once: no draw comes twice."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from keras_gumbel import backend
from tests.conformance.registry import LAYERS, TRAINED, as_array, each_of
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
pytestmark = pytest.mark.tensorflow

THREADS, DRAWS = 8, 800


def in_threads(draw, draws=DRAWS):
    """What `draw` gave, called by eight threads that start together."""
    found = [[] for _ in range(THREADS)]
    start = threading.Barrier(THREADS)

    def work(mine):
        start.wait()
        mine += [draw() for _ in range(draws // THREADS)]

    threads = [threading.Thread(target=work, args=(one,)) for one in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [as_array(one) for mine in found for one in mine]


def in_graphs(draw, draws=DRAWS):
    """What one graph gave, run by all threads."""
    return in_threads(tf.function(draw, autograph=False), draws)


def in_both(draw, draws=DRAWS):
    """What eager code and a graph gave, in turn, in each thread."""
    ways = [draw, tf.function(draw, autograph=False)]

    def either():
        ways.append(ways.pop(0))  # whoever comes next takes the other
        return ways[-1]()

    return in_threads(either, draws)


def in_programs(draw, draws=DRAWS):
    """What one program of XLA gave, run by all threads."""
    return in_threads(tf.function(draw, jit_compile=True), draws)


def in_loops(draw, draws=DRAWS):
    """What a graph with a loop of ten draws gave, run by all threads."""

    @tf.function(autograph=False)
    def ten():
        def step(n, found):
            return n + 1, found.write(n, draw())

        found = tf.TensorArray(tf.int64, 10, element_shape=(2,))
        return tf.while_loop(lambda n, _: n < 10, step, (0, found))[1].stack()

    return [one for found in in_threads(ten, draws // 10) for one in found]


def in_a_dataset(draw, draws=DRAWS):
    """What a `tf.data` pipeline of parallel calls gave."""
    data = tf.data.Dataset.range(draws)
    return [as_array(x) for x in data.map(lambda _: draw(), THREADS)]


def distinct(draws):
    return len({draw.tobytes() for draw in draws})


@pytest.mark.parametrize(
    "way",
    [in_threads, in_graphs, in_both, in_a_dataset, in_loops, in_programs],
)
def test_no_key_comes_twice(way):
    generator = keras.random.SeedGenerator(3)
    # In a graph the program that is given it reads it.
    given = backend.compiled(lambda key: key)
    keys = way(lambda: given(backend.next_key(generator)))
    assert sorted(int(count) for _, count in keys) == list(range(DRAWS))
    assert as_array(generator.state).tolist() == [3, DRAWS]


@each_of(LAYERS, gate=TRAINED[:1])
@pytest.mark.parametrize("way", [in_threads, *slow(in_graphs, in_a_dataset)])
def test_no_sample_of_a_layer_comes_twice(row, way):
    layer = row.create(seed=3)
    logits = tf.constant(row.logits(batch=64))
    layer.build(logits.shape)
    samples = way(lambda: layer(logits, training=True), draws=400)
    assert distinct(samples) == len(samples) == 400
    assert as_array(layer.seed_generator.state).tolist() == [3, 400]


@pytest.mark.slow
def test_no_sample_of_a_served_model_comes_twice(tmp_path):
    model = keras.Sequential([keras.Input((16,)), kg.GumbelSoftmax(seed=3)])
    kg.export.export_with_sampling(model, tmp_path / "model")
    served = tf.saved_model.load(str(tmp_path / "model"))
    logits = tf.zeros((4, 16))
    samples = in_threads(lambda: served.sample(logits))
    assert distinct(samples) == len(samples) == DRAWS


class Noted(keras.optimizers.schedules.LearningRateSchedule):
    """One over the step, of which every one that is asked for is noted."""

    def __init__(self):
        self.steps = []

    def __call__(self, step):
        def note(step):
            self.steps.append(int(step))
            return np.float32(1 / (1 + step))

        return tf.ensure_shape(tf.numpy_function(note, [step], "float32"), ())


@each_of(LAYERS, gate=TRAINED[:1])
@pytest.mark.parametrize("way", [in_threads, *slow(in_graphs)])
def test_no_step_of_a_schedule_comes_twice(row, way):
    schedule = Noted()
    layer = row.create(temperature=schedule)
    logits = tf.constant(row.logits())
    layer.build(logits.shape)
    schedule.steps.clear()  # the first gave the initial temperature
    way(lambda: layer(logits, training=True), draws=400)
    assert sorted(schedule.steps) == list(range(400))
