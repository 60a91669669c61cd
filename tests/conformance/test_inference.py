"""What each layer does when it does not train, in each of its modes."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import reference
from tests.conformance.registry import (
    LAYERS,
    ONE_OF_EACH,
    as_array,
    each_layer,
    each_of,
)
from tests.harness import tensor, to_numpy, value_and_grad
from tests.ops import test_gumbel_sinkhorn as sinkhorn
from tests.ops.test_hard_concrete import gates

TAU = 0.5


def k_largest(x, tau, k=2):
    return 1.0 * (np.argsort(np.argsort(-x, -1), -1) < k)


def five_levels(x, rounded=lambda bounded: bounded):
    return rounded(2 * (1 - 1e-3) * np.tanh(x)) / 2


# From logits and a temperature, in float64: the weight of each class, or gate.
WEIGHTS = {
    kg.GumbelTopK: {
        "argmax": k_largest,
        "softmax": lambda x, tau: reference.successive_softmaxes(x, tau, 2),
    },
    kg.GumbelSigmoid: {
        "argmax": lambda x, tau: 1.0 * (x > 0),
        "sigmoid": lambda x, tau: reference.sigmoid(x / tau),
    },
    kg.GumbelSinkhorn: {
        "argmax": lambda x, tau: sinkhorn.hard(x),
        "sinkhorn": sinkhorn.soft,
    },
    kg.FiniteScalarQuantizer: {
        "argmax": lambda x, tau: five_levels(x, np.round)
    },
    kg.GumbelSort: {
        "argmax": lambda x, tau: reference.hard_sort(x),
        "softsort": reference.soft_sort,
    },
    "sorted": {
        "argmax": lambda x, tau: -np.sort(-x, -1),
        "softsort": lambda x, tau: np.einsum(
            "...ij,...j->...i", reference.soft_sort(x, tau), x
        ),
    },
    "ranks": {
        "argmax": lambda x, tau: np.argsort(np.argsort(-x, -1), -1),
        "softsort": reference.soft_ranks,
    },
    # Of gates at log-alpha 0, by which it multiplies.
    kg.HardConcreteGate: {"deterministic": lambda x, tau: x * gates(0.0, 1.0)},
}
OF_CLASSES = {
    "argmax": lambda x, tau: reference.one_hot_argmax(x),
    "softmax": reference.softmax,
}


# What the gradient of those that round is of, straight through.
UNROUNDED = {
    kg.VectorQuantizer: lambda x: x,
    kg.FiniteScalarQuantizer: five_levels,
}


def expected_of(row, mode, x, tau, allowed=slice(None)):
    """What should come, of logits of which some classes are allowed."""
    x = np.asarray(x, "float64")
    shown = row.variant.get("output", row.layer)
    of_mode = WEIGHTS.get(shown, OF_CLASSES)[mode]
    if row.layer is kg.GumbelSort:
        return 1.0 * of_mode(x, tau)
    weights = np.zeros(x.shape)
    weights[..., allowed] = of_mode(x[..., allowed], tau)
    return weights @ np.arange(x.shape[-1]) if row.is_index else weights


def modes_of(row):
    """Those without noise."""
    return [m for m in row.create()._inference_modes if m != "sample"]


def relaxed(row):
    return modes_of(row)[-1]


def _cases():
    """What it does by itself is in the gate; what it may be told, of two."""
    told = ("GumbelSoftmax-hard", "GumbelEmbedding-hard")
    for row in LAYERS:
        for mode in modes_of(row):
            kept = told if mode else ONE_OF_EACH
            marks = [] if str(row) in kept else [pytest.mark.slow]
            yield pytest.param(row, mode, id=f"{row}-{mode}", marks=marks)


each_mode = pytest.mark.parametrize(("row", "inference"), list(_cases()))


@each_mode
def test_it_is_the_sample_without_noise(row, inference):
    """At the live temperature; with or without `training=False`."""
    layer = row.create(inference=inference, temperature=9.0, seed=3)
    mode = layer.resolved_inference
    assert mode == inference or inference is None
    if inference is None and "hard" in row.variant:
        assert (mode == "argmax") is row.hard
    logits = row.logits()
    layer.build(row.input_shape)
    layer.temperature = TAU
    expected = expected_of(row, mode, logits, TAU)
    for training in (False, None):
        y = as_array(layer(logits, training=training))
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    if mode == "argmax":
        np.testing.assert_array_equal(y, expected)
    # No draw was made.
    assert as_array(layer.seed_generator.state).tolist() == [3, 0]


@each_mode
def test_gradient_is_that_of_the_relaxation(row, inference):
    """By differences in float64; to a temperature that is given, too."""
    layer = row.create(inference=inference)
    x, rng = row.logits(), np.random.default_rng(1)
    upstream = rng.normal(size=row.output_shape)
    _, (d_x, d_tau) = value_and_grad(
        lambda x, tau: layer(x, temperature=tau),
        x,
        np.float32(TAU),
        upstream=upstream.astype("float32"),
    )

    def loss(x, tau):
        unrounded = UNROUNDED.get(row.layer)
        y = (
            unrounded(x)
            if unrounded
            else expected_of(row, relaxed(row), x, tau)
        )
        return np.sum(y * upstream)

    direction, h = rng.normal(size=x.shape), 1e-6
    up, down = (loss(x + s * h * direction, TAU) for s in (1, -1))
    slope = (up - down) / (2 * h)
    assert abs(slope) > 1e-2
    along = np.sum(as_array(d_x) * direction)
    np.testing.assert_allclose(along, slope, rtol=1e-3, atol=1e-4)
    up, down = (loss(x, TAU + s * h) for s in (1, -1))
    d_tau = 0.0 if d_tau is None else as_array(d_tau)
    slope = (up - down) / (2 * h)
    np.testing.assert_allclose(d_tau, slope, rtol=1e-3, atol=1e-3)


@each_of(row for row in LAYERS if row.takes_class_mask)
@pytest.mark.parametrize("relax", [False, True], ids=["argmax", "relaxed"])
def test_a_class_mask_leaves_what_is_allowed(row, relax):
    """A row without classes is 0, and NaN shows in its row alone."""
    mode = relaxed(row) if relax else "argmax"
    layer = row.create(inference=mode, temperature=TAU)
    logits, mask = row.logits(), np.ones(row.input_shape, bool)
    mask[..., 1] = False
    mask[0, 0] = False
    logits[2, 1, 3] = np.nan
    logits[0, 0] = logits[..., 1] = np.nan  # Which is not looked at.
    y = as_array(layer(logits, class_mask=mask))
    allowed = [0, 2, 3, 4]
    clean = np.where(np.isnan(logits), 0, logits)
    expected = expected_of(row, mode, clean, TAU, allowed)
    expected[0, 0] = 0
    expected[(2, 1, 3) if row.is_gates else (2, 1)] = np.nan
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@each_of(row for row in LAYERS if row.takes_logits and not row.matrix)
def test_nan_shows_where_it_is(row):
    """In each mode that has no noise, and in a sample."""
    logits = row.logits()
    logits[2, 1, 3] = np.nan
    for mode in (*modes_of(row), "sample"):
        y = as_array(row.create(inference=mode)(logits))
        spoiled = np.isnan(y)
        if row.is_gates:
            assert spoiled[2, 1, 3]
            assert spoiled.sum() == 1
        else:
            assert spoiled[2, 1].all()
            assert spoiled.sum() == spoiled[2, 1].size


# A call of the function that draws as the layer of the row does.
DRAWS = {
    kg.GumbelSoftmax: kg.ops.gumbel_softmax,
    kg.SampleArgmaxIndex: kg.ops.sample_argmax_index,
    kg.GumbelEmbedding: lambda x, *tau, **options: kg.ops.sample_embedding(
        x, np.eye(5, dtype="float32"), *tau, **options
    ),
    kg.HardConcreteGate: None,
    kg.GumbelSigmoid: kg.ops.gumbel_sigmoid,
    kg.GumbelQuantizer: None,
    kg.VectorQuantizer: None,
    kg.FiniteScalarQuantizer: None,
    kg.GumbelSinkhorn: kg.ops.gumbel_sinkhorn,
    kg.GumbelSort: lambda x, *tau, **options: kg.ops.gumbel_sort(
        x, *tau, **options
    )[0],
    kg.GumbelTopK: lambda x, *tau, **options: kg.ops.gumbel_top_k(
        x, 2, *tau, **options
    )[0],
}


@each_of(LAYERS, gate=ONE_OF_EACH)
def test_training_draws_whatever_inference_says(row):
    """As `inference="sample"` does, and from the seed on as the function."""
    settings = {"temperature": TAU, "noise_scale": 0.5, "seed": 3}
    layers = [
        row.create(inference=mode, **settings)
        for mode in (*modes_of(row), "sample")
    ]
    logits, draws = tensor(row.logits()), []
    for _ in range(2):
        trained = [to_numpy(x(logits, training=True)) for x in layers[:-1]]
        sampled = to_numpy(layers[-1](logits))
        for one in trained:
            np.testing.assert_array_equal(one, sampled)
        draws.append(sampled)
    assert not np.array_equal(*draws)
    if "output" in row.variant:
        return  # Its own tests say what of the function's it is.
    if draw := DRAWS[row.layer]:
        given = {"hard", "estimator", "num_iterations"} & row.variant.keys()
        given = {name: row.variant[name] for name in given}
        stream = keras.random.SeedGenerator(3)
        for sampled in draws:
            y = draw(logits, TAU, noise_scale=0.5, seed=stream, **given)
            np.testing.assert_array_equal(to_numpy(y), sampled)


def test_every_layer_has_its_function():
    """But for some, of which their own tests say what they are made of."""
    assert DRAWS.keys() == {row.layer for row in LAYERS}


@each_layer
@pytest.mark.parametrize("value", ["mean", "", True, 1])
def test_a_mode_that_there_is_not(row, value):
    modes = ".*".join(f"'{mode}'" for mode in row.create()._inference_modes[1:])
    message = f"`inference` must be one of .*{modes}.*: inference={value!r}"
    with pytest.raises(ValueError, match=message):
        row.create(inference=value)
