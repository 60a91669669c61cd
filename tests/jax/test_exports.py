"""Programs of `jax.export`: read back, they give what they were written of."""

import jax
import keras
import numpy as np
import pytest
from jax import export

import keras_gumbel as kg
from tests.golden import CASES, NAMES

TAU = np.float32(0.7)
# The way of drawing and the backward rule meet in the one-hot cases alone.
EXPORTED = [
    name
    for name in CASES
    if (name.startswith("one-hot ") and " of many" not in name)
    or not name.endswith(NAMES)
    or name in ("one-hot of many st", "gates reinmax", "rows st_gumbel")
]
WITHOUT_TENSORFLOW = {
    "the model's own": lambda model, path: model.export(path, verbose=False),
    "with sampling": kg.export.export_with_sampling,
}
DISTRIBUTIONS = (
    "from_layer",
    "log_from_layer",
    "StraightThroughOneHotCategorical",
)


def read_back(function, *arguments, shapes):
    """`function` of these arguments, from its program for these shapes."""
    specs = [
        jax.ShapeDtypeStruct(shape, np.asarray(argument).dtype)
        for shape, argument in zip(shapes, arguments, strict=True)
    ]
    written = export.export(jax.jit(function))(*specs).serialize()
    return export.deserialize(written).call(*arguments)


def with_gradients(name):
    """A golden case as one function: its value and its gradients."""
    function, arguments, upstream, _ = CASES[name]

    def run(upstream, *arguments):
        value, back = jax.vjp(function, *arguments)
        return value, back(upstream)

    return run, [upstream, *arguments]


@pytest.mark.slow_ids(
    "matrices-any",
    "one-hot gumbel_rao-any",
    "permutations-any",
    "subsets False-any",
)
@pytest.mark.parametrize(
    ("name", "rows"),
    [*((name, "any") for name in EXPORTED), ("one-hot st_gumbel", "fixed")],
)
def test_a_program_gives_what_its_function_gives(name, rows):
    """The gradients too, and for a number of rows that it was not shown."""
    run, arguments = with_gradients(name)
    shapes = [np.shape(argument) for argument in arguments]
    if rows == "any":
        (batch,) = export.symbolic_shape("batch")
        size = len(arguments[0])
        shapes = [
            (batch, *shape[1:]) if shape[:1] == (size,) else shape
            for shape in shapes
        ]
    found = read_back(run, *arguments, shapes=shapes)
    right = jax.jit(run)(*arguments)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(right), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


ANY_CLASSES = {
    "soft": lambda x: kg.ops.gumbel_softmax(x, seed=1),
    **{
        rule: lambda x, rule=rule: kg.ops.gumbel_softmax(
            x, hard=True, estimator=rule, seed=1
        )
        for rule in NAMES
    },
    "index": lambda x: kg.ops.sample_argmax_index(x, seed=1),
    "subset": lambda x: kg.ops.gumbel_top_k(x, 3, hard=True, seed=1)[0],
    "conditional subset": lambda x: kg.ops.conditional_poisson_subset(
        x, 3, seed=1
    ),
    "marginals": lambda x: kg.ops.conditional_poisson_marginals(x, 3),
    "order": lambda x: kg.ops.gumbel_sort(x, hard=True, seed=1)[0],
    "matching": lambda x: kg.ops.gumbel_sinkhorn(x, hard=True, seed=1),
    "gates": lambda x: kg.ops.gumbel_sigmoid(x, seed=1),
}


@pytest.mark.slow_ids(
    *("st", "gapped_st", "gumbel_rao", "order", "gates", "soft", "marginals")
)
@pytest.mark.parametrize("name", ANY_CLASSES)
def test_a_program_of_any_number_of_classes(name):
    """One program, in which each class has the noise of its true place."""
    sample = ANY_CLASSES[name]

    def run(x, dy):
        value, back = jax.vjp(sample, x)
        return value, back(dy)

    shape = export.symbolic_shape("rows, classes", constraints=["classes>=3"])
    like = jax.ShapeDtypeStruct(shape, "float32")
    goal = jax.eval_shape(sample, like)
    written = export.export(jax.jit(run))(like, goal)
    for given in ((3, 7), (2, 200)):
        x = np.random.default_rng(0).normal(size=given).astype("float32")
        y = sample(x)
        dy = np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)
        for one, other in zip(written.call(x, dy), run(x, dy), strict=True):
            one, other = jax.tree.leaves(one)[0], jax.tree.leaves(other)[0]
            largest = max(np.abs(other).max(), 1.0)
            np.testing.assert_allclose(one, other, atol=5e-6 * largest)


def test_a_program_takes_a_key():
    def sample(x, key):
        return kg.ops.gumbel_softmax(x, TAU, hard=True, seed=key)

    (batch,) = export.symbolic_shape("batch")
    x = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")
    for seed in (3, 4):
        key = jax.random.PRNGKey(seed)
        found = read_back(sample, x, key, shapes=[(batch, 5), (2,)])
        right = kg.ops.gumbel_softmax(x, TAU, hard=True, seed=seed)
        np.testing.assert_array_equal(found, right)


@pytest.mark.slow_ids("reinmax")
@pytest.mark.parametrize("estimator", ["st_gumbel", "reinmax"])
def test_a_seed_as_an_input(estimator):
    """A program of no state, with the samples of the layer."""
    layer = kg.GumbelSoftmax(hard=True, estimator=estimator, seed=1)
    given = kg.export.with_seed_input(
        keras.Sequential([keras.Input((5,)), layer])
    )
    (batch,) = export.symbolic_shape("batch")
    x = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")
    for t in range(2):
        seed = np.array([1, t], "int32")
        found = read_back(
            lambda x, seed: given([x, seed]), x, seed, shapes=[(batch, 5), (2,)]
        )
        np.testing.assert_array_equal(found, layer(x, training=True))


@pytest.mark.slow_ids("False")
@pytest.mark.parametrize("training", [False, True])
def test_a_model_is_a_program(training):
    """By values: the next place of its streams is part of what it gives."""
    layer = kg.GumbelSoftmax(hard=True, seed=1)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), layer])
    trained, others = (
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
        )
    )

    def call(x):
        return model.stateless_call(trained, others, x, training=training)

    (batch,) = export.symbolic_shape("batch")
    x = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")
    y, states = read_back(call, x, shapes=[(batch, 5)])
    right, right_states = call(x)
    np.testing.assert_array_equal(y, right)
    for one, other in zip(states, right_states, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", WITHOUT_TENSORFLOW)
def test_a_saved_model_needs_tensorflow(name, tmp_path):
    model = keras.Sequential([keras.Input((5,)), kg.GumbelSoftmax(seed=1)])
    with pytest.raises(ImportError, match="tensorflow"):
        WITHOUT_TENSORFLOW[name](model, str(tmp_path / "model"))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_are_none_of_another_framework(name):
    with pytest.raises(ImportError, match="TensorFlow backend"):
        getattr(kg.distributions, name)
