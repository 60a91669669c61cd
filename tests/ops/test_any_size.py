"""Any size without a program of its own: the same noise, the same sample.

What a graph of known sizes computes, which has a program of exactly these, is
what eager calls and graphs of unknown sizes are held to. These have more rows
and classes than there are, which must not show.
"""

import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.numerics import noise
from keras_gumbel.ops import _ladder, _program
from tests.frameworks import tf
from tests.harness import gradients, in_mode, tensor, to_numpy
from tests.variants import slow

ESTIMATORS = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")
# Of the largest, where a sum goes over another number of terms.
TOLERANCE = 2e-6


def hard(estimator, **options):
    return lambda x, tau, mask: kg.ops.gumbel_softmax(
        x,
        tau,
        hard=True,
        estimator=estimator,
        class_mask=mask,
        seed=3,
        **options,
    )


def table(classes=11):
    return tensor(np.random.default_rng(2).normal(size=(classes, 3)), "float32")


# How many classes a row has.
SIZES = np.arange(11) % 4

# Name: the function, the shape of its logits, that of a temperature for each
# example, and which axis is the classes'.
OPS = {
    **{name: (hard(name), (3, 11, 21), (3, 11, 1)) for name in ESTIMATORS},
    **{
        f"{name}, axis 1": (hard(name, axis=1), (11, 9, 13), (11, 1, 13))
        for name in ESTIMATORS
    },
    "soft": (
        lambda x, tau, mask: kg.ops.gumbel_softmax(
            x, tau, class_mask=mask, seed=3
        ),
        (3, 11, 21),
        (11, 1),
    ),
    "index": (
        lambda x, tau, mask: kg.ops.sample_argmax_index(
            x, tau, class_mask=mask, seed=3, axis=1
        ),
        (11, 9, 13),
        (1, 1, 1),
    ),
    "gates": (
        lambda x, tau, mask: kg.ops.gumbel_sigmoid(
            x, tau, class_mask=mask, seed=3
        ),
        (11, 9),
        (9,),
    ),
    "hard gates": (
        lambda x, tau, mask: kg.ops.gumbel_sigmoid(
            x, tau, hard=True, class_mask=mask, seed=3
        ),
        (3, 11, 9),
        (11, 1),
    ),
    "hard concrete": (
        lambda x, tau, mask: kg.ops.hard_concrete(
            x, tau, class_mask=mask, seed=3
        ),
        (11, 9),
        (11, 1),
    ),
    "top k": (
        lambda x, tau, mask: kg.ops.gumbel_top_k(
            x, 3, tau, class_mask=mask, seed=3
        ),
        (3, 11, 21),
        (11, 1),
    ),
    "top k of rows": (
        lambda x, tau, mask: kg.ops.gumbel_top_k(
            x, SIZES, tau, max_k=3, class_mask=mask, seed=3
        ),
        (3, 11, 21),
        (11, 1),
    ),
    "hard top k of rows, axis 1": (
        lambda x, tau, mask: kg.ops.gumbel_top_k(
            x,
            SIZES[:, None, None],
            tau,
            max_k=3,
            hard=True,
            axis=1,
            class_mask=None if mask is None else tensor(True),
            seed=3,
        ),
        (11, 9, 13),
        (13,),
    ),
    "hard top k, axis 1": (
        lambda x, tau, mask: kg.ops.gumbel_top_k(
            x, 3, tau, hard=True, axis=1, class_mask=mask, seed=3
        ),
        (11, 9, 13),
        (13,),
    ),
    "conditional Poisson": (
        lambda x, tau, mask: (
            kg.ops.conditional_poisson_marginals(
                x, SIZES, max_k=3, class_mask=mask
            )
            + 0 * tau
        ),
        (3, 11, 21),
        (11, 1),
    ),
    "conditional Poisson, hard, axis 1": (
        lambda x, tau, mask: (
            kg.ops.conditional_poisson_subset(
                x,
                3,
                axis=1,
                class_mask=None if mask is None else tensor(True),
                seed=3,
            )
            + 0 * tau
        ),
        (11, 9, 13),
        (1,),
    ),
    "order": (
        lambda x, tau, mask: kg.ops.gumbel_sort(
            x, tau, class_mask=mask, seed=3
        ),
        (3, 11, 21),
        (11, 1),
    ),
    "matrices": (
        lambda x, tau, mask: kg.ops.gumbel_sinkhorn(
            x, tau, class_mask=mask, seed=3
        ),
        (3, 3, 9, 9),
        (3, 1, 1),
    ),
    "wide matrices": (
        lambda x, tau, mask: kg.ops.gumbel_sinkhorn(
            x, tau, class_mask=mask, seed=3
        ),
        (3, 3, 9, 11),
        (3, 1, 1),
    ),
    "matchings": (
        lambda x, tau, mask: kg.ops.gumbel_sinkhorn(
            x, tau, hard=True, class_mask=mask, seed=3
        ),
        (11, 9, 11),
        (11, 1, 1),
    ),
    "permutations": (
        lambda x, tau, mask: kg.ops.gumbel_sinkhorn(
            x, tau, hard=True, class_mask=mask, seed=3
        ),
        (11, 9, 9),
        (11, 1, 1),
    ),
    "rows of a table": (
        lambda x, tau, mask: kg.ops.sample_embedding(
            x, table(), tau, class_mask=mask, seed=3
        ),
        (3, 11, 11),
        (11, 1),
    ),
}
IS_HARD = {*ESTIMATORS, *(f"{name}, axis 1" for name in ESTIMATORS)}
IS_HARD |= {"hard gates", "hard top k, axis 1", "permutations", "matchings"}
IS_HARD |= {"hard top k of rows, axis 1", "conditional Poisson, hard, axis 1"}
GATE = ("gumbel_rao", "soft", "top k of rows")


def of_unknown_sizes(function):
    """A graph that is traced once, for any size."""

    def unknown(x):
        # That there is one for all rows is known.
        sizes = [1 if size == 1 else None for size in x.shape]
        return tf.TensorSpec(sizes, x.dtype)

    def call(*args):
        graph = tf.function(function, autograph=False)
        return graph.get_concrete_function(*map(unknown, args))(*args)

    return call


def found(function, x, tau):
    """Values, then gradients to logits and temperature, as arrays."""
    others = []

    def first(x, tau):
        results = function(x, tau)
        results = results if isinstance(results, tuple) else (results,)
        others[:] = results[1:]
        return results[0]

    shape = to_numpy(first(tensor(x), tensor(tau))).shape
    upstream = np.random.default_rng(1).normal(size=shape)
    value, *slopes = gradients(first, x, tau, upstream=upstream)
    return [value, *to_numpy(others)], slopes


def close(mine, right, tolerance):
    scale = max(np.abs(right).max(initial=0), 1e-30)
    np.testing.assert_allclose(mine, right, rtol=0, atol=tolerance * scale)


@pytest.mark.slow_ids(
    "gumbel_rao-unknown-True",
    "top k of rows-unknown-True",
)
@pytest.mark.tensorflow
@pytest.mark.parametrize("masked", [True, *slow(False)])
@pytest.mark.parametrize("how", ["eager", "unknown"])
@pytest.mark.parametrize(
    "name", [*GATE, *slow(*(name for name in OPS if name not in GATE))]
)
def test_is_that_of_a_program_of_the_size(name, how, masked):
    function, shape, of_each = OPS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype("float32")
    tau = rng.uniform(0.5, 1.5, of_each).astype("float32")
    mask = tensor(rng.random(shape) < 0.7)
    # Without its diagonal a matrix might have no permutation.
    if "gumbel_sinkhorn" in function.__code__.co_names:
        mask = mask | tensor(np.eye(*shape[-2:], dtype=bool))

    def run(x, tau):
        return function(x, tau, mask if masked else None)

    exact = in_mode("graph", run)
    other = run if how == "eager" else of_unknown_sizes(run)
    values, slopes = found(other, x, tau)
    rights, right_slopes = found(exact, x, tau)
    for mine, right in zip(values, rights, strict=True):
        if name in IS_HARD or mine.dtype.kind == "i":
            np.testing.assert_array_equal(mine, right)
        else:
            close(mine, right, TOLERANCE)
    for mine, right in zip(slopes, right_slopes, strict=True):
        close(mine, right, 4 * TOLERANCE)


@pytest.mark.tensorflow
@pytest.mark.parametrize("what", ["axis 1", *slow("mask of rows", "matrices")])
def test_a_size_that_is_not_known_may_be_one(what):
    """Of a mask or a temperature: it does not go up with the logits'."""
    rng = np.random.default_rng(0)
    known = {}
    if what == "mask of rows":
        x, other = rng.normal(size=(6, 11)), rng.random((6, 1)) < 0.5

        def function(x, mask):
            return kg.ops.gumbel_softmax(x, 0.7, class_mask=mask, seed=3)

    elif what == "matrices":
        x, other = rng.normal(size=(3, 9, 9)), rng.uniform(1, 2, (3, 1, 1))

        def function(x, tau):
            return kg.ops.gumbel_sinkhorn(x, tau, seed=3)

    else:
        x, other = rng.normal(size=(5, 9, 13)), rng.uniform(1, 2, (5, 1, 1))
        known = {1: 1}

        def function(x, tau):
            return kg.ops.gumbel_softmax(x, tau, axis=1, seed=3)

    dtype = "bool" if other.dtype == bool else "float32"
    given = tensor(x, "float32"), tensor(other, dtype)
    sizes = [known.get(axis) for axis in range(x.ndim)]
    unknown = tf.function(
        function,
        autograph=False,
        input_signature=[
            tf.TensorSpec([None] * x.ndim),
            tf.TensorSpec(sizes, dtype),
        ],
    )
    right = to_numpy(in_mode("graph", function)(*given))
    close(to_numpy(unknown(*given)), right, TOLERANCE)


@pytest.mark.tensorflow
@pytest.mark.parametrize("hard_", [False, *slow(True)])
def test_rows_alone_change_nothing_at_all(hard_):
    """More rows: soft samples and gradients too, to the last bit."""
    x = np.random.default_rng(0).normal(size=(37, 10)).astype("float32")
    tau = np.full((37, 1), 0.7, "float32")

    def function(x, tau):
        return kg.ops.gumbel_softmax(x, tau, hard=hard_, seed=3)

    (value,), slopes = found(function, x, tau)
    (right,), rights = found(in_mode("graph", function), x, tau)
    np.testing.assert_array_equal(value, right)
    for mine, slope in zip(slopes, rights, strict=True):
        np.testing.assert_array_equal(mine, slope)


@pytest.mark.tensorflow
def test_no_sample_depends_on_the_others_in_its_batch():
    """A row is drawn by its place: more rows behind it change nothing."""
    x = np.random.default_rng(0).normal(size=(60, 11)).astype("float32")
    whole = to_numpy(kg.ops.gumbel_softmax(x, 0.5, seed=3))
    for size in (1, 7, 33, 59):
        part = to_numpy(kg.ops.gumbel_softmax(x[:size], 0.5, seed=3))
        np.testing.assert_array_equal(part, whole[:size])


@pytest.mark.tensorflow
@pytest.mark.parametrize("draw", [kg.ops.sample_gumbel, kg.ops.sample_logistic])
def test_noise_of_any_shape(draw):
    exact = in_mode("graph", lambda: draw((7, 5), seed=3))
    right = to_numpy(exact())
    np.testing.assert_array_equal(to_numpy(draw((7, 5), seed=3)), right)
    np.testing.assert_array_equal(
        to_numpy(draw(tf.constant([5, 7]), seed=3)).ravel(), right.ravel()
    )
    unknown = tf.function(
        lambda shape: draw(shape, seed=3),
        autograph=False,
        input_signature=[tf.TensorSpec([2], tf.int32)],
    )
    np.testing.assert_array_equal(to_numpy(unknown(tf.constant([7, 5]))), right)


class TestRungs:
    SIZES = [*range(300), 1000, 4097, 70000, 10**6]

    def test_none_is_far(self):
        """A quarter more at most, and an eighth of what is large."""
        for size in self.SIZES:
            up = _ladder.rung(size, size)
            assert (
                size <= up <= max(size * (1.25 if size < 2**16 else 1.125), 4)
            )
            assert _ladder.rung(up, up) == up

    def test_there_are_few(self):
        for octave in range(3, 16):
            sizes = range(2**octave + 1, 2 ** (octave + 1) + 1)
            assert len({_ladder.rung(size, size) for size in sizes}) <= 4

    def test_what_is_huge_is_as_it_is(self):
        assert _ladder.rung(2**24 + 1, 2**24 + 1) == 2**24 + 1

    @pytest.mark.tensorflow
    def test_a_tensor_goes_where_a_number_goes(self):
        run = in_mode("graph", lambda n, m: _ladder.rung(n, m))
        for size in self.SIZES:
            for width in (1, 10, 2**18):
                up = run(tf.constant(size), tf.constant(width, tf.int64))
                assert int(up) == _ladder.rung(size, width)


@pytest.mark.tensorflow
def test_few_programs_serve_many_sizes(monkeypatch):
    """Counted by the formula of the noise, which runs in traces alone."""
    traces, gumbel = [], noise.gumbel

    def counting(*args):
        traces.append(args)
        return gumbel(*args)

    _program._rule.cache_clear()
    monkeypatch.setattr(noise, "gumbel", counting)
    for size in range(41, 84):
        kg.ops.gumbel_softmax(np.zeros((size, 10), "float32"), seed=1)
    assert 1 <= len(traces) <= 5
    traces.clear()
    for classes in range(23, 61):
        kg.ops.gumbel_softmax(np.zeros((8, classes), "float32"), seed=1)
    assert 1 <= len(traces) <= 7
    _program._rule.cache_clear()
