"""Each estimator's rule, sample by sample, against NumPy in float64.

The forward sample is read from the result; given it, the gradient is a
formula. Gumbel-Rao draws more noise for it, which is known from its seed.
"""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from tests import laws, reference
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
ALL = pytest.mark.parametrize("name", NAMES)
NEW = pytest.mark.parametrize("name", NAMES[1:])
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
OFTEN = kg.estimators.GumbelRao(num_samples=3)


def value_and_gradient(logits, dy, temperature=1.0, **options):
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = kg.ops.gumbel_softmax(x, temperature, hard=True, **options)
    gradient = tape.gradient(y, x, output_gradients=tf.constant(dy, y.dtype))
    return y.numpy(), gradient.numpy()


def close(actual, expected, tolerance):
    """Where a softmax is saturated, all but digits of `dy` cancel."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def inputs(shape, seed, dtype="float32"):
    rng = np.random.default_rng(seed)
    return tuple(2 * rng.normal(size=(2, *shape)).astype(dtype))


@pytest.mark.parametrize(
    ("temperature", "dtype"),
    [(0.4, "float32"), (1.0, "float32"), *slow_rows((0.4, "float64"))],
)
@pytest.mark.parametrize("size", [9, *slow(100)])
@pytest.mark.parametrize("kind", SEEDED)
def test_gradient(kind, size, temperature, dtype, seed):
    estimator, rule = SEEDED[kind]
    logits, dy = inputs((300, size), seed, dtype)
    y, gradient = value_and_gradient(
        logits, dy, temperature, estimator=estimator, seed=seed
    )
    assert np.all(y.sum(axis=1) == 1)
    expected = rule(logits, y.astype("float64"), temperature, dy)
    close(gradient, expected, TOLERANCE[dtype] * np.abs(dy).max() / temperature)


def test_reinmax_is_half_straight_through_and_half_darn(seed):
    """And in one line: (p * (g - g_i) + e_i * (g_i - p . g)) / 2."""
    logits, g = inputs((200, 6), seed, "float64")
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
@pytest.mark.parametrize("size", [64, *slow(2)])
def test_gradient_of_gumbel_rao(size, temperature, noise_scale, dtype, seed):
    logits, dy = inputs((50, size), seed, dtype)
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
    logits, dy = inputs((100, 9), seed)
    options = {"temperature": 0.5, "seed": seed}
    a, _ = value_and_gradient(logits, dy, estimator="gumbel_rao", **options)
    b, _ = value_and_gradient(logits, dy, estimator="st_gumbel", **options)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
@ALL
def test_the_law_is_categorical_at_any_temperature(name, temperature, seed):
    def sampler(logits, temperature, seed):
        return kg.ops.gumbel_softmax(
            logits, temperature, hard=True, estimator=name, seed=seed
        )

    laws.check_categorical(sampler, seed, temperature)


@pytest.mark.parametrize("dtype", ["float16", *slow("bfloat16", "float64")])
@NEW
def test_samples_are_exactly_one_hot(name, dtype, seed):
    def sampler(logits, temperature, seed):
        return kg.ops.gumbel_softmax(
            logits, temperature, hard=True, estimator=name, seed=seed
        )

    laws.check_one_hot(sampler, seed, dtype, n=2000)


@pytest.mark.parametrize("dtype", ["float16", *slow("bfloat16")])
@NEW
def test_half_precision_is_rounded_float32(name, dtype, seed):
    logits, dy = (
        tf.cast(tf.cast(x, dtype), "float32").numpy()
        for x in inputs((50, 7), seed)
    )
    options = {"temperature": 0.7, "estimator": name, "seed": seed}
    y, expected = value_and_gradient(logits, dy, **options)
    half, gradient = value_and_gradient(tf.cast(logits, dtype), dy, **options)
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(half.astype("float32"), y)
    np.testing.assert_array_equal(gradient, tf.cast(expected, dtype).numpy())


@pytest.mark.parametrize("temperature", [0.2, 1.0])
@NEW
def test_gradients_sum_to_zero_and_shifts_are_no_matter(
    name, temperature, seed
):
    logits, dy = inputs((200, 8), seed)
    options = {"temperature": temperature, "estimator": name, "seed": seed}
    y, gradient = value_and_gradient(logits, dy, **options)
    scale = np.abs(gradient).max()
    assert scale > 0.01
    rounding = np.abs(dy).max() / temperature
    close(gradient.sum(-1), 0, 1e-6 * rounding)
    shifted, moved = value_and_gradient(logits + 32, dy, **options)
    np.testing.assert_array_equal(shifted, y)
    close(moved, gradient, 1e-4 * scale)
    # To the gradient that comes in, a constant is no matter either.
    _, same = value_and_gradient(logits, dy + 3, **options)
    close(same, gradient, 2e-6 * rounding)


@pytest.mark.parametrize("axis", [0, *slow(1)])
@NEW
def test_along_another_axis(name, axis, seed):
    """Value and gradient as of the classes at the end."""
    logits, dy = inputs((5, 6, 7), seed)
    options = {"temperature": 0.7, "estimator": name, "seed": seed}
    y, gradient = value_and_gradient(logits, dy, axis=axis, **options)
    if name == "gumbel_rao":
        # Its noise has the order of the logits, not that of the rows.
        expected = np.mean(
            [
                reference.softmax_vjp(
                    conditional(logits, y, seed, n, axis=axis), 0.7, dy, axis
                )[0]
                for n in range(10)
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
@NEW
def test_forbidden_classes(name, by_mask, seed):
    """No value, no gradient; the others as if these were not there."""
    logits, dy = inputs((40, 6), seed)
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


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@NEW
def test_an_infinite_gradient_at_a_forbidden_class(name, temperature, seed):
    """As of a log: it is as if none had come in."""
    logits, dy = inputs((40, 6), seed)
    logits[:, 2] = -np.inf
    options = {"temperature": temperature, "estimator": name, "seed": seed}
    dy[:, 2] = 0.0
    _, expected = value_and_gradient(logits, dy, **options)
    dy[:, 2] = np.inf
    _, gradient = value_and_gradient(logits, dy, **options)
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
@pytest.mark.parametrize(
    "name",
    [*NAMES[1:], kg.estimators.GappedStraightThrough(gap=None)],
    ids=str,
)
def test_nothing_allowed_and_nan(name, noise_scale, seed):
    logits, dy = inputs((5, 4), seed)
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


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
@pytest.mark.parametrize("dtype", ["float16", *slow("float32", "float64")])
@NEW
def test_extreme_logits_are_finite(name, dtype, temperature, seed):
    largest = float(np.finfo(dtype).max)
    logits = np.array(
        [[0, largest, -largest], [largest, largest, 0], [-largest, 0, 1]],
        dtype,
    )
    dy = np.array([[1, -2, 3]] * 3, dtype)
    y, gradient = value_and_gradient(
        logits, dy, temperature, estimator=name, seed=seed
    )
    assert np.all(y.astype(float).sum(-1) == 1)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
    "name", ["gapped_st", *slow(*(n for n in NAMES[1:] if n != "gapped_st"))]
)
def test_a_backward_temperature_takes_the_place_of_the_calls(name, seed):
    logits, dy = inputs((30, 5), seed)
    cls = type(kg.estimators.get(name))
    fixed = cls(backward_temperature=0.4)
    a = value_and_gradient(logits, dy, 2.0, estimator=fixed, seed=seed)
    b = value_and_gradient(logits, dy, 0.4, estimator=name, seed=seed)
    np.testing.assert_array_equal(a[0], b[0])
    close(a[1], b[1], 1e-5)
    # Only the forward pass has read the call's, and that does not need it.
    tau = tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(tau)
        y = kg.ops.gumbel_softmax(
            logits, tau, hard=True, estimator=fixed, seed=seed
        )
    assert tape.gradient(y, tau) is None


@pytest.mark.parametrize("name", ["st", "gapped_st", "gumbel_rao"])
def test_gradient_to_the_temperature_is_that_of_the_softmax(name, seed):
    """-sum(d_x * x) / temperature, x what the softmax is of."""
    logits, dy = inputs((20, 5), seed, "float64")
    tau = tf.constant(np.full((20, 1), 0.6))
    estimator = OFTEN if name == "gumbel_rao" else name
    with tf.GradientTape() as tape:
        tape.watch(tau)
        y = kg.ops.gumbel_softmax(
            logits, tau, hard=True, estimator=estimator, seed=seed
        )
    slope = tape.gradient(y, tau, output_gradients=tf.constant(dy))
    if name == "gumbel_rao":
        xs = [conditional(logits, y.numpy(), seed, n) for n in range(3)]
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
    logits, _ = inputs((20, 5), seed)
    tau = tf.constant(1.3)
    with tf.GradientTape() as tape:
        tape.watch(tau)
        y = kg.ops.gumbel_softmax(
            logits, tau, hard=True, estimator="reinmax", seed=seed
        )
        loss = tf.reduce_sum(y**3)
    assert tape.gradient(loss, tau) == 0


@pytest.mark.parametrize("temperature", [0.7, *slow(1.0)])
@NEW
def test_second_derivatives_are_those_of_the_rule(name, temperature, seed):
    """Of the gradient, given the sample, by central differences."""
    logits, dy = inputs((6, 4), seed, "float64")
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


@pytest.mark.parametrize("mode", ["XLA", *slow("graph")])
@pytest.mark.parametrize(
    "name", ["gumbel_rao", *slow("st", "reinmax", "gapped_st")]
)
def test_modes_agree(name, mode, seed):
    logits, dy = inputs((33, 12), seed)
    options = {"temperature": 0.5, "estimator": name, "seed": seed}

    @tf.function(jit_compile=mode == "XLA")
    def run(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = kg.ops.gumbel_softmax(x, hard=True, **options)
        return y, tape.gradient(y, x, output_gradients=dy)

    y, gradient = run(tf.constant(logits), tf.constant(dy))
    expected = value_and_gradient(logits, dy, **options)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_allclose(gradient, expected[1], atol=1e-5)


@pytest.mark.parametrize(
    "name", ["st", *slow("gumbel_rao", "reinmax", "gapped_st")]
)
def test_index_and_embedding_are_of_the_same_sample(name, seed):
    """The index weighs the gradient by class, the table by its rows."""
    logits, _ = inputs((1500, 500), seed)
    numbers = tf.range(500, dtype="float32")
    table = tf.stack([numbers / 500, tf.sin(numbers)], axis=1)
    w = tf.constant(np.random.default_rng(seed).normal(size=(1500, 2)))
    w = tf.cast(w, "float32")
    options = {"temperature": 0.7, "estimator": name, "seed": seed}
    y, expected = value_and_gradient(
        logits, (w @ tf.transpose(table)).numpy(), **options
    )
    x = tf.constant(logits)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, table])
        rows = kg.ops.sample_embedding(x, table, **options)
        index = kg.ops.sample_argmax_index(x, hard=True, **options)
        loss = tf.reduce_sum(rows * w)
    np.testing.assert_array_equal(index, y.argmax(-1))
    np.testing.assert_array_equal(rows, y @ table)
    found, d_table = tape.gradient(loss, [x, table])
    # Gumbel-Rao's sums of ten go through other orders.
    np.testing.assert_allclose(found, expected, atol=3e-5)
    np.testing.assert_allclose(d_table, tf.transpose(y) @ w, atol=1e-4)
    by_index = tape.gradient(index, x, output_gradients=w[:, 0])
    _, expected = value_and_gradient(logits, w[:, :1] * numbers, **options)
    np.testing.assert_allclose(
        by_index, expected, atol=1e-4 * np.abs(expected).max()
    )


def test_the_memory_of_gumbel_rao_does_not_grow_with_its_samples():
    """What the program needs beside arguments and results, in bytes."""

    def temporaries(num_samples):
        @tf.function(jit_compile=True)
        def run(x, dy):
            estimator = kg.estimators.GumbelRao(num_samples)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = kg.ops.gumbel_softmax(
                    x, 0.5, hard=True, estimator=estimator, seed=1
                )
            return tape.gradient(y, x, output_gradients=dy)

        x = tf.ones((256, 512))
        ir = run.experimental_get_compiler_ir(x, x)
        text = ir(stage="optimized_hlo")
        shapes = [
            np.prod([int(size) for size in found.split(",")])
            for found in re.findall(r"f32\[([\d,]+)\]", text)
        ]
        return max(shapes)

    assert temporaries(2) == temporaries(50) == 256 * 512


@pytest.mark.parametrize(
    "estimator",
    [
        kg.estimators.GumbelRao(3, backward_temperature=0.5),
        kg.estimators.GappedStraightThrough(gap=None),
        kg.estimators.ReinMax(backward_temperature=1.3),
    ],
    ids=str,
)
def test_a_saved_layer_has_the_settings(estimator, tmp_path, seed):
    """And samples and learns on as the one that was saved."""
    layer = kg.GumbelSoftmax(hard=True, estimator=estimator, seed=seed)
    model = keras.Sequential([keras.Input((5,)), layer])
    model.save(tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras")
    assert found.layers[0].estimator == estimator
    x = tf.constant(inputs((8, 5), seed)[0])
    gradients = []
    for each in (model, found):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(each(x, training=True) * tf.range(5.0))
        gradients.append(tape.gradient(loss, x))
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
