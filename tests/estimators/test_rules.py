"""Each estimator's rule, sample by sample, against NumPy in float64.

The forward sample is read from the result; given it, the gradient is a
formula. Gumbel-Rao draws more noise for it, which is known from its seed.
"""

import functools
import re

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import laws, reference
from tests.frameworks import tf
from tests.harness import APART, in_mode, to_numpy, value_and_grad
from tests.variants import slow, slow_rows

SEEDED = {
    "st": ("st", reference.straight_through),
    "reinmax": ("reinmax", reference.reinmax),
    "gapped_st": ("gapped_st", reference.gapped),
    "gap 3": (
        kg.estimators.GappedStraightThrough(gap=3.0),
        functools.partial(reference.gapped, gap=3.0),
    ),
    "mean gap": (
        kg.estimators.GappedStraightThrough(gap=None),
        lambda x, d, tau, dy: reference.gapped(
            x, d, tau, dy, reference.mean_gap(x, d)
        ),
    ),
}
NAMES = ["st_gumbel", "st", "reinmax", "gumbel_rao", "gapped_st"]
NEW = NAMES[1:]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
OFTEN = kg.estimators.GumbelRao(num_samples=3)


def value_and_gradient(logits, dy, temperature=1.0, *, estimator, **options):
    if estimator == "gumbel_rao":
        estimator = OFTEN

    def sample(x):
        return kg.ops.gumbel_softmax(
            x, temperature, hard=True, estimator=estimator, **options
        )

    y, (gradient,) = value_and_grad(sample, logits, upstream=dy)
    return to_numpy(y), to_numpy(gradient)


def close(actual, expected, tolerance):
    """Where a softmax is saturated, all but digits of `dy` cancel."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


SHAPE = (40, 6)


def some(*gate):
    """These estimators in the gate, the other new ones slow."""
    rest = (name for name in NEW if name not in gate)
    return pytest.mark.parametrize("name", [*gate, *slow(*rest)])


def inputs(seed, dtype="float32", shape=SHAPE):
    rng = np.random.default_rng(seed)
    return tuple(2 * rng.normal(size=(2, *shape)).astype(dtype))


@pytest.mark.parametrize(
    ("temperature", "dtype"),
    [(0.4, "float32"), (1.0, "float32"), *slow_rows((0.4, "float64"))],
)
@pytest.mark.parametrize("shape", [SHAPE, *slow((300, 100))], ids=str)
@pytest.mark.parametrize(
    "kind", ["st", "reinmax", "gapped_st", "mean gap", *slow("gap 3")]
)
def test_gradient(kind, shape, temperature, dtype, seed):
    estimator, rule = SEEDED[kind]
    logits, dy = inputs(seed, dtype, shape)
    y, gradient = value_and_gradient(
        logits, dy, temperature, estimator=estimator, seed=seed
    )
    assert np.all(y.sum(axis=1) == 1)
    expected = rule(logits, y.astype("float64"), temperature, dy)
    close(gradient, expected, TOLERANCE[dtype] * np.abs(dy).max() / temperature)


def test_reinmax_is_half_straight_through_and_half_darn(seed):
    """And in one line: (p * (g - g_i) + e_i * (g_i - p . g)) / 2."""
    logits, g = inputs(seed, "float64")
    d, gradient = value_and_gradient(logits, g, estimator="reinmax", seed=seed)
    p = reference.softmax(logits, 1.0)
    g_i = np.sum(g * d, -1, keepdims=True)
    mean = np.sum(g * p, -1, keepdims=True)
    straight = reference.jacobian_product(p, g)
    darn = (g_i - mean) * (d - p)
    np.testing.assert_allclose(gradient, (straight + darn) / 2, atol=1e-12)
    one_line = (p * (g - g_i) + d * (g_i - mean)) / 2
    np.testing.assert_allclose(gradient, one_line, atol=1e-12)


def conditional(logits, one_hot, seed, number, noise_scale=1.0, axis=-1):
    """Perturbed logits by the paper's formula, their noise that of the key."""
    phi = logits.astype("float64") / noise_scale
    log_z = np.log(np.exp(phi).sum(axis, keepdims=True))

    def exponential(shape, series):
        n, start = int(np.prod(shape)), series * 2**44
        u = reference.uniform(seed, 0, n, start)
        return -np.log1p(-u).reshape(shape)

    e = exponential(phi.shape, 2 * number + 1)
    top = log_z - np.log(exponential(log_z.shape, 2 * number + 2))
    x = -np.log(e * np.exp(-phi) + np.exp(-top))
    return noise_scale * np.where(one_hot == 1, top, x)


@pytest.mark.parametrize(
    ("dtype", "noise_scale"), [("float32", 1.0), ("float64", 0.5)]
)
@pytest.mark.parametrize("temperature", [0.3, 1.5])
@pytest.mark.parametrize("size", [6, *slow(2, 64)])
def test_gradient_of_gumbel_rao(size, temperature, noise_scale, dtype, seed):
    logits, dy = inputs(seed, dtype, (40, size))
    y, gradient = value_and_gradient(
        logits,
        dy,
        temperature,
        estimator=OFTEN,
        noise_scale=noise_scale,
        seed=seed,
    )
    expected = np.mean(
        [
            reference.softmax_vjp(
                conditional(logits, y, seed, n, noise_scale),
                temperature,
                dy,
            )[0]
            for n in range(3)
        ],
        axis=0,
    )
    close(gradient, expected, TOLERANCE[dtype] * np.abs(dy).max() / temperature)


def test_gumbel_rao_shares_its_sample_with_straight_through_gumbel(seed):
    logits, dy = inputs(seed)
    options = {"temperature": 0.5, "seed": seed}
    a, _ = value_and_gradient(logits, dy, estimator="gumbel_rao", **options)
    b, _ = value_and_gradient(logits, dy, estimator="st_gumbel", **options)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("temperature", [0.3, *slow(2.0)])
@pytest.mark.parametrize("name", NAMES)
def test_the_law_is_categorical_at_any_temperature(name, temperature, seed):
    def sampler(logits, temperature, seed):
        return kg.ops.gumbel_softmax(
            logits, temperature, hard=True, estimator=name, seed=seed
        )

    laws.check_categorical(sampler, seed, temperature, n=200_000)


@pytest.mark.parametrize("dtype", ["float16", *slow("bfloat16")])
@some("reinmax")
def test_half_precision_is_rounded_float32(name, dtype, seed):
    logits, dy = (
        to_numpy(keras.ops.cast(keras.ops.cast(x, dtype), "float32"))
        for x in inputs(seed)
    )
    options = {"temperature": 0.7, "estimator": name, "seed": seed}
    y, expected = value_and_gradient(logits, dy, **options)
    half, gradient = value_and_gradient(
        keras.ops.cast(logits, dtype), dy, **options
    )
    assert keras.backend.standardize_dtype(gradient.dtype) == dtype
    np.testing.assert_array_equal(half.astype("float32"), y)
    np.testing.assert_array_equal(
        gradient, to_numpy(keras.ops.cast(expected, dtype))
    )


@pytest.mark.parametrize("axis", [0, *slow(1)])
@some("reinmax")
def test_along_another_axis(name, axis, seed):
    """Value and gradient as of the classes at the end."""
    logits, dy = inputs(seed, shape=SHAPE[::-1] if axis == 0 else (5, 6, 7))
    options = {"temperature": 0.7, "estimator": name, "seed": seed}
    y, gradient = value_and_gradient(logits, dy, axis=axis, **options)
    if name == "gumbel_rao":
        # Its noise has the order of the logits, not that of the rows.
        expected = np.mean(
            [
                reference.softmax_vjp(
                    conditional(logits, y, seed, n, axis=axis), 0.7, dy, axis
                )[0]
                for n in range(3)
            ],
            axis=0,
        )
        close(gradient, expected, 1e-5)
        return
    last = [np.moveaxis(x, axis, -1) for x in (logits, dy)]
    expected = value_and_gradient(*last, **options)
    np.testing.assert_array_equal(np.moveaxis(y, axis, -1), expected[0])
    np.testing.assert_allclose(
        np.moveaxis(gradient, axis, -1), expected[1], atol=1e-5
    )


@pytest.mark.parametrize("by_mask", [True, *slow(False)])
@some("gapped_st")
def test_forbidden_classes(name, by_mask, seed):
    """No value, no gradient; the others as if these were not there."""
    logits, dy = inputs(seed)
    allowed = np.array([True, False, True, True, False, True])
    options = {"temperature": 0.7, "estimator": name, "seed": seed}
    if by_mask:
        y, gradient = value_and_gradient(
            logits, dy, class_mask=allowed, **options
        )
    else:
        x = np.where(allowed, logits, -np.inf).astype("float32")
        y, gradient = value_and_gradient(x, dy, **options)
    assert np.all(y[:, ~allowed] == 0)
    assert np.all(gradient[:, ~allowed] == 0)
    if name == "gumbel_rao":
        np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-5)
        assert np.abs(gradient).max() > 0.01
        return
    alone = value_and_gradient(logits[:, allowed], dy[:, allowed], **options)
    np.testing.assert_array_equal(y[:, allowed], alone[0])
    np.testing.assert_allclose(gradient[:, allowed], alone[1], atol=1e-6)


@pytest.mark.parametrize("temperature", [0.7, *slow(1.0)])
@pytest.mark.parametrize("name", NEW)
def test_an_infinite_gradient_at_a_forbidden_class(name, temperature, seed):
    """As of a log: it is as if none had come in."""
    logits, dy = inputs(seed)
    logits[:, 2] = -np.inf
    options = {"temperature": temperature, "estimator": name, "seed": seed}
    dy[:, 2] = 0.0
    _, expected = value_and_gradient(logits, dy, **options)
    dy[:, 2] = np.inf
    _, gradient = value_and_gradient(logits, dy, **options)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=APART)


@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
@pytest.mark.parametrize(
    "name",
    [*NEW, kg.estimators.GappedStraightThrough(gap=None)],
    ids=str,
)
def test_nothing_allowed_and_nan(name, noise_scale, seed):
    logits, dy = inputs(seed)
    logits[0] = -np.inf
    logits[1, 2], logits[2, 0] = np.nan, np.inf
    y, gradient = value_and_gradient(
        logits, dy, 0.7, estimator=name, noise_scale=noise_scale, seed=seed
    )
    assert np.all(y[0] == 0)
    assert np.all(gradient[0] == 0)
    assert np.all(np.isnan(y[1:3]))
    assert np.all(np.isnan(gradient[1:3]).any(-1))
    assert np.all(np.isfinite(y[3:]))
    assert np.all(np.isfinite(gradient[3:]))


@some("gapped_st")
def test_a_backward_temperature_takes_the_place_of_the_calls(name, seed):
    logits, dy = inputs(seed)
    cls = type(kg.estimators.get(name))
    fixed = cls(backward_temperature=0.4)
    a = value_and_gradient(logits, dy, 2.0, estimator=fixed, seed=seed)
    b = value_and_gradient(logits, dy, 0.4, estimator=cls(), seed=seed)
    np.testing.assert_array_equal(a[0], b[0])
    close(a[1], b[1], 1e-5)
    # Only the forward pass has read the call's, and that does not need it.
    _, (gradient,) = value_and_grad(
        lambda tau: kg.ops.gumbel_softmax(
            logits, tau, hard=True, estimator=fixed, seed=seed
        ),
        2.0,
    )
    assert not np.any(gradient)


@pytest.mark.parametrize("name", ["gumbel_rao", *slow("st", "gapped_st")])
def test_gradient_to_the_temperature_is_that_of_the_softmax(name, seed):
    """-sum(d_x * x) / temperature, x what the softmax is of."""
    logits, dy = inputs(seed, "float64")
    estimator = OFTEN if name == "gumbel_rao" else name
    y, (slope,) = value_and_grad(
        lambda tau: kg.ops.gumbel_softmax(
            logits, tau, hard=True, estimator=estimator, seed=seed
        ),
        np.full((len(logits), 1), 0.6),
        upstream=dy,
    )
    y = to_numpy(y)
    if name == "gumbel_rao":
        xs = [conditional(logits, y, seed, n) for n in range(3)]
    elif name == "st":
        xs = [logits]
    else:
        peak = logits.max(-1, keepdims=True)
        xs = [np.where(y == 1, peak, np.minimum(logits, peak - 1.0))]
    parts = [reference.softmax_vjp(x, 0.6, dy)[1].sum(-1) for x in xs]
    np.testing.assert_allclose(
        slope[:, 0], np.mean(parts, axis=0), rtol=1e-6, atol=1e-9
    )


def test_reinmax_has_no_gradient_to_the_temperature(seed):
    logits, dy = inputs(seed)
    _, (slope,) = value_and_grad(
        lambda tau: kg.ops.gumbel_softmax(
            logits, tau, hard=True, estimator="reinmax", seed=seed
        ),
        1.3,
        upstream=dy,
    )
    assert slope == 0


@pytest.mark.tensorflow
@pytest.mark.parametrize("temperature", [0.7, *slow(1.0)])
@some("reinmax")
def test_second_derivatives_are_those_of_the_rule(name, temperature, seed):
    """Of the gradient, given the sample, by central differences."""
    logits, dy = inputs(seed, "float64", (6, 4))
    w = np.random.default_rng(seed).normal(size=logits.shape)
    estimator = OFTEN if name == "gumbel_rao" else name
    options = {"estimator": estimator, "seed": seed}
    x = tf.constant(logits)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = kg.ops.gumbel_softmax(x, temperature, hard=True, **options)
            loss = tf.reduce_sum(y * dy)
        slope = tf.reduce_sum(inner.gradient(loss, x) * w)
    second = outer.gradient(slope, x).numpy()
    assert np.abs(second).max() > 1e-3
    d = y.numpy()
    if name == "gumbel_rao":
        moved = [conditional(logits, d, seed, n) for n in range(3)]
    elif name == "gapped_st":
        peak = logits.max(-1, keepdims=True)
        moved = [np.where(d == 1, peak, np.minimum(logits, peak - 1))]

    def rule(x):
        if name in SEEDED and name != "gapped_st":
            return SEEDED[name][1](x, d, temperature, dy)
        # What the logits were moved by is a constant.
        return np.mean(
            [
                reference.softmax_vjp(m + x - logits, temperature, dy)[0]
                for m in moved
            ],
            axis=0,
        )

    eps, expected = 1e-6, np.zeros_like(logits)
    for at in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[at] = eps
        difference = rule(logits + step) - rule(logits - step)
        expected[at] = np.sum(difference * w) / (2 * eps)
    np.testing.assert_allclose(second, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("st", SHAPE),
        *slow_rows(
            *((name, SHAPE) for name in NEW if name != "st"),
            ("st", (1500, 500)),
            ("gumbel_rao", (1500, 500)),
        ),
    ],
    ids=str,
)
def test_index_and_embedding_are_of_the_same_sample(name, shape, seed):
    """The index weighs the gradient by class, the table by its rows."""
    rows, classes = shape
    logits, _ = inputs(seed, shape=shape)
    numbers = np.arange(classes, dtype="float32")
    table = np.stack([numbers / classes, np.sin(numbers)], axis=1)
    w = np.random.default_rng(seed).normal(size=(rows, 2)).astype("float32")
    options = {"temperature": 0.7, "estimator": name, "seed": seed}
    y, expected = value_and_gradient(logits, w @ table.T, **options)
    options["estimator"] = OFTEN if name == "gumbel_rao" else name
    rows, (found, d_table) = value_and_grad(
        lambda x, table: kg.ops.sample_embedding(x, table, **options),
        logits,
        table,
        upstream=w,
    )
    index, (by_index,) = value_and_grad(
        lambda x: kg.ops.sample_argmax_index(x, hard=True, **options),
        logits,
        upstream=w[:, 0],
    )
    np.testing.assert_array_equal(index, y.argmax(-1))
    np.testing.assert_array_equal(rows, table[y.argmax(-1)])
    # Gumbel-Rao's sums of ten go through other orders.
    np.testing.assert_allclose(found, expected, atol=3e-5)
    np.testing.assert_allclose(d_table, y.T @ w, atol=1e-4)
    _, expected = value_and_gradient(logits, w[:, :1] * numbers, **options)
    np.testing.assert_allclose(
        by_index, expected, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_memory_of_gumbel_rao_does_not_grow_with_its_samples():
    """Of all arrays in the program, none is larger than the logits."""

    def run(x, dy):
        estimator = kg.estimators.GumbelRao(50)
        return value_and_grad(
            lambda x: kg.ops.gumbel_softmax(
                x, 0.5, hard=True, estimator=estimator, seed=1
            ),
            x,
            upstream=dy,
        )[1]

    x = keras.ops.ones((256, 512))
    program = in_mode("compiled", run)
    text = program.experimental_get_compiler_ir(x, x)(stage="optimized_hlo")
    sizes = [
        np.prod([int(size) for size in found.split(",")])
        for found in re.findall(r"f32\[([\d,]+)\]", text)
    ]
    assert max(sizes) == 256 * 512


@pytest.mark.parametrize(
    "estimator",
    slow(
        kg.estimators.GumbelRao(3, backward_temperature=0.5),
        kg.estimators.GappedStraightThrough(gap=None),
        kg.estimators.ReinMax(backward_temperature=1.3),
    ),
    ids=str,
)
def test_a_saved_layer_has_the_settings(estimator, tmp_path, seed):
    """And samples and learns on as the one that was saved."""
    layer = kg.GumbelSoftmax(hard=True, estimator=estimator, seed=seed)
    model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
    model.save(tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras")
    assert found.layers[0].estimator == estimator
    logits, dy = inputs(seed)
    gradients = [
        value_and_grad(
            lambda x, each=each: each(x, training=True), logits, upstream=dy
        )[1]
        for each in (model, found)
    ]
    np.testing.assert_array_equal(*gradients)


def test_settings_that_are_not_the_defaults_are_printed():
    """And name and settings come back from a saved configuration."""
    for estimator, text in [
        (kg.estimators.ReinMax(), "ReinMax()"),
        (kg.estimators.GumbelRao(3), "GumbelRao(num_samples=3)"),
        (
            kg.estimators.GappedStraightThrough(backward_temperature=2.0),
            "GappedStraightThrough(backward_temperature=2.0)",
        ),
        (
            kg.estimators.GappedStraightThrough(gap=None),
            "GappedStraightThrough(gap=None)",
        ),
    ]:
        assert repr(estimator) == text
        config = kg.estimators.serialize(estimator)
        assert kg.estimators.get(config) == estimator
        assert isinstance(config, str) == text.endswith("()")
