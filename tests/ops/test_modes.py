"""One result in eager code, in a graph, and compiled by XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from keras_gumbel.numerics import noise
from keras_gumbel.ops import _program
from tests.variants import slow, slow_rows

# Loops, branches and `map_fn`, and a switch of TensorFlow's own.
pytestmark = pytest.mark.tensorflow
MODES = {
    "graph": tf.function(autograph=False),
    "xla": tf.function(jit_compile=True, autograph=False),
}
MODE = pytest.mark.parametrize("mode", ["xla", *slow("graph")])
KINDS = {
    "soft": (kg.ops.gumbel_softmax, False),
    "hard": (kg.ops.gumbel_softmax, True),
    "soft index": (kg.ops.sample_argmax_index, False),
    "hard index": (kg.ops.sample_argmax_index, True),
}


def kinds(*gate):
    """These in the gate, and the others slow."""
    rest = [kind for kind in KINDS if kind not in gate]
    return pytest.mark.parametrize("kind", [*gate, *slow(*rest)])


def normal(shape, seed):
    return tf.constant(
        np.random.default_rng(seed).normal(size=shape), "float32"
    )


def same(kind, actual, expected):
    """Bit for bit where the result is discrete."""
    tolerance = 0 if kind.startswith("hard") else 1e-6
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mode", "mask"), [("xla", True), ("graph", False)])
def test_modes_agree(mode, kind, mask, seed):
    """In the value, and in the gradient to logits and temperature."""
    op, hard = KINDS[kind]
    logits, temperature = normal((50, 7), seed), tf.constant(0.7)
    allowed = tf.constant([True] * 6 + [False]) if mask else None

    def run(logits, temperature):
        with tf.GradientTape() as tape:
            tape.watch([logits, temperature])
            y = op(
                logits, temperature, hard=hard, class_mask=allowed, seed=seed
            )
            loss = tf.reduce_sum(tf.sin(3 * y))
        return y, *tape.gradient(loss, [logits, temperature])

    y, d_logits, d_temperature = run(logits, temperature)
    again = MODES[mode](run)(logits, temperature)
    same(kind, again[0], y)
    np.testing.assert_allclose(again[1], d_logits, atol=2e-6)
    np.testing.assert_allclose(again[2], d_temperature, rtol=1e-4, atol=1e-5)


@MODE
@pytest.mark.parametrize("kind", ["hard index", *slow("soft")])
def test_streams_agree(mode, kind, seed):
    """Draw after draw from a generator of one seed."""
    op, hard = KINDS[kind]
    logits = normal((50, 7), seed)
    ours, theirs = (keras.random.SeedGenerator(seed) for _ in range(2))

    @MODES[mode]
    def run():
        first = op(logits, hard=hard, seed=ours)
        return first, op(logits, hard=hard, seed=ours)

    draws = [*run(), *run()]
    expected = [op(logits, hard=hard, seed=theirs) for _ in range(4)]
    for draw, other in zip(draws, expected, strict=True):
        same(kind, draw, other)
    assert not np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[1], draws[2])


@kinds("hard index")
def test_inside_a_compiled_program_of_others(kind, seed):
    """Where XLA sees what comes before and after, and may fuse it."""
    op, hard = KINDS[kind]
    features, kernel = normal((50, 4), seed), normal((4, 7), seed + 1)

    def loss(kernel):
        y = op(tf.matmul(features, kernel), 0.7, hard=hard, seed=seed)
        return tf.reduce_mean(tf.square(y - 0.3))

    @tf.function(jit_compile=True, autograph=False)
    def step(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = loss(kernel)
        return value, kernel - tape.gradient(value, kernel)

    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = loss(kernel)
    compiled_value, compiled_kernel = step(kernel)
    np.testing.assert_allclose(compiled_value, value, rtol=1e-5)
    expected = kernel - tape.gradient(value, kernel)
    np.testing.assert_allclose(compiled_kernel, expected, rtol=1e-4, atol=1e-5)


@MODE
def test_inside_a_while_loop(mode, seed):
    """Each turn draws the next noise of the stream."""
    logits = normal((20, 5), seed)
    generator = keras.random.SeedGenerator(seed)

    @MODES[mode]
    def run():
        def turn(i, drawn):
            y = kg.ops.gumbel_softmax(logits, hard=True, seed=generator)
            return i + 1, tf.tensor_scatter_nd_update(drawn, [[i]], y[None])

        start = (tf.constant(0), tf.zeros((4, 20, 5)))
        return tf.while_loop(lambda i, _: i < 4, turn, start)[1]

    drawn = run()
    other = keras.random.SeedGenerator(seed)
    for y in drawn:
        expected = kg.ops.gumbel_softmax(logits, hard=True, seed=other)
        assert np.array_equal(y, expected)
    assert not np.array_equal(drawn[0], drawn[1])


@MODE
@pytest.mark.parametrize("kind", ["hard", *slow("soft")])
def test_gradient_through_a_loop(mode, kind, seed):
    """A state sampled again and again, as a world model does."""
    _, hard = KINDS[kind]
    start = normal((6, 5), seed)

    def rollout(logits):
        def turn(i, state):
            y = kg.ops.gumbel_softmax(state, hard=hard, seed=seed)
            return i + 1, 0.5 * state + y

        return tf.while_loop(
            lambda i, _: i < 3, turn, (0, logits), maximum_iterations=3
        )[1]

    def run(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            end = rollout(logits)
            loss = tf.reduce_sum(end[:, 0] ** 2)
        return end, tape.gradient(loss, logits)

    end, gradient = run(start)
    other_end, other_gradient = MODES[mode](run)(start)
    np.testing.assert_allclose(other_end, end, atol=1e-5)
    np.testing.assert_allclose(other_gradient, gradient, atol=1e-5)
    assert np.any(np.abs(gradient) > 1e-3)


@pytest.mark.parametrize("mode", ["xla", *slow("eager", "graph")])
def test_inside_map_fn(mode, seed):
    logits = normal((3, 20, 5), seed)
    generator = keras.random.SeedGenerator(seed)

    def run():
        return tf.map_fn(
            lambda x: kg.ops.gumbel_softmax(x, hard=True, seed=generator),
            logits,
            parallel_iterations=1,
        )

    drawn = MODES.get(mode, lambda f: f)(run)()
    other = keras.random.SeedGenerator(seed)
    for x, y in zip(logits, drawn, strict=True):
        expected = kg.ops.gumbel_softmax(x, hard=True, seed=other)
        assert np.array_equal(y, expected)


@MODE
def test_both_branches_of_a_condition(mode, seed):
    logits = normal((20, 5), seed)

    @MODES[mode]
    def run(hard):
        return tf.cond(
            hard,
            lambda: kg.ops.gumbel_softmax(logits, hard=True, seed=seed),
            lambda: kg.ops.gumbel_softmax(logits, hard=False, seed=seed),
        )

    for hard in (False, True):
        expected = kg.ops.gumbel_softmax(logits, hard=hard, seed=seed)
        np.testing.assert_allclose(run(tf.constant(hard)), expected, atol=1e-6)


@MODE
def test_a_new_temperature_is_not_a_new_trace(mode, seed):
    """Of the caller's function; each temperature has its own result."""
    logits, traces = normal((20, 5), seed), []

    @MODES[mode]
    def run(temperature):
        traces.append(temperature)
        return kg.ops.gumbel_softmax(logits, temperature, seed=seed)

    for temperature in (0.5, 1.0, 2.0):
        expected = kg.ops.gumbel_softmax(logits, temperature, seed=seed)
        y = run(tf.constant(temperature))
        np.testing.assert_allclose(y, expected, atol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("kind", "hard"),
    [
        (keras.Variable, True),
        *slow_rows(
            *((float, False), (float, True), (keras.Variable, False)),
            *((tf.constant, False), (tf.constant, True)),
        ),
    ],
)
def test_eager_calls_reuse_one_program(kind, hard, seed, monkeypatch):
    """New numbers, and from the second batch size on new sizes, trace no more.

    Counted by the formula for the noise, which is Python that runs in traces.
    """
    traces, gumbel = [], noise.gumbel

    def counting(*args):
        traces.append(args)
        return gumbel(*args)

    def call(size, temperature, noise_scale):
        kg.ops.gumbel_softmax(
            normal((size, 11), seed),
            kind(temperature),
            hard=hard,
            noise_scale=noise_scale,
        )

    _program._rule.cache_clear()
    monkeypatch.setattr(noise, "gumbel", counting)
    for size in (20, 21):
        call(size, 1.0, 1.0)
    assert 1 <= len(traces) <= 2
    traces.clear()
    for size in (20, 21, 22):
        for temperature in (0.5, 2.0):
            for noise_scale in (0.0, 0.5):
                call(size, temperature, noise_scale)
    assert not traces


@MODE
def test_no_seed_is_fresh_noise_at_every_call(mode):
    """Not the constant that a graph would keep."""
    run = MODES[mode](lambda: kg.ops.gumbel_softmax(tf.zeros((20, 5))))
    assert not np.any(run().numpy() == run().numpy())


@MODE
def test_sizes_are_not_lost(mode, seed):
    """Layers that follow are built by the static shape."""
    shapes = []

    @MODES[mode]
    def run(logits):
        y = kg.ops.gumbel_softmax(logits, seed=seed)
        index = kg.ops.sample_argmax_index(logits, axis=1, seed=seed)
        shapes.append((y.shape.as_list(), index.shape.as_list()))
        return y

    # Other sizes have been, and have made the programs inside flexible.
    for size in (2, 3):
        kg.ops.gumbel_softmax(tf.zeros((size, 3, size)))
        kg.ops.sample_argmax_index(tf.zeros((size, 3, size)), axis=1)
    run(tf.zeros((2, 3, 5)))
    assert shapes == [([2, 3, 5], [2, 5])]


def test_with_functions_run_eagerly(seed):
    """TensorFlow's switch for debugging changes neither bits nor gradient."""
    logits = tf.constant(np.random.default_rng(seed).normal(size=(6, 5)))

    def value_and_gradient():
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = kg.ops.gumbel_softmax(logits, hard=True, seed=seed)
            loss = tf.reduce_sum(y * tf.range(5, dtype="float64"))
        return (
            y,
            tape.gradient(loss, logits),
            kg.ops.sample_gumbel((4,), seed=1),
        )

    wanted = value_and_gradient()
    tf.config.run_functions_eagerly(True)
    try:
        got = value_and_gradient()
        assert tf.config.functions_run_eagerly()
    finally:
        tf.config.run_functions_eagerly(False)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
