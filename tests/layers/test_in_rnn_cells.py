"""Every layer inside the cell of a recurrent layer, and under TimeDistributed.

A loop that is not unrolled is a graph of its own, out of which no loss gets.
"""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests.conformance.registry import LAYERS, STAYING, as_array, each_of
from tests.frameworks import tf
from tests.harness import in_mode
from tests.variants import slow, slow_rows

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

STEPS, SIZE = 3, 5
X = np.random.default_rng(0).normal(size=(4, STEPS, SIZE)).astype("float32")
SCHEDULE = kg.schedules.ExponentialAnnealing(1.0, 0.1, 0.5)
ROWS = [row for row in LAYERS if not row.matrix]
# With a loss, with metrics, and with neither.
GATE = ("HardConcreteGate-soft", "GumbelQuantizer-hard", "GumbelSoftmax-hard")


class Cell(keras.layers.Layer):
    """Samples from what a dense layer makes of the input and the state."""

    def __init__(self, choice):
        super().__init__()
        self.choice = choice
        self.dense = keras.layers.Dense(SIZE)
        self.state_size = self.output_size = SIZE

    def build(self, shape):
        self.dense.build((shape[0], SIZE))
        if not self.choice.built:
            self.choice.build((shape[0], SIZE))
        self.built = True

    def call(self, x, states, training=None):
        scores = self.dense(x + states[0])
        y = self.choice(scores, training=training)
        if len(y.shape) == 1:  # an index
            y = y[:, None] * keras.ops.ones((1, SIZE))
        if len(y.shape) == 3:  # an order, of which this is the first
            y = y[:, 0]
        return y, [y + scores]


BACKEND = keras.config.backend()
ROLLED = pytest.mark.skipif(
    BACKEND == "jax", reason="Keras takes no stream along"
)
TRACED = pytest.mark.skipif(
    BACKEND == "torch", reason="Keras loops in Python there"
)


def recurrent(layer, unroll, **settings):
    inputs = keras.Input((STEPS, SIZE))
    rnn = keras.layers.RNN(Cell(layer), return_sequences=True, unroll=unroll)
    model = keras.Model(inputs, rnn(inputs))
    model.compile("sgd", "mse", **{"jit_compile": False, **settings})
    return model


@each_of(ROWS, gate=GATE[::2])
@pytest.mark.parametrize(
    "unroll", [pytest.param(False, marks=ROLLED), *slow(True)]
)
def test_every_layer_trains_in_a_cell(row, unroll):
    layer = row.create(seed=3)
    model = recurrent(layer, unroll)
    loss = model.fit(X, X, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    y = as_array(model(X, training=True))
    steps = {y[:, n].tobytes() for n in range(STEPS)}
    assert len(steps) == STEPS  # each step has noise of its own


@pytest.mark.slow
@ROLLED
@pytest.mark.parametrize(
    "jit_compile",
    [
        False,
        pytest.param(True, marks=[pytest.mark.slow, pytest.mark.tensorflow]),
    ],
)
def test_metrics_count_in_a_loop(jit_compile):
    layer = kg.GumbelQuantizer(SIZE, SIZE, seed=3, **STAYING)
    model = recurrent(layer, False, jit_compile=jit_compile)
    model.fit(X, X, verbose=0)
    # Keras calls a cell once more, to learn its outputs' shapes.
    counted = as_array(layer.perplexity.variables[0]).sum()
    assert counted == len(X) * (STEPS + 1)


PENALISED = {
    "gate": lambda weight: kg.HardConcreteGate(l0_weight=weight),
    "codes": lambda weight: kg.GumbelQuantizer(
        SIZE, SIZE, kl_weight=weight, **STAYING
    ),
}


def penalty_of(layer):
    """The name of the weight that it was made with."""
    return next(x for x in layer._live_names if x.endswith("_weight"))


# What it does is up to the layer that all have in common.
one_penalty = pytest.mark.parametrize(
    "make", [PENALISED["gate"], *slow(PENALISED["codes"])]
)


@TRACED
@pytest.mark.parametrize(
    ("make", "weight"),
    [
        (PENALISED["gate"], 0.25),
        (PENALISED["codes"], SCHEDULE),
        *slow_rows((PENALISED["gate"], SCHEDULE), (PENALISED["codes"], 0.25)),
    ],
)
def test_a_loss_in_a_loop_is_an_error_that_says_what_to_do(make, weight):
    layer = make(weight)
    with pytest.raises(ValueError, match=r"_weight` must be 0.*unroll=True"):
        recurrent(layer, False).fit(X, X, verbose=0)


@one_penalty
def test_unrolled_it_counts_once_a_step(make):
    layer = make(0.25)
    model = recurrent(layer, True)
    model(X, training=True)
    assert len(model.losses) == STEPS
    model.fit(X, X, verbose=0)


@pytest.mark.skipif(BACKEND != "torch", reason="a loop is traced")
@one_penalty
def test_in_a_loop_of_python_each_call_counts(make):
    """Keras calls a cell once more, to learn its outputs' shapes."""
    model = recurrent(make(0.25), False)
    model(X, training=True)
    assert len(model.losses) == STEPS + 1
    model.fit(X, X, verbose=0)


@TRACED
@one_penalty
def test_a_weight_that_was_assigned_before_is_known(make):
    layer = make(0.0)
    layer.build((None, SIZE))
    name = penalty_of(layer)
    setattr(layer, name, 0.25)
    with pytest.raises(ValueError, match=f"{name}=0.25"):
        recurrent(layer, False).fit(X, X, verbose=0)


@pytest.mark.tensorflow
@one_penalty
def test_a_weight_that_is_assigned_too_late_shows(make):
    """The program has no such loss; its output is NaN."""
    layer = make(0.0)
    model = recurrent(layer, False)

    call = in_mode("graph", lambda x: model(x, training=True))
    assert np.isfinite(as_array(call(X))).all()
    getattr(layer, penalty_of(layer)).assign(0.25)
    assert np.isnan(as_array(call(X))).all()


@TRACED
@one_penalty
def test_a_loop_over_training_steps_keeps_the_loss(make):
    """`steps_per_execution` is a loop too, but around the whole step."""
    losses = {}
    for steps in (1, 2):
        keras.utils.set_random_seed(1)
        layer = make(0.0)
        inputs = keras.Input((STEPS, SIZE))
        model = keras.Model(inputs, layer(inputs))
        model.compile(
            "sgd", "mse", steps_per_execution=steps, jit_compile=False
        )
        settings = {"batch_size": 2, "shuffle": False, "verbose": 0}
        model.fit(X, X, **settings)
        # Assigned after tracing, it counts.
        setattr(layer, penalty_of(layer), 100.0)
        losses[steps] = model.fit(X, X, **settings).history["loss"][0]
    assert losses[1] == pytest.approx(losses[2], rel=1e-5)
    assert losses[1] > 10


@pytest.mark.tensorflow
@one_penalty
def test_in_a_loop_of_ones_own_the_loss_is_there(make):
    layer = make(0.5)
    layer.build((None, SIZE))
    dense = tf.constant(X)

    def step(n, found):
        layer(dense[:, n], training=True)
        return n + 1, found + tf.add_n(layer.losses)

    @tf.function
    def total():
        return tf.while_loop(lambda n, _: n < STEPS, step, (0, 0.0))[1]

    assert as_array(total()) > 0


@each_of(ROWS, gate=GATE)
def test_every_layer_under_time_distributed(row):
    layer = row.create(seed=3)
    inputs = keras.Input((STEPS, SIZE))
    model = keras.Model(inputs, keras.layers.TimeDistributed(layer)(inputs))
    y = as_array(model(X, training=True))
    assert len({y[:, n].tobytes() for n in range(STEPS)}) == STEPS
    # A call for each step, and each adds its loss.
    assert len(model.losses) == STEPS * row.losses


@pytest.mark.tensorflow
@one_penalty
def test_time_distributed_over_an_unknown_number_of_steps_is_a_loop(make):
    inputs = keras.Input((None, SIZE))
    layer = keras.layers.TimeDistributed(make(0.25))
    model = keras.Model(inputs, layer(inputs))
    spec = tf.TensorSpec((4, None, SIZE), "float32")
    call = tf.function(
        lambda x: model(x, training=True), input_signature=[spec]
    )
    with pytest.raises(ValueError, match="_weight` must be 0"):
        call(X)
