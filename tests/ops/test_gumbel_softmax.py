"""`gumbel_softmax` and `sample_argmax_index`: law, gradient, edges.

Both draw `sample_gumbel` of the shape of the logits, so that with an integer
seed their noise is known, and every value and gradient has a closed form.
"""

import itertools

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import laws, reference, statistics
from tests.frameworks import tf
from tests.harness import APART, gradients, tensor, to_numpy
from tests.keras_harness import restart
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

# The distance from 1 to the next number.
EPSILON = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
}
DTYPES = ["float16", *slow("float32", "bfloat16", "float64")]
# Whole in float32, which every temperature is rounded to. Of a dtype, so that
# all tests share the programs that have a gradient to it.
TAU = np.float32(0.75)
SHAPE = (4, 3, 5)
TOLERANCE = {"float32": 5e-6, "float64": 1e-13}
HARD = pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])


def soft(logits, temperature, seed):
    return kg.ops.gumbel_softmax(logits, temperature, seed=seed)


def hard_(logits, temperature, seed):
    return kg.ops.gumbel_softmax(logits, temperature, hard=True, seed=seed)


def normal(shape, seed, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def perturbed(logits, seed, noise_scale=1.0):
    """logits + g in float64, g the noise that an op of this seed draws."""
    dtype = "float64" if logits.dtype == np.float64 else "float32"
    g = kg.ops.sample_gumbel(logits.shape, dtype=dtype, seed=seed)
    return logits.astype("float64") + noise_scale * np.asarray(g, "float64")


def close(actual, expected, tolerance):
    """To a part of the largest entry, or of 1, the size of what comes in."""
    actual = np.asarray(actual, "float64")
    scale = max(np.abs(expected).max(), 1.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


# ---------------------------------------------------------------------------
# Laws. Each assertion fails by chance at a rate of 1e-6.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.1, 10.0, *slow(1.0)])
def test_hard_is_categorical_whatever_the_temperature(temperature, seed):
    laws.check_categorical(hard_, seed, temperature)


def test_soft_is_categorical_in_its_argmax(seed):
    laws.check_categorical(soft, seed, 1.0)


@pytest.mark.slow
def test_order_of_the_classes_is_no_matter(seed):
    laws.check_categorical(hard_, seed, 1.0, logits=laws.LOGITS[::-1])


@pytest.mark.parametrize(
    ("temperature", "dtype"),
    [(0.1, "float64"), (0.5, "float32"), *slow_rows((10.0, "float32"))],
)
def test_contrasts_are_logistic(temperature, dtype, seed):
    laws.check_logistic_contrast(soft, seed, temperature, dtype=dtype)


@pytest.mark.parametrize("noise_scale", [0.5, 2.0])
def test_noise_scale_is_a_temperature_of_the_law(noise_scale, seed):
    def sampler(logits, temperature, seed):
        return kg.ops.gumbel_softmax(
            logits, temperature, hard=True, noise_scale=noise_scale, seed=seed
        )

    probs = reference.softmax(laws.LOGITS, noise_scale)
    laws.check_categorical(sampler, seed, 1.0, probs=probs)


def test_rare_classes_are_drawn_at_their_rate(seed):
    """Three classes of 1e-5; 252 draws of them expected. 61 % off is seen."""
    n, prob = 2**23, 1e-5
    logits = np.log([prob, 1 - 3 * prob, prob, prob]).astype("float32")
    rows = np.broadcast_to(logits, (n, 4))
    index = to_numpy(kg.ops.sample_argmax_index(rows, hard=True, seed=seed))
    rare = int(np.sum(index != 1))
    assert statistics.binomial_p(rare, n, 3 * prob) > FALSE_FAIL_RATE


@pytest.mark.parametrize("temperature", [0.5, *slow(2.0)])
def test_law_is_that_of_tensorflow_probability(temperature, seed):
    """Coordinate by coordinate: a CDF 0.017 off is seen."""
    tfp = pytest.importorskip("tensorflow_probability")
    n, logits = 200_000, laws.LOGITS[:3]
    law = tfp.distributions.RelaxedOneHotCategorical(temperature, logits)
    theirs = np.asarray(law.sample(n, seed=seed))
    ours = to_numpy(soft(np.broadcast_to(logits, (n, 3)), temperature, seed))
    for k in range(3):
        p = statistics.ks_two_sample_p(ours[:, k], theirs[:, k])
        assert p > FALSE_FAIL_RATE


@pytest.mark.parametrize("generator", [False, True])
def test_rows_and_calls_are_independent(generator, seed):
    """Classes of neighbouring rows, and of one row in two calls."""
    shared = keras.random.SeedGenerator(seed) if generator else None
    rows = np.zeros((10**6, 2), "float32")
    a, b = (
        to_numpy(kg.ops.sample_argmax_index(rows, hard=True, seed=shared))
        for _ in range(2)
    )
    assert statistics.correlation_p(a, b) > FALSE_FAIL_RATE
    assert statistics.correlation_p(a[1:], a[:-1]) > FALSE_FAIL_RATE


# ---------------------------------------------------------------------------
# Values, with the noise known.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "dtype"),
    [
        (-1, "float32"),
        *slow_rows(
            *((0, "float32"), (0, "float64"), (-1, "float64")),
            *((1, "float32"), (1, "float64")),
        ),
    ],
)
@pytest.mark.parametrize("noise_scale", [0.25, 1.0])
def test_value(axis, dtype, noise_scale, seed):
    logits = normal(SHAPE, seed, dtype)
    x = perturbed(logits, seed, noise_scale)
    kwargs = {"axis": axis, "noise_scale": noise_scale, "seed": seed}
    y = kg.ops.gumbel_softmax(logits, TAU, **kwargs)
    close(y, reference.softmax(x, TAU, axis), TOLERANCE[dtype])
    z = kg.ops.gumbel_softmax(logits, TAU, hard=True, **kwargs)
    assert np.array_equal(z, reference.one_hot_argmax(x, axis))
    # The same choice, soft, hard and as an index.
    index = kg.ops.sample_argmax_index(logits, TAU, hard=True, **kwargs)
    assert np.array_equal(index, np.argmax(x, axis))
    assert np.array_equal(np.argmax(y, axis), np.argmax(x, axis))
    number = np.arange(SHAPE[axis]).reshape(
        [-1 if a == axis % 3 else 1 for a in range(3)]
    )
    mean = kg.ops.sample_argmax_index(logits, TAU, **kwargs)
    expected = (reference.softmax(x, TAU, axis) * number).sum(axis)
    close(mean, expected, TOLERANCE["float32"])


def test_cold_limit_is_hard(seed):
    """And the hot one uniform."""
    for number in range(seed, seed + 20):
        logits = normal(SHAPE, number)
        x = np.sort(perturbed(logits, number))
        # Only where the winner is clear in float32, as in all but a few rows.
        clear = x[..., -1] - x[..., -2] > 1e-4
        assert clear.mean() > 0.9
        cold = to_numpy(soft(logits, np.float32(1e-6), number))
        expected = reference.one_hot_argmax(perturbed(logits, number))
        np.testing.assert_array_equal(cold[clear], expected[clear])
        hot = soft(logits, np.float32(1e6), number)
        np.testing.assert_allclose(hot, 0.2, atol=1e-4)


# ---------------------------------------------------------------------------
# Exactness.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise_scale", [0.0, 1.0])
def test_ties_are_exactly_one_hot(dtype, noise_scale):
    """All logits equal; without noise the first class wins."""
    logits = keras.ops.ones((5000, 16), dtype)
    z = kg.ops.gumbel_softmax(logits, hard=True, noise_scale=noise_scale)
    z = to_numpy(keras.ops.cast(z, "float64"))
    assert np.all((z == 0) | (z == 1))
    assert np.all(z.sum(-1) == 1)
    if noise_scale == 0:
        assert np.all(z[:, 0] == 1)


@pytest.mark.parametrize("hard", [True, *slow(False)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_index_is_exact_for_many_classes(hard, dtype):
    """Float16 has no odd number above 2048, bfloat16 none above 256."""
    k = 5000
    chosen = np.array([0, 257, 2049, 4097, 4999])
    logits = 1000 * keras.ops.one_hot(chosen, k, dtype=dtype)
    y = kg.ops.sample_argmax_index(logits, hard=hard)
    assert np.array_equal(y, chosen)


# ---------------------------------------------------------------------------
# Gradients, against closed forms in float64.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [hard_, *slow(soft)])
def test_gradient_passes_the_check_that_planted_bugs_fail(sampler, seed):
    laws.check_soft_gradient(sampler, seed)


def variants(*gate):
    """Of hard, axis and dtype: these in the gate, and all others slow."""
    every = itertools.product((False, True), (0, 1, -1), TOLERANCE)
    return pytest.mark.parametrize(
        ("hard", "axis", "dtype"),
        [*gate, *slow_rows(*(row for row in every if row not in gate))],
    )


@variants((False, 0, "float64"), (True, -1, "float32"))
@pytest.mark.parametrize("temperature", [np.float32(0.125), np.float32(7.0)])
def test_gradient(hard, axis, dtype, temperature, seed):
    """That of the relaxed sample, soft or hard; summing to 0 over classes."""
    logits, upstream = normal((2, *SHAPE), seed, dtype)
    expected, _ = reference.softmax_vjp(
        perturbed(logits, seed), temperature, upstream, axis
    )
    _, gradient = gradients(
        lambda x: kg.ops.gumbel_softmax(
            x, temperature, hard=hard, axis=axis, seed=seed
        ),
        logits,
        upstream=upstream,
    )
    close(gradient, expected, TOLERANCE[dtype])
    tolerance = 100 * EPSILON[dtype] * np.abs(gradient).max()
    np.testing.assert_allclose(gradient.sum(axis), 0, atol=tolerance)


@variants((False, 0, "float64"), (True, -1, "float32"))
def test_gradient_of_the_index(hard, axis, dtype, seed):
    logits = normal(SHAPE, seed, dtype)
    upstream = np.delete(normal(SHAPE, seed + 1), 0, axis).sum(axis)
    number = np.arange(SHAPE[axis]).reshape(
        [-1 if a == axis % 3 else 1 for a in range(3)]
    )
    expected, _ = reference.softmax_vjp(
        perturbed(logits, seed),
        TAU,
        np.expand_dims(upstream, axis) * number,
        axis,
    )
    _, gradient = gradients(
        lambda x: kg.ops.sample_argmax_index(
            x, TAU, hard=hard, axis=axis, seed=seed
        ),
        logits,
        upstream=upstream,
    )
    close(gradient, expected, TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("hard", "index", "shape"),
    [
        (False, False, ()),
        (True, True, (4, 3, 1)),
        *slow_rows(
            *((True, True, ()), (False, False, (4, 3, 1))),
            *(
                (hard, hard, shape)
                for hard in (False, True)
                for shape in [(3, 1), (1,), (4, 1, 1), (1, 3, 1)]
            ),
        ),
    ],
    ids=str,
)
def test_gradient_to_the_temperature(hard, index, shape, seed):
    """Summed over what the temperature is broadcast to."""
    op = kg.ops.sample_argmax_index if index else kg.ops.gumbel_softmax
    logits = normal(SHAPE, seed, "float64")
    upstream = normal(SHAPE, seed + 1)
    temperature = np.exp(0.3 * normal(shape, seed + 2)).astype("float32")
    weights = upstream
    if index:
        upstream = upstream[..., 0]
        weights = upstream[..., None] * np.arange(SHAPE[-1])
    dx, parts = reference.softmax_vjp(
        perturbed(logits, seed), temperature.astype("float64"), weights
    )
    axes = (0, 1, 2)[: 3 - len(shape)] + tuple(
        3 - len(shape) + a for a, size in enumerate(shape) if size == 1
    )
    expected = parts.sum(axes).reshape(shape)
    _, d_logits, d_temperature = gradients(
        lambda x, tau: op(x, tau, hard=hard, seed=seed),
        logits,
        temperature,
        upstream=upstream,
    )
    assert d_temperature.shape == shape
    close(d_temperature, expected, TOLERANCE["float32"])
    close(d_logits, dx, TOLERANCE["float64"])


@pytest.mark.parametrize("shape", [(), *slow((4, 1, 1))], ids=str)
def test_gradient_to_the_temperature_is_a_finite_difference(shape, seed):
    """The temperature is float32, so the step is a wide one."""
    logits, upstream = normal((2, *SHAPE), seed, "float64")
    temperature = np.full(shape, 0.75, "float32")

    def loss(tau):
        y = to_numpy(soft(logits, tensor(tau, "float32"), seed))
        return np.sum(y * upstream, axis=(1, 2))

    step = np.float32(2.0**-10)
    difference = loss(temperature + step) - loss(temperature - step)
    difference /= 2 * step
    _, _, found = gradients(
        lambda x, tau: soft(x, tau, seed),
        logits,
        temperature,
        upstream=upstream,
    )
    expected = difference.sum() if shape == () else difference
    close(found.ravel(), np.ravel(expected), 1e-4)


def masks():
    some = np.random.default_rng(3).random(SHAPE) < 0.6
    return {
        "free": None,
        "full": some,
        "classes": some[0, 0],
        "rows": some[:, :, :1],
        "batch": some[:1],
        "inner": some[:, :1],
        "scalar": np.array(True),
    }


def masked(x, mask):
    return x if mask is None else np.where(mask, x, -np.inf)


MASKS = [
    *((name, -1) for name in masks()),
    *(("full", axis) for axis in (0, 1)),
]
MASKS_IN_GATE = [(False, "full", -1), (True, "rows", -1)]


@pytest.mark.parametrize(
    ("hard", "name", "axis"),
    [
        *MASKS_IN_GATE,
        *slow_rows(
            *(
                (hard, *mask)
                for hard in (False, True)
                for mask in MASKS
                if (hard, *mask) not in MASKS_IN_GATE
            )
        ),
    ],
)
def test_mask(hard, name, axis, seed):
    """Forbidden classes: exactly 0, and no gradient from or to them."""
    mask = masks()[name]
    logits, upstream = normal((2, *SHAPE), seed, "float64")
    x = masked(perturbed(logits, seed), mask)
    if mask is not None:
        upstream = np.where(mask, upstream, np.inf)
    y, gradient = gradients(
        lambda x: kg.ops.gumbel_softmax(
            x, TAU, hard=hard, axis=axis, class_mask=mask, seed=seed
        ),
        logits,
        upstream=upstream,
    )
    value = (
        reference.one_hot_argmax(x, axis)
        if hard
        else reference.softmax(x, TAU, axis)
    )
    close(y, value, 1e-12)
    upstream = np.where(np.isinf(x), 0.0, upstream)
    expected, _ = reference.softmax_vjp(x, TAU, upstream, axis)
    close(gradient, expected, 1e-12)
    assert np.all(y[np.isinf(x)] == 0)
    assert np.all(gradient[np.isinf(x)] == 0)


@pytest.mark.parametrize("hard", [False, *slow(True)])
def test_gradient_through_the_log_of_a_masked_sample(hard, seed):
    """sum(y * log(y)) is NaN at 0 * -inf; where it is not, no NaN spreads."""
    mask = np.array([True, True, False])

    def loss(x):
        y = kg.ops.gumbel_softmax(x, TAU, hard=hard, class_mask=mask, seed=seed)
        return keras.ops.sum(keras.ops.log(y[:, 2] + 0.0)) + y[:, 0]

    logits = normal((4, 3), seed)
    _, gradient = gradients(loss, logits)
    assert np.all(np.isfinite(gradient))
    assert np.all(gradient[:, 2] == 0)
    assert np.any(gradient[:, 0] != 0)


def with_fully_masked_rows(by_mask, dtype, seed):
    """Logits and mask; nothing is allowed in the first row of three."""
    mask = np.array([[False] * 3, [True] * 3, [True, False, True]])
    logits = keras.ops.cast(normal((3, 3), seed), dtype)
    if by_mask:
        return logits, mask
    return keras.ops.where(mask, logits, float("-inf")), None


EMPTY_ROWS = [
    (op, hard, by_mask, dtype)
    for op in (kg.ops.gumbel_softmax, kg.ops.sample_argmax_index)
    for hard in (False, True)
    for by_mask, dtype in (
        *((False, "float16"), (False, "float64")),
        *((True, "bfloat16"), (True, "float32")),
    )
]
EMPTY_ROWS_IN_GATE = [
    (kg.ops.gumbel_softmax, False, True, "float32"),
    (kg.ops.sample_argmax_index, True, False, "float16"),
]


@pytest.mark.parametrize(
    ("op", "hard", "by_mask", "dtype"),
    [
        *EMPTY_ROWS_IN_GATE,
        *slow_rows(*(x for x in EMPTY_ROWS if x not in EMPTY_ROWS_IN_GATE)),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_fully_masked_row(op, hard, by_mask, dtype, seed):
    """All zeros, index 0, zero gradients, and never NaN."""
    logits, mask = with_fully_masked_rows(by_mask, dtype, seed)

    def curved(x):
        """Of a slope that is nowhere 0, nor the same for all classes."""
        y = op(x, TAU, hard=hard, class_mask=mask, seed=seed)
        return y + y**2

    y, gradient = gradients(curved, logits)
    assert np.all(y[0] == 0)
    assert np.all(gradient[0] == 0)
    assert np.all(np.isfinite(y.astype("float64")))
    assert np.all(np.isfinite(gradient.astype("float64")))
    assert np.any(gradient[1] != 0)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("hard", "by_mask"),
    [(False, False), *slow_rows((True, False), (False, True), (True, True))],
)
def test_fully_masked_row_to_second_order(hard, by_mask, seed):
    """To the temperature too, where it is a tensor."""
    logits, mask = with_fully_masked_rows(by_mask, "float32", seed)
    temperature = tensor(TAU)
    weights = tf.constant([1.0, -2.0, 3.0])
    with tf.GradientTape() as outer:
        outer.watch([logits, temperature])
        with tf.GradientTape() as inner:
            inner.watch([logits, temperature])
            y = kg.ops.gumbel_softmax(
                logits, temperature, hard=hard, class_mask=mask, seed=seed
            )
        first = inner.gradient(y, [logits, temperature], weights[None] + y * 0)
        again = tf.reduce_sum(first[0] * weights[::-1]) + first[1]
    second = outer.gradient(again, [logits, temperature])
    for gradient in (first[0], second[0]):
        assert np.all(gradient[0] == 0)
        assert np.any(gradient[1] != 0)
    for one in (*first, *second):
        assert np.all(np.isfinite(one))


# ---------------------------------------------------------------------------
# Higher derivatives, and other ways to take them.
# ---------------------------------------------------------------------------


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("hard", "index"),
    [
        pytest.param(False, False, id="soft vector"),
        pytest.param(True, True, id="hard index", marks=pytest.mark.slow),
    ],
)
def test_second_derivatives_are_finite_differences(hard, index, seed):
    """Of the first, to logits and temperature alike; some classes masked."""
    op = kg.ops.sample_argmax_index if index else kg.ops.gumbel_softmax
    mask = masks()["full"]
    logits, direction = normal((2, *SHAPE), seed, "float64")
    temperature = np.array(0.75, "float32")
    upstream = normal(SHAPE[:-1] if index else SHAPE, seed + 3, "float64")

    def first(x, tau):
        with tf.GradientTape() as tape:
            tape.watch([x, tau])
            y = op(x, tau, hard=hard, class_mask=mask, seed=seed)
            loss = tf.reduce_sum(tf.cast(y, "float64") * upstream)
        return tape.gradient(loss, [x, tau])

    def scalar(x, tau):
        dx, dtau = first(tf.constant(x), tf.constant(tau))
        return tf.reduce_sum(dx * direction) + tf.cast(dtau, "float64")

    x, tau = tf.constant(logits), tf.constant(temperature)
    with tf.GradientTape() as tape:
        tape.watch([x, tau])
        dx, dtau = first(x, tau)
        loss = tf.reduce_sum(dx * direction) + tf.cast(dtau, "float64")
    to_logits, to_temperature = tape.gradient(loss, [x, tau])

    # What goes through the float32 temperature has but 7 digits: the
    # differences of its part are taken with wide steps.
    step = 2.0**-7
    for place in [(0, 0, 0), (1, 2, 3), (3, 1, 4)]:
        nudge = np.zeros(SHAPE)
        nudge[place] = step
        rise = scalar(logits + nudge, temperature)
        fall = scalar(logits - nudge, temperature)
        difference = float(rise - fall) / (2 * step)
        assert float(to_logits[place]) == pytest.approx(
            difference, rel=1e-3, abs=1e-3
        )
    step = np.float32(2.0**-8)
    rise = scalar(logits, temperature + step)
    fall = scalar(logits, temperature - step)
    difference = float(rise - fall) / (2 * float(step))
    assert float(to_temperature) == pytest.approx(
        difference, rel=1e-3, abs=1e-3
    )


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("hard", "pfor"), [(False, True), *slow_rows((True, False))]
)
def test_batch_jacobian(hard, pfor, seed):
    logits = normal((6, 5), seed, "float64")
    x = tf.constant(logits)
    with tf.GradientTape(persistent=not pfor) as tape:
        tape.watch(x)
        y = (hard_ if hard else soft)(x, TAU, seed)
    jacobian = tape.batch_jacobian(y, x, experimental_use_pfor=pfor)
    expected = reference.softmax_jacobian(perturbed(logits, seed), TAU)
    close(jacobian, expected, 1e-12)


@pytest.mark.tensorflow
@pytest.mark.slow
@HARD
def test_forward_mode(hard, seed):
    logits, tangent = normal((2, 6, 5), seed, "float64")
    x = tf.constant(logits)
    with tf.autodiff.ForwardAccumulator(x, tf.constant(tangent)) as forward:
        y = (hard_ if hard else soft)(x, TAU, seed)
    jacobian = reference.softmax_jacobian(perturbed(logits, seed), TAU)
    expected = np.einsum("bij,bj->bi", jacobian, tangent)
    close(forward.jvp(y), expected, 1e-12)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_hessian_vector_product_of_a_network(seed):
    """Forward over reverse and reverse over reverse agree."""
    logits, tangent = normal((2, 6, 5), seed, "float64")
    x, v = tf.constant(logits), tf.constant(tangent)

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(soft(x, TAU, seed)[:, 0] ** 3)
        return tape.gradient(loss, x)

    with tf.autodiff.ForwardAccumulator(x, v) as forward:
        gradient = slope(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        product = tf.reduce_sum(slope(x) * v)
    close(forward.jvp(gradient), tape.gradient(product, x).numpy(), 1e-12)


# ---------------------------------------------------------------------------
# Edges.
# ---------------------------------------------------------------------------


@HARD
def test_nan_logits_give_nan_rows(hard, seed):
    logits = normal((4, 5), seed)
    clean = to_numpy((hard_ if hard else soft)(logits, TAU, seed))
    logits[1, 2] = np.nan
    y, gradient, _ = gradients(
        lambda x, tau: (hard_ if hard else soft)(x, tau, seed), logits, TAU
    )
    assert np.all(np.isnan(y[1]))
    assert np.all(np.isnan(gradient[1]))
    np.testing.assert_allclose(y[[0, 2]], clean[[0, 2]], rtol=0, atol=APART)
    assert np.all(np.isfinite(gradient[[0, 2]]))


@pytest.mark.parametrize("hard", [False, *slow(True)])
@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        ("float32", 3e38),
        *slow_rows(
            *(("float16", 65504.0), ("bfloat16", 3e38), ("float64", 1.7e308))
        ),
    ],
)
@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_extreme_logits_are_finite(hard, dtype, size, temperature, seed):
    signs = np.array([[1, -1, 0], [-1, -1, 0], [1, 1, 1], [-1, -1, -1]])
    logits = tensor(signs * size, dtype)
    y, gradient, d_temperature = gradients(
        lambda x, tau: (hard_ if hard else soft)(x, tau, seed),
        logits,
        np.array(temperature, "float32"),
        upstream=normal((4, 3), seed),
    )
    for found in (y, gradient, d_temperature):
        assert np.all(np.isfinite(found.astype("float64")))
    if hard or dtype != "float16":
        # Too far apart for the noise, and for this temperature too.
        assert np.array_equal(y[0].astype("float64"), [1, 0, 0])
        assert np.array_equal(y[1].astype("float64"), [0, 0, 1])
    np.testing.assert_allclose(y.astype("float64").sum(-1), 1, atol=1e-2)


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["value", "gradient"])
def test_temperature_known_too_late_shows(kind, seed):
    """Where it cannot be raised, a temperature that is wrong gives NaN."""
    logits = tf.constant(normal((4, 5), seed))

    @tf.function(autograph=False)
    def run(tau):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = (soft if kind == "value" else hard_)(logits, tau, seed)
        return y if kind == "value" else tape.gradient(y, logits)

    assert np.all(np.isfinite(run(tf.constant(TAU))))
    for temperature in (0.0, -1.0, np.nan):
        assert np.all(np.isnan(run(tf.constant(temperature))))


@pytest.mark.parametrize(
    ("op", "hard", "shapes"),
    [
        (kg.ops.gumbel_softmax, True, [(), (3, 1)]),
        *slow_rows(
            *(
                (op, hard, [(), (3, 1), (2, 3, 1)])
                for op in (kg.ops.gumbel_softmax, kg.ops.sample_argmax_index)
                for hard in (False, True)
            )
        ),
    ],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_ranks_follow_each_other(op, hard, shapes, seed):
    """Temperatures and masks of other ranks than those of the call before."""
    logits = normal((2, 3, 4), seed)
    for order in (shapes, shapes[::-1]):
        for shape in order:
            tau = np.full(shape, TAU, "float32")
            mask = np.ones(shape, "bool")
            y = op(logits, tau, hard=hard, class_mask=mask, seed=seed)
            expected = op(logits, TAU, hard=hard, seed=seed)
            np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("hard", "fill"),
    [
        (True, 1e30),
        *slow_rows(*((False, 1e30), (False, 0.0), (True, 0.0), (False, -5.0))),
    ],
)
def test_one_class_is_certain(hard, fill, seed):
    y, gradient = gradients(
        lambda x: (hard_ if hard else soft)(x, TAU, seed),
        np.full((4, 1), fill, "float32"),
    )
    assert np.all(y == 1)
    assert np.all(gradient == 0)
    index = kg.ops.sample_argmax_index(np.full((4, 1), fill), hard=hard)
    assert np.all(to_numpy(index) == 0)


@pytest.mark.parametrize("hard", [False, *slow(True)])
@pytest.mark.parametrize("shape", [(0, 5), *slow((0, 3, 5), (3, 0, 5))])
def test_empty_batch(hard, shape, seed):
    logits = np.zeros(shape, "float32")
    y, gradient, slope = gradients(
        lambda x, tau: (hard_ if hard else soft)(x, tau, seed), logits, TAU
    )
    assert y.shape == gradient.shape == shape
    # And no gradient to a temperature that nothing was drawn at.
    assert slope == 0
    index = kg.ops.sample_argmax_index(logits, hard=hard, seed=seed)
    assert index.shape == shape[:-1]


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("hard", "index", "signature", "axis"),
    [
        *slow_rows(
            (False, False, (None, None, None), 1),
            (True, False, (None, None, None), 1),
            (True, True, (None, None, 5), -1),
            (False, True, (None, None, 5), -1),
        ),
    ],
    ids=str,
)
def test_unknown_dimensions(hard, index, signature, axis, seed):
    """One trace for all sizes, and the values of the known ones."""
    op = kg.ops.sample_argmax_index if index else kg.ops.gumbel_softmax
    spec = tf.TensorSpec(signature, "float32")

    @tf.function(input_signature=[spec], autograph=False)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = op(x, TAU, hard=hard, axis=axis, seed=seed)
            loss = tf.reduce_sum(y**2)
        return y, tape.gradient(loss, x)

    for shape in [(2, 3, 5), (4, 1, 5)]:
        logits = normal(shape, seed)
        y, gradient = run(logits)
        x = perturbed(logits, seed)
        value = (reference.one_hot_argmax if hard else reference.softmax)(
            x, **({} if hard else {"temperature": TAU}), axis=axis
        )
        number = np.arange(shape[axis]).reshape((-1, 1) if axis == 1 else -1)
        upstream = 2 * value
        if index:
            value = (value * number).sum(axis)
            upstream = 2 * np.expand_dims(value, axis) * number
        close(y, value, 1e-5)
        expected, _ = reference.softmax_vjp(x, TAU, upstream, axis)
        np.testing.assert_allclose(gradient, expected, atol=1e-4)


@pytest.mark.parametrize("hard", [False, *slow(True)])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((4, 1, 5), 1),
        *slow_rows(((4, 1, 1), -1), ((1, 3, 1), -1), ((3, 1), -1)),
    ],
    ids=str,
)
def test_a_temperature_for_each_example(hard, shape, axis, seed):
    """Each row is that of a call with its temperature for all."""
    logits = normal(SHAPE, seed)
    upstream = normal(SHAPE, seed + 1)
    temperatures = np.linspace(0.2, 3, int(np.prod(shape)))
    temperatures = temperatures.reshape(shape).astype("float32")
    kwargs = {"hard": hard, "axis": axis, "seed": seed}
    both = gradients(
        lambda x: kg.ops.gumbel_softmax(x, temperatures, **kwargs),
        logits,
        upstream=upstream,
    )
    rows = np.broadcast_to(temperatures, SHAPE)
    for temperature in np.unique(temperatures):
        alone = gradients(
            lambda x, tau=temperature: kg.ops.gumbel_softmax(x, tau, **kwargs),
            logits,
            upstream=upstream,
        )
        here = rows == temperature
        for mine, whole in zip(both, alone, strict=True):
            np.testing.assert_allclose(
                mine[here], whole[here], rtol=1e-6, atol=2e-7
            )


@pytest.mark.tensorflow
def test_kinds_of_logits(seed):
    logits = [[0.5, 1.0, -2.0]]
    expected = soft(np.float32(logits), TAU, seed)
    for kind in (list, np.array, tf.constant, tf.Variable, keras.Variable):
        y = soft(kind(logits), TAU, seed)
        np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_global_seed_decides_the_noise_of_no_seed(seed):
    logits = np.zeros((100, 5), "float32")
    keras.utils.set_random_seed(seed)
    first, second = (to_numpy(kg.ops.gumbel_softmax(logits)) for _ in range(2))
    restart(seed)
    assert np.array_equal(first, kg.ops.gumbel_softmax(logits))
    assert not np.any(first == second)
