"""Blocks that are run again in the backward pass: nothing shows but memory."""

import re
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, TRAINED, as_array, each_of
from tests.harness import in_mode, modes
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
# Tapes, graphs and programs are looked into.
pytestmark = pytest.mark.tensorflow

COOLING = kg.schedules.ExponentialAnnealing(2.0, 0.5, 0.1)


def unchanged(function):
    """In place of `kg.remat`."""
    return function


class Block(keras.layers.Layer):
    """Weights, a sampling layer that is called twice, and an op in a block."""

    def __init__(self, row, remat, nested=False, **settings):
        super().__init__()
        keras.utils.set_random_seed(5)
        self.dense = keras.layers.Dense(row.input_shape[-1])
        self.choice = row.create(**{"seed": 3, **settings})
        self.generator = keras.random.SeedGenerator(8)
        self.batches = keras.layers.BatchNormalization()
        self.nested = kg.remat(self.choice) if nested else self.choice
        self.block = remat(self.inner)

    def build(self, shape):
        self.dense.build(shape)
        self.choice.build(shape)
        self.batches.build(shape)

    def inner(self, x, scale, training=None):
        logits = self.batches(self.dense(x), training=training)
        once = self.nested(logits, training=training)
        # What Keras hands down to the layers within must be there again.
        again = self.nested(0.5 * logits)
        noise = kg.ops.sample_gumbel((1,), seed=self.generator)
        return {"y": scale * once + noise * again, "x": tf.tanh(logits)}

    def call(self, x, training=None):
        y = self.block(x, scale=x[0, 0, 0], training=training)
        return tf.reduce_sum(y["y"]) + tf.reduce_sum(y["x"])


def states(layer):
    """Every number in it that is not trained, and that of its streams."""
    return {v.path: as_array(v) for v in layer.variables if not v.trainable}


def trained(row, mode, remat, steps=2, **settings):
    """Losses, gradients and what was left behind by steps of training."""
    layer = Block(row, remat, **settings)
    layer.build(row.input_shape)
    x = tf.constant(row.logits())

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = layer(x, training=True) + sum(layer.losses)
        return loss, tape.gradient(loss, [x, *layer.trainable_weights])

    step = in_mode(mode, step)
    return [step(x) for _ in range(steps)], states(layer)


def agree(one, other):
    (steps, left), (others, left_too) = one, other
    for (loss, gradients), (loss_too, gradients_too) in zip(
        steps, others, strict=True
    ):
        np.testing.assert_allclose(loss, loss_too, rtol=1e-5)
        for a, b in zip(gradients, gradients_too, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(
                    as_array(a), as_array(b), rtol=1e-4, atol=1e-5
                )
    for a, b in zip(left.values(), left_too.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@each_of(LAYERS, gate=TRAINED[1:2])
@modes("eager")
def test_nothing_changes_but_memory(row, mode):
    """Gradients, losses, streams, counts, temperatures and metrics."""
    settings = {"temperature": COOLING}
    plain = trained(row, mode, unchanged, **settings)
    agree(trained(row, mode, kg.remat, **settings), plain)
    gradient = plain[0][1][1][0]
    assert np.abs(as_array(gradient)).max() > 1e-3


@pytest.mark.parametrize("number", slow(5, None))
def test_nested_and_with_any_seed(number):
    row = next(row for row in LAYERS if str(row) == "GumbelSoftmax-soft")
    settings = {"seed": number, "temperature": COOLING}
    plain = trained(row, "eager", unchanged, **settings)
    agree(trained(row, "eager", kg.remat, nested=True, **settings), plain)


@pytest.mark.parametrize("again", [keras.remat, *slow(tf.recompute_grad)])
def test_the_plain_ones_draw_anew(again):
    """Or this would be of no use."""
    layer = kg.GumbelSoftmax(seed=3)
    x = tf.Variable(tf.zeros((4, 5)))
    with tf.GradientTape() as tape:
        y = again(lambda x: layer(x, training=True))(x.value())
        loss = tf.reduce_sum(y * tf.range(5.0))
    tape.gradient(loss, x)
    assert as_array(layer.seed_generator.state).tolist() == [3, 2]


def test_a_loss_that_a_layer_adds_keeps_its_gradient():
    """To what made it within the block, and with the weight of that call."""
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")

    def gradients(remat):
        keras.utils.set_random_seed(1)
        layer = kg.GumbelQuantizer(5, 4, kl_weight=COOLING, seed=3)
        layer.build(x.shape)
        block = remat(lambda x: layer(x, training=True))
        with tf.GradientTape() as tape:
            block(tf.constant(x))
            first = layer.losses[0]
            block(tf.constant(x))  # the weight is another one now
        found = tape.gradient(first, layer.trainable_weights[:2])
        return [as_array(one) for one in found]

    for one, other in zip(
        gradients(kg.remat), gradients(unchanged), strict=True
    ):
        assert np.abs(other).max() > 1e-4
        np.testing.assert_allclose(one, other, rtol=1e-5)


TALL = 4


def tall(x):
    """Layers of which each keeps its output for its gradient."""
    for n in range(TALL):
        x = tf.tanh(x + float(n))
    return x


def test_nothing_of_the_block_is_kept_in_eager_code():
    alive = {}
    for remat in (unchanged, kg.remat):
        made = []

        def noted(x, made=made):
            y = tf.tanh(x)
            made.append(weakref.ref(y))
            return y * 2.0

        x = tf.ones((4,))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = remat(noted)(x)
        alive[remat] = made[0]() is not None
        assert tape.gradient(y, x) is not None
    assert alive == {unchanged: True, kg.remat: False}


@pytest.mark.parametrize(
    ("remat", "times"), [(unchanged, TALL), (kg.remat, 2 * TALL)]
)
def test_xla_makes_it_again(remat, times):
    """It does not see that it has done so before."""

    @tf.function(jit_compile=True)
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(remat(tall)(x) ** 2)
        return y, tape.gradient(y, x)

    x = tf.ones((4, 1000))
    text = step.experimental_get_compiler_ir(x)(stage="optimized_hlo")
    assert len(re.findall(r" tanh\(", text)) == times


def test_nothing_of_the_block_is_kept_in_a_graph():
    """What the backward pass reads of the forward pass."""
    read = {}
    for remat in (unchanged, kg.remat):
        with tf.Graph().as_default() as graph:
            x = tf.ones((4, 1000))
            y = remat(tall)(x)
            forward = set(graph.get_operations())
            (gradient,) = tf.gradients(y, x)
            backward = set(graph.get_operations()) - forward
            assert gradient is not None
        read[remat] = {
            tensor.name
            for op in backward
            for tensor in op.inputs
            if tensor.op in forward and tensor.op.type == "Tanh"
        }
    assert len(read[unchanged]) == TALL
    assert len(read[kg.remat]) == 0


class Implied(keras.layers.Layer):
    """A choice in a block, which is not told that it trains: Keras does."""

    def __init__(self, row, remat):
        super().__init__()
        ones = keras.initializers.Ones()
        self.dense = keras.layers.Dense(5, kernel_initializer=ones)
        self.choice = row.create(seed=3, temperature=COOLING)
        self.block = remat(lambda x: self.choice(self.dense(x)))

    def build(self, shape):
        self.dense.build(shape)
        self.choice.build(shape)

    def call(self, x):
        return self.block(x)


@pytest.mark.slow
def test_fit_trains_alike_with_xla():
    row = next(row for row in LAYERS if str(row) == "GumbelSoftmax-hard")
    x = row.logits(batch=8)
    losses = []
    for remat in (unchanged, kg.remat):
        layer = Implied(row, remat)
        model = keras.Sequential([keras.Input(x.shape[1:]), layer])
        model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=True)
        history = model.fit(
            x, x, batch_size=4, epochs=2, shuffle=False, verbose=0
        )
        losses.append(history.history["loss"])
        assert as_array(layer.choice.seed_generator.state).tolist() == [3, 4]
        assert as_array(layer.choice._iterations) == 4
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_half_precision_and_masks_are_there_again():
    keras.config.set_dtype_policy("mixed_float16")
    words = keras.layers.Embedding(7, 4, mask_zero=True)
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    seen = []

    class Inner(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_masking = True
            self.kernel = self.add_weight(shape=(4, 4), name="kernel")
            self.block = kg.remat(self.inner)

        def inner(self, x):
            kernel = keras.ops.convert_to_tensor(self.kernel)
            seen.append((kernel.dtype, getattr(x, "_keras_mask", None)))
            return keras.ops.matmul(x, kernel)

        def call(self, x):
            return self.block(x)

    layer = Inner()
    with tf.GradientTape() as tape:
        y = layer(words(tokens))
        loss = tf.reduce_sum(y)
    tape.gradient(loss, layer.trainable_weights)
    (dtype, mask), (dtype_again, mask_again) = seen
    assert dtype == dtype_again == tf.float16
    np.testing.assert_array_equal(mask, tokens != 0)
    np.testing.assert_array_equal(mask_again, mask)


def test_any_structure_goes_in_and_comes_out():
    weight = keras.Variable([1.0, 2.0])

    def function(pair, *, flag, options):
        a, b = pair
        y = a * b * weight * options["c"]
        return {"y": y, "index": tf.argmax(y), "flag": flag, "none": None}

    a, c = tf.constant([1.0, 3.0]), tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch((a, c))
        found = kg.remat(function)(
            (a, np.float32(5)), flag=True, options={"c": c}
        )
        loss = tf.reduce_sum(found["y"])
    assert found["flag"] is True
    assert found["none"] is None
    assert as_array(found["index"]) == 1
    gradients = tape.gradient(loss, [a, c, weight.value])
    for gradient, value in zip(
        gradients, ([10.0, 20.0], 35.0, [10.0, 30.0]), strict=True
    ):
        np.testing.assert_array_equal(as_array(gradient), value)


def test_what_cannot_be_run_again_is_an_error():
    layer = kg.GumbelSoftmax()
    with pytest.raises(TypeError, match="`function` must be a function"):
        kg.remat(3)
    with pytest.raises(TypeError, match="in the `call` of a layer"):
        kg.remat(layer)(keras.Input((3,)))

    @tf.function(autograph=False)
    def loop(x):
        def draws(x):
            step = lambda x: layer(x, training=True)  # noqa: E731
            return tf.while_loop(lambda x: True, step, [x], None, 10, 1, 3)

        return kg.remat(draws)(x)

    with pytest.raises(ValueError, match="in a loop"):
        loop(tf.zeros((2, 3)))
    calls = []

    def more(x):
        calls.append(1)
        return sum(layer(x, training=True) for _ in calls)

    x = tf.zeros((2, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = kg.remat(more)(x)
    with pytest.raises(ValueError, match="Received: more draws"):
        tape.gradient(y, x)
