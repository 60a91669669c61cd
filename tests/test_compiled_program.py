"""What XLA makes of a training step: each reading, drawing and writing once.

A change of ours, or of XLA's, that has the noise drawn twice leaves every
number as it was, and the step as slow as two.
"""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from keras_gumbel.backend.tensorflow import programs
from keras_gumbel.ops import _program
from tests.variants import slow, slow_rows

pytestmark = [pytest.mark.uncached, pytest.mark.tensorflow]
# Threefry-2x32 of 20 rounds: one in each, and two to derive its third key.
XORS_OF_A_DRAW = 22
SHAPES = [(64, 10), (32, 100), (1024, 512), (16, 8192), (7, 509), (4, 3, 64)]


def step(hard, seed):
    """The gradient of a weighted sum of a sample."""

    @tf.function(jit_compile=True, autograph=False)
    def run(logits, weights):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = kg.ops.gumbel_softmax(logits, 0.5, hard=hard, seed=seed)
            loss = tf.reduce_sum(y * weights)
        return loss, tape.gradient(loss, logits)

    return run


def forward(hard, seed):
    """A sample that nobody differentiates."""

    @tf.function(jit_compile=True, autograph=False)
    def run(logits, weights):
        y = kg.ops.gumbel_softmax(logits, 0.5, hard=hard, seed=seed)
        return y + weights

    return run


def program(function, shape, dtype="float32"):
    """The optimized program's computations, by name, as text."""
    x = tf.constant(np.ones(shape), dtype)
    text = function.experimental_get_compiler_ir(x, x)(stage="optimized_hlo")
    blocks = re.split(r"\n\n", text)
    return {block.split(" ")[0].strip("%\n"): block for block in blocks}


def calls(computations, opcode):
    return sum(
        len(re.findall(rf"= [^=]* {opcode}\(", block))
        for block in computations.values()
    )


EVERY = [
    (make, hard, shape, seed)
    for make in (step, forward)
    for hard in (True, False)
    for shape in SHAPES
    for seed in ("generator", "integer")
]
# A whole row in one loop, and by runs of it, narrow and wide.
GATE = [
    (step, True, (32, 100), "generator"),
    (step, False, (1024, 512), "generator"),
    (forward, True, (16, 8192), "generator"),
    (forward, False, (4, 3, 64), "integer"),
]


@pytest.mark.parametrize(
    ("make", "hard", "shape", "seed_kind"),
    [*GATE, *slow_rows(*(row for row in EVERY if row not in GATE))],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_the_noise_is_drawn_once_and_in_one_loop(make, hard, shape, seed_kind):
    seed = 3 if seed_kind == "integer" else keras.random.SeedGenerator(3)
    computations = program(make(hard, seed), shape)
    drawing = [b for b in computations.values() if " xor(" in b]
    assert len(drawing) == 1
    (loop,) = drawing
    assert loop.count(" xor(") == XORS_OF_A_DRAW
    # From the bits to the logits plus noise, without a stop in memory: the
    # two logarithms' exponents are there, and a result of the logits' size.
    assert loop.count(" shift-right-arithmetic(") == 1
    result = re.search(r"-> f32\[([\d,]+)\]", loop.splitlines()[0])
    sizes = [int(size) for size in result.group(1).split(",")]
    assert np.prod(sizes) == np.prod(shape)


@pytest.mark.parametrize(
    "shape", [SHAPES[2], *slow(*SHAPES[:2], *SHAPES[3:])], ids=str
)
@pytest.mark.parametrize("hard", [True, *slow(False)])
def test_no_loop_and_no_foreign_code(hard, shape):
    computations = program(step(hard, 3), shape)
    assert calls(computations, "fusion") > 0
    assert calls(computations, "while") == 0
    assert calls(computations, "custom-call") == 0
    assert calls(computations, "sort") == 0


def test_double_precision_is_drawn_once_too():
    computations = program(step(True, 3), (32, 512), "float64")
    xors = sum(block.count(" xor(") for block in computations.values())
    assert xors == XORS_OF_A_DRAW


def test_code_that_draws_twice_would_show():
    @tf.function(jit_compile=True, autograph=False)
    def twice(logits, weights):
        # One key, and one fusion for each reader.
        noise = tf.random.stateless_uniform(
            logits.shape, weights[0, :2], None, None, tf.uint64, "threefry"
        )
        noise = tf.cast(noise, "float32")
        return tf.sort(noise), tf.reverse(noise, [0]) + tf.cumsum(noise, 1)

    key = tf.ones((8, 64), "int32")
    text = twice.experimental_get_compiler_ir(key, key)(stage="optimized_hlo")
    assert text.count(" xor(") > XORS_OF_A_DRAW


def logits_shaped_results(op, logits):
    """What the forward pass of `op` gives, and so keeps, of that size."""
    # A program traced before for unknown sizes would say nothing of them.
    _program._rule.cache_clear()

    @tf.function(autograph=False)
    def run(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = op(logits)
        return tape.gradient(y, logits)

    graph = run.get_concrete_function(logits).graph
    forward, backward = (
        op for op in graph.get_operations() if "Partitioned" in op.type
    )
    assert logits.shape in [out.shape for out in backward.outputs]
    return [out for out in forward.outputs if out.shape == logits.shape]


@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
def test_the_sample_and_one_more_tensor_are_kept(hard):
    def sample(logits):
        return kg.ops.gumbel_softmax(logits, 0.5, hard=hard, seed=3)

    assert len(logits_shaped_results(sample, tf.ones((64, 300)))) == 2


@pytest.mark.parametrize(
    "name", ["reinmax", "gumbel_rao", *slow("st", "gapped_st")]
)
def test_of_other_estimators_the_sample_alone_is_kept(name):
    def sample(logits):
        return kg.ops.gumbel_softmax(
            logits, 0.5, hard=True, estimator=name, seed=3
        )

    assert len(logits_shaped_results(sample, tf.ones((64, 300)))) == 1


@pytest.mark.parametrize(
    "shape", [(32, 512), *slow((256, 10), (64, 64))], ids=str
)
def test_a_class_is_drawn_by_one_number_a_row_and_once(shape):
    """What reads the choice does not go through the float64 sums again."""

    @tf.function(jit_compile=True, autograph=False)
    def run(logits, weights):
        y = kg.ops.gumbel_softmax(
            logits, hard=True, estimator="reinmax", seed=3
        )
        return y + weights

    computations = program(run, shape)
    text = "\n".join(computations.values())
    assert text.count(" xor(") == XORS_OF_A_DRAW
    assert f"u64[{shape[0]},{shape[1]}]" not in text
    whole = f"-> f32[{shape[0]},{shape[1]}]"
    readers = [
        block
        for block in computations.values()
        if whole in block.split("\n")[0]
    ]
    assert readers
    # The entry calls the rest; a fusion would hold the sums.
    assert not any("f64[" in x for x in readers if not x.startswith("ENTRY"))


def test_the_noise_of_gumbel_rao_is_fused():
    """Bits are not written to memory, in the forward pass or in the loop."""

    @tf.function(jit_compile=True, autograph=False)
    def run(logits, weights):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = kg.ops.gumbel_softmax(
                logits, 0.5, hard=True, estimator="gumbel_rao", seed=3
            )
        return tape.gradient(y, logits, output_gradients=weights)

    text = "\n".join(program(run, (64, 512)).values())
    # The numbers of the forward pass, of the loop, and of its rows.
    assert text.count(" xor(") == 3 * XORS_OF_A_DRAW
    assert not re.search(r"= u64\[(1,)?32768\]\S* (fusion|call)\(", text)


def test_an_embedding_keeps_nothing_of_the_size_of_the_logits():
    def sample(logits):
        return kg.ops.sample_embedding(logits, tf.ones((300, 2)), seed=3)

    assert logits_shaped_results(sample, tf.ones((64, 300))) == []


def test_a_graph_starts_no_program_to_read_the_stream():
    """Each costs what several operations do, and small steps show it."""
    generator = keras.random.SeedGenerator(3)

    @tf.function(autograph=False)
    def run(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = kg.ops.gumbel_softmax(logits, hard=True, seed=generator)
        return tape.gradient(y, logits)

    graph = run.get_concrete_function(tf.ones((8, 10))).graph
    programs = [x for x in graph.get_operations() if "Partitioned" in x.type]
    assert len(programs) == 2  # Forward and backward.


def test_a_tape_does_not_record_the_forward_pass_itself(monkeypatch):
    """It would have the program give back all that its parts need."""
    found = []

    def trace(*args, find=programs._trace):
        found.append(find(*args))
        return found[-1]

    monkeypatch.setattr(programs, "_trace", trace)
    logits = tf.ones((8, 10))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        y = kg.ops.gumbel_softmax(logits, 0.5, hard=True, seed=3)
    tape.gradient(y, logits)
    # Forward and backward, each by a trace that no tape asked for.
    assert len(found) == 2
    assert None not in found


def subset(hard):
    """The gradient of a weighted sum of a k-hot."""

    @tf.function(jit_compile=True, autograph=False)
    def run(logits, weights):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y, indices = kg.ops.gumbel_top_k(logits, 4, 0.7, hard=hard, seed=3)
            loss = tf.reduce_sum(y * weights)
        return loss, indices, tape.gradient(loss, logits)

    return run


@pytest.mark.parametrize("hard", [True, *slow(False)])
def test_a_subset_is_drawn_once_and_nothing_is_sorted(hard):
    """Hard samples sorted whole rows when their k-th entry was a slice."""
    computations = program(subset(hard), (64, 128))
    xors = [block.count(" xor(") for block in computations.values()]
    # The top k compares by a few of them.
    assert [count for count in xors if count > 4] == [XORS_OF_A_DRAW]
    assert calls(computations, "sort") == 0


@pytest.mark.slow
def test_the_forward_pass_of_a_subset_alone_sorts_nothing():
    @tf.function(jit_compile=True, autograph=False)
    def run(logits, weights):
        y, _ = kg.ops.gumbel_top_k(logits, 4, hard=True, seed=3)
        return y + weights

    assert calls(program(run, (64, 128)), "sort") == 0
