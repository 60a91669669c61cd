"""Forward mode agrees with reverse mode, or says that it cannot.

Reverse mode has the surrogate that an estimator stands for, so that it is the
reference, and not finite differences.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests.directional import PLACES, by_forward_mode, by_reverse_mode
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True
# No other backend has accumulators.
pytestmark = pytest.mark.tensorflow

ESTIMATORS = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")
_RNG = np.random.default_rng(0)


def _normal(*shape):
    return tf.constant(_RNG.normal(size=shape), "float32")


# Eager code pads these sizes. A temperature for each example moves too.
PRIMALS = _normal(9, 11), tf.exp(_normal(9, 1) / 4)
TANGENTS = _normal(9, 11), _normal(9, 1)
MASK = tf.constant([[True, False, *[True] * 9]])
SQUARE, D_SQUARE = _normal(3, 4, 4), _normal(3, 4, 4)
TABLE, D_TABLE = _normal(11, 3), _normal(11, 3)


def _hard(op, estimator, *args):
    return op(*args, hard=True, estimator=estimator, seed=1)


OPS = {
    "softmax": functools.partial(
        kg.ops.gumbel_softmax, class_mask=MASK, seed=1
    ),
    "index": functools.partial(kg.ops.sample_argmax_index, seed=1),
    "sigmoid": functools.partial(kg.ops.gumbel_sigmoid, seed=1),
    "hard_concrete": functools.partial(kg.ops.hard_concrete, seed=1),
    **{
        f"{name}-{estimator}": functools.partial(_hard, op, estimator)
        for estimator in ESTIMATORS
        for name, op in (
            ("softmax", kg.ops.gumbel_softmax),
            ("index", kg.ops.sample_argmax_index),
            ("sigmoid", kg.ops.gumbel_sigmoid),
        )
    },
}


def each_place(*gate):
    """A test at every place, of which the others are slow."""
    return pytest.mark.parametrize(
        "place",
        [
            pytest.param(
                place, marks=[] if place in gate else [pytest.mark.slow]
            )
            for place in PLACES
        ],
    )


GATE = {
    ("softmax-st_gumbel", "within a graph"),
    ("sigmoid-gapped_st", "eager"),
}
BACKWARD_ONLY = {
    "gumbel_top_k": (
        lambda x: kg.ops.gumbel_top_k(x, 2, seed=1)[0],
        PRIMALS[:1],
        TANGENTS[:1],
    ),
    "conditional_poisson_subset": (
        lambda x: kg.ops.conditional_poisson_subset(x, 2, seed=1),
        PRIMALS[:1],
        TANGENTS[:1],
    ),
    "gumbel_sort": (
        lambda x: kg.ops.gumbel_sort(x, seed=1)[0],
        PRIMALS[:1],
        TANGENTS[:1],
    ),
    "gumbel_sinkhorn": (
        lambda x: kg.ops.gumbel_sinkhorn(x, num_iterations=2, seed=1),
        (SQUARE,),
        (D_SQUARE,),
    ),
    "sample_embedding": (
        lambda table: kg.ops.sample_embedding(PRIMALS[0], table, seed=1),
        (TABLE,),
        (D_TABLE,),
    ),
}


@pytest.mark.slow_ids("softmax-st_gumbel-within a graph")
@pytest.mark.parametrize(
    ("name", "place"),
    [
        pytest.param(
            name,
            place,
            marks=[] if (name, place) in GATE else pytest.mark.slow,
        )
        for name in OPS
        for place in PLACES
    ],
)
def test_both_modes_agree(name, place):
    expected = by_reverse_mode(OPS[name], PRIMALS, TANGENTS)
    found = PLACES[place](OPS[name])(PRIMALS, TANGENTS)
    assert abs(expected) > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@each_place("xla")
def test_straight_through_moves_as_its_surrogate(place):
    def function(x):
        # Operations within and before the rule have other derivatives.
        return kg.ops.straight_through(3 * x, x)

    primals, tangents = PRIMALS[:1], TANGENTS[:1]
    expected = by_reverse_mode(function, primals, tangents)
    found = PLACES[place](function)(primals, tangents)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@each_place("eager")
def test_losses_and_noise(place):
    def function(x):
        noise = kg.ops.sample_gumbel((9, 11), seed=1)
        kl = kg.losses.categorical_kl(x, noise * x)
        return kg.ops.sample_logistic((9,), seed=1) * kl

    primals, tangents = PRIMALS[:1], TANGENTS[:1]
    expected = by_reverse_mode(function, primals, tangents)
    found = PLACES[place](function)(primals, tangents)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_score_function():
    samples = kg.ops.gumbel_softmax(
        tf.repeat(PRIMALS[0][None], 3, axis=0), hard=True, seed=1
    )

    def function(x):
        return kg.estimators.score_function_loss(
            tf.reduce_sum(samples**2 * x, axis=-1), x, samples
        )

    primals, tangents = PRIMALS[:1], TANGENTS[:1]
    expected = by_reverse_mode(function, primals, tangents)
    found = by_forward_mode(function, primals, tangents)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


each_backward_only = pytest.mark.parametrize(
    "name",
    [
        "gumbel_top_k",
        *slow(
            "conditional_poisson_subset",
            "gumbel_sort",
            "gumbel_sinkhorn",
            "sample_embedding",
        ),
    ],
)


@pytest.mark.slow
@each_backward_only
@each_place("eager")
def test_an_error_where_there_is_none(name, place):
    run = PLACES[place](BACKWARD_ONLY[name][0])
    with pytest.raises(LookupError, match=rf"{name} .*ForwardAccumulator"):
        run(*BACKWARD_ONLY[name][1:])


def _gradient(function):
    def gradient(*primals):
        with tf.GradientTape() as tape:
            tape.watch(primals)
            value = tf.reduce_sum(tf.sin(3 * function(*primals)))
        return tape.gradient(value, primals)[0]

    return gradient


@pytest.mark.slow
@pytest.mark.parametrize("name", OPS)
def test_second_derivatives(name):
    """Forward over reverse, and reverse over forward, as reverse over reverse.

    By the symmetry of second derivatives, where the function is one of which
    these are those: the soft samples.
    """
    gradient = _gradient(OPS[name])
    expected = by_reverse_mode(gradient, PRIMALS, TANGENTS)
    for place in ("eager", "graph"):
        found = PLACES[place](gradient)(PRIMALS, TANGENTS)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_reverse_over_forward(name):
    with tf.GradientTape() as tape:
        tape.watch(PRIMALS)
        with tf.autodiff.ForwardAccumulator(PRIMALS, TANGENTS) as accumulator:
            value = tf.reduce_sum(tf.sin(3 * OPS[name](*PRIMALS)))
        jvp = accumulator.jvp(value)
    found = tape.gradient(jvp, PRIMALS)[0]
    with tf.GradientTape() as tape:
        tape.watch(PRIMALS)
        with tf.GradientTape() as inner:
            inner.watch(PRIMALS)
            value = tf.reduce_sum(tf.sin(3 * OPS[name](*PRIMALS)))
        gradients = inner.gradient(value, PRIMALS)
        product = tf.add_n(
            [
                tf.reduce_sum(g * v)
                for g, v in zip(gradients, TANGENTS, strict=True)
            ]
        )
    expected = tape.gradient(product, PRIMALS)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@each_backward_only
def test_an_error_for_second_derivatives(name):
    function, primals, tangents = BACKWARD_ONLY[name]
    with pytest.raises(LookupError, match=rf"{name} has first derivatives"):
        by_forward_mode(_gradient(function), primals, tangents)


def test_what_a_graph_captured_is_still_watched():
    """The pause must not be where an outer tensor enters the graph."""
    x = PRIMALS[0]

    @tf.function(autograph=False)
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(kg.ops.gumbel_softmax(x, seed=1) * 0.0 + 2 * x)
        return tape.gradient(y, x)

    np.testing.assert_array_equal(gradient(), tf.fill((9, 11), 2.0))
