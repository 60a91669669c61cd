"""`gumbel_top_k`: law, values, gradients, edges.

Without noise the perturbed logits are the logits, so that values and gradients
are known at any input; with it they are `sample_gumbel` of the same seed away.
"""

import functools
import itertools

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel.numerics import logarithms, top_k
from tests import reference, statistics
from tests.frameworks import tf
from tests.harness import gradients, tensor, to_numpy
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

# Of a dtype, so that all tests share the programs with a gradient to it.
TAU = np.float32(0.75)
SHAPE = (4, 3, 5)


def normal(shape, seed, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def noise_of(shape, seed):
    """The noise of a float64 draw, from the bits themselves."""
    t = reference.uniform(seed, 0, int(np.prod(shape)))
    return reference.gumbel(t).reshape(shape)


def quiet(x, k, temperature, hard=False, **kwargs):
    """The k-hot of known perturbed logits."""
    return kg.ops.gumbel_top_k(
        x, k, temperature, hard=hard, noise_scale=0.0, **kwargs
    )[0]


def autodiff(x, temperature, k, upstream):
    """The same by the framework's own rules, of the formula in float64."""

    def relaxed(w, tau):
        total = 0.0
        diagonal = tensor(np.where(np.eye(w.shape[-1]), -np.inf, 0.0))
        for _ in range(k):
            log_a = keras.ops.log_softmax(w / tau)
            total = total + keras.ops.exp(log_a)
            others = log_a[..., None, :] + diagonal
            w = w + keras.ops.logsumexp(others, -1)
        return total

    x, temperature = (np.asarray(z, "float64") for z in (x, temperature))
    return gradients(relaxed, x, temperature, upstream=upstream)


def close(actual, expected, tolerance):
    """To a part of the largest entry, or of 1, the size of what comes in."""
    scale = max(np.abs(expected).max(), 1.0)
    np.testing.assert_allclose(
        np.asarray(actual, "float64"),
        expected,
        rtol=0,
        atol=tolerance * scale,
    )


# ---------------------------------------------------------------------------
# The law of hard samples.
# ---------------------------------------------------------------------------

LOGITS = np.array([0.5, 1.5, -1.0, 0.0], "float32")


def plackett_luce(logits, k):
    """The probability of each ordered tuple of k different classes."""
    probs = reference.softmax(logits, 1.0)
    law = {}
    for chosen in itertools.permutations(range(logits.size), k):
        left = 1 - np.cumsum([0.0, *probs[list(chosen)]])[:-1]
        law[chosen] = np.prod(probs[list(chosen)] / left)
    return law


def check_law(sampler, k, seed, n):
    """Of the ordered tuples, of each class, and of neighbouring rows.

    Detected with n = 1e6 and 24 tuples: a move of 0.6 % of the mass between
    halves of the tuples.
    """
    law = plackett_luce(LOGITS, k)
    k_hot, indices = sampler(np.tile(LOGITS, (n, 1)), k, seed)
    k_hot, indices = np.asarray(k_hot), np.asarray(indices)
    # The k-hot is of these very classes. No chance involved.
    assert np.array_equal(np.isin(k_hot, (0, 1)).all(-1), np.ones(n, bool))
    assert np.all(k_hot.sum(-1) == k), "not k classes"
    assert np.all(np.take_along_axis(k_hot, indices, -1) == 1), "others"
    place = 4 ** np.arange(k)
    codes = indices @ place
    number = {int(np.dot(t, place)): i for i, t in enumerate(law)}
    tuples = np.vectorize(lambda code: number.get(code, -1))(np.arange(4**k))
    drawn = tuples[codes]
    assert np.all(drawn >= 0), "a class twice"
    probs = np.array(list(law.values()))
    counts = np.bincount(drawn, minlength=len(law))
    assert statistics.chi_squared_p(counts, probs) > FALSE_FAIL_RATE
    for klass in range(4):
        inclusion = sum(p for t, p in law.items() if klass in t)
        count = int(k_hot[:, klass].sum())
        assert statistics.binomial_p(count, n, inclusion) > FALSE_FAIL_RATE
    pairs = np.bincount(
        drawn[0::2] * len(law) + drawn[1::2], minlength=len(law) ** 2
    )
    p = statistics.chi_squared_p(pairs, np.outer(probs, probs))
    assert p > FALSE_FAIL_RATE, "one row tells of the next"


@pytest.mark.parametrize(("k", "temperature"), [(2, 0.1), (3, 10.0)])
def test_hard_is_sampling_without_replacement(k, temperature, seed):
    """Whatever the temperature."""

    def sampler(logits, k, seed):
        return kg.ops.gumbel_top_k(logits, k, temperature, hard=True, seed=seed)

    check_law(sampler, k, seed, n=10**6)


def in_numpy(
    logits, k, seed, *, scale=1.0, rows=None, again=False, order=slice(None)
):
    """A right sampler, and with other settings a wrong one."""
    rng = np.random.default_rng(seed)

    def indices():
        shape = (len(logits) if rows is None else rows, 4)
        noise = rng.gumbel(size=shape).repeat(len(logits) // shape[0], 0)
        return np.argsort(-(logits / scale + noise))[:, :k]

    chosen, shown = (indices(), None)
    shown = indices() if again else chosen
    k_hot = np.zeros(logits.shape)
    np.put_along_axis(k_hot, shown, 1.0, -1)
    return k_hot, chosen[:, order]


def with_replacement(logits, k, seed):
    rng = np.random.default_rng(seed)
    chosen = np.stack(
        [
            np.argmax(logits + rng.gumbel(size=logits.shape), -1)
            for _ in range(k)
        ],
        -1,
    )
    k_hot = np.zeros(logits.shape)
    np.put_along_axis(k_hot, chosen, 1.0, -1)
    return k_hot, chosen


def in_order_of_number(logits, k, seed):
    k_hot, chosen = in_numpy(logits, k, seed)
    return k_hot, np.sort(chosen)


BUGS = {
    "with replacement": with_replacement,
    "not in order": in_order_of_number,
    "the last first": lambda *a: in_numpy(*a, order=slice(None, None, -1)),
    "one noise for two rows": lambda *a: in_numpy(*a, rows=len(a[0]) // 2),
    "noise drawn twice": lambda *a: in_numpy(*a, again=True),
    "a temperature in the law": lambda *a: in_numpy(*a, scale=0.9),
}


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_planted_bug_fails(bug, seed):
    if bug is None:
        check_law(in_numpy, 2, seed, n=100_000)
        return
    with pytest.raises(AssertionError):
        check_law(BUGS[bug], 2, seed, n=100_000)


# ---------------------------------------------------------------------------
# Values and gradients, with the noise known.
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(("hard", "axis"), [(True, 1), *slow_rows((False, 0))])
def test_value_and_gradient(hard, axis, seed):
    """Along each axis, by noise from the same bits, in float64."""
    k, scale = 2, 0.5
    logits, upstream = normal((2, *SHAPE), seed, "float64")
    x = np.moveaxis(logits + scale * noise_of(SHAPE, seed), axis, -1)
    kwargs = {"hard": hard, "axis": axis, "noise_scale": scale, "seed": seed}
    y, gradient = gradients(
        lambda x: kg.ops.gumbel_top_k(x, k, TAU, **kwargs)[0],
        logits,
        upstream=upstream,
    )
    _, indices = kg.ops.gumbel_top_k(logits, k, TAU, **kwargs)
    order = np.argsort(-x)[..., :k]
    expected = reference.successive_softmaxes(x, TAU, k)
    if hard:
        expected = np.zeros(x.shape)
        np.put_along_axis(expected, order, 1.0, -1)
    y, indices = to_numpy(y), to_numpy(indices)
    close(np.moveaxis(y, axis, -1), expected, 0 if hard else 1e-12)
    assert indices.dtype == "int32"
    np.testing.assert_array_equal(np.moveaxis(indices, axis, -1), order)
    _, expected, _ = autodiff(x, TAU, k, np.moveaxis(upstream, axis, -1))
    close(np.moveaxis(to_numpy(gradient), axis, -1), expected, 1e-12)


@pytest.mark.parametrize(
    ("k", "dtype"),
    [
        (3, "float64"),
        *slow_rows((1, "float64"), (6, "float64"), (3, "float32")),
    ],
)
def test_gradient_to_logits_and_temperature(k, dtype, seed):
    """From cold to hot, against autodiff in float64; k = 6 is all of them."""
    x, upstream = normal((2, 7, 6), seed, dtype)
    # In float32 the cold ones are as far off as the logits are rounded.
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
    for tau in (0.1, 0.5, 1.0, 3.0, 100.0):
        tau = np.array(tau, dtype)
        found = gradients(
            lambda x, tau: quiet(x, k, tau), x, tau, upstream=upstream
        )
        for mine, right in zip(
            found, autodiff(x, tau, k, upstream), strict=True
        ):
            close(mine, right, tolerance / min(float(tau) ** 2, 1))


@pytest.mark.parametrize("hard", slow(False, True))
def test_a_temperature_for_each_example(hard, seed):
    """Of a hard sample the gradients are those of the soft one."""
    x, upstream = normal((2, *SHAPE), seed, "float64")
    tau = np.exp(normal((4, 1, 1), seed + 1, "float64"))
    y, *found = gradients(
        lambda x, tau: quiet(x, 3, tau, hard=hard), x, tau, upstream=upstream
    )
    soft, d_x, parts = autodiff(x, tau, 3, upstream)
    if hard:
        assert np.all(y.sum(-1) == 3)
    else:
        close(y, soft, 1e-12)
    for mine, expected in zip(found, (d_x, parts), strict=True):
        close(mine, expected, 1e-12)


@pytest.mark.tensorflow
def test_gradient_is_a_finite_difference(seed):
    """Of the value itself, and no formula of the test's."""
    x, upstream = normal((2, 7, 6), seed, "float64")
    tau = np.array(TAU, "float64")

    def loss(x, tau):
        return np.sum(to_numpy(quiet(x, 3, tensor(tau))) * upstream)

    _, gradient, d_tau = gradients(
        lambda x, tau: quiet(x, 3, tau), x, tau, upstream=upstream
    )
    step = 1e-6
    for i, j in itertools.product(range(7), range(6)):
        move = np.zeros(x.shape)
        move[i, j] = step
        slope = (loss(x + move, tau) - loss(x - move, tau)) / (2 * step)
        assert gradient[i, j] == pytest.approx(slope, abs=1e-8)
    slope = (loss(x, tau + step) - loss(x, tau - step)) / (2 * step)
    assert d_tau == pytest.approx(slope, abs=1e-7)


@pytest.mark.slow
def test_one_of_all_is_gumbel_softmax(seed):
    logits, upstream = normal((2, *SHAPE), seed)
    arguments = logits, np.array(TAU, "float32")
    found, expected = (
        gradients(function, *arguments, upstream=upstream)
        for function in (
            lambda x, tau: kg.ops.gumbel_top_k(x, 1, tau, seed=seed)[0],
            lambda x, tau: kg.ops.gumbel_softmax(x, tau, seed=seed),
        )
    )
    for mine, right in zip(found, expected, strict=True):
        close(mine, right, 2e-6)
    y, indices = kg.ops.gumbel_top_k(logits, 1, hard=True, seed=seed)
    z = kg.ops.gumbel_softmax(logits, hard=True, seed=seed)
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(indices[..., 0], np.argmax(z, -1))


@pytest.mark.slow
def test_all_of_them(seed):
    logits = normal((50, 6), seed)
    y, indices = kg.ops.gumbel_top_k(logits, 6, TAU, hard=True, seed=seed)
    np.testing.assert_array_equal(y, 1)
    assert np.all(np.sort(indices) == np.arange(6))
    soft, again = kg.ops.gumbel_top_k(logits, 6, TAU, seed=seed)
    np.testing.assert_array_equal(again, indices)
    np.testing.assert_allclose(np.sum(to_numpy(soft), -1), 6, rtol=1e-6)
    # Which is not all ones.
    assert np.max(to_numpy(soft)) > 1.05


@pytest.mark.slow
@pytest.mark.parametrize(("n", "k"), [(37, 5), *slow_rows((128, 20))])
def test_many_classes(n, k, seed):
    """By runs of them, and not."""
    logits, upstream = normal((2, 6, n), seed)
    noise = to_numpy(kg.ops.sample_gumbel((6, n), seed=seed))
    x = logits.astype("float64") + noise
    y, gradient = gradients(
        lambda x: kg.ops.gumbel_top_k(x, k, TAU, seed=seed)[0],
        logits,
        upstream=upstream,
    )
    _, indices = kg.ops.gumbel_top_k(logits, k, TAU, seed=seed)
    np.testing.assert_array_equal(indices, np.argsort(-x)[:, :k])
    value, expected, _ = autodiff(x, TAU, k, upstream)
    close(y, value, 5e-6)
    close(gradient, expected, 2e-5)
    np.testing.assert_allclose(y.sum(-1), k, rtol=1e-6)


# ---------------------------------------------------------------------------
# The ends: cold, hot, far apart, tied.
# ---------------------------------------------------------------------------


@pytest.mark.slow
def test_cold_limit_is_hard(seed):
    logits = normal((1000, 6), seed)
    x = logits + to_numpy(kg.ops.sample_gumbel((1000, 6), seed=seed))
    # Only where it is clear in float32 who comes where.
    clear = np.diff(np.sort(x)).min(-1) > 1e-3
    assert clear.mean() > 0.9
    hard, _ = kg.ops.gumbel_top_k(logits, 3, hard=True, seed=seed)
    for temperature in (1e-6, 1e-5):
        cold, _ = kg.ops.gumbel_top_k(logits, 3, temperature, seed=seed)
        assert np.array_equal(cold[clear], hard[clear])


@pytest.mark.slow
def test_hot_limit_is_uniform(seed):
    y, _ = kg.ops.gumbel_top_k(normal((1000, 6), seed), 3, 1e6, seed=seed)
    np.testing.assert_allclose(y, 0.5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30, 1e38])
def test_no_temperature_and_no_gap_is_too_much(scale, seed):
    """Value and gradients finite, in every combination."""
    x, upstream = normal((2, 7, 6), seed)
    x = np.clip(x, -3, 3) * np.float32(scale)
    for tau in (1e-6, 1e-3, 1.0, 1e3, 1e6):
        y, *found = gradients(
            lambda x, tau: quiet(x, 3, tau),
            x,
            np.array(tau, "float32"),
            upstream=upstream,
        )
        np.testing.assert_allclose(y.sum(-1), 3, rtol=1e-6)
        assert np.all(y >= 0)
        assert all(np.all(np.isfinite(gradient)) for gradient in found)


@pytest.mark.parametrize(
    ("row", "tau"),
    [
        # What a class leaves, 1 - a, is 1e-87 and less.
        ([200.0, 0.0, -1.0], 1.0),
        ([200.0, 0.0, -1.0], 1.01),
        ([900.0, 0.0, 0.0], 2.0),
        ([900.0, 0.0, 0.3], 0.98),
        ([3.0, 2.9, 2.8], 0.01),
        ([1000.0, 999.0, 0.0], 1.5),
        # And ties, where nothing is near 1.
        ([2.0, 2.0, 0.0], 0.02),
        ([2.0, 2.0, 2.0], 1.0),
        ([0.0, 0.0, -1.0], 1.0),
    ],
    ids=str,
)
def test_a_class_far_above_the_others(row, tau, seed):
    """Its share is left by what the others are, however little that is."""
    upstream = normal((1, 3), seed)
    x = np.array([row], "float32")
    tau = np.array(tau, "float32")
    found = gradients(
        lambda x, tau: quiet(x, 2, tau), x, tau, upstream=upstream
    )
    right = autodiff(x, tau, 2, upstream)
    for mine, expected in zip(found, right, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5)


def test_a_class_may_count_twice():
    for gap, tau, right in ((200.0, 1.0, [1.5, 0.5]), (900.0, 2.0, [2, 0])):
        y = quiet([[gap, 0.0, -99.0]], 2, np.float32(tau))
        np.testing.assert_allclose(y, [[*right, 0]], atol=1e-6)


def test_of_ties_the_first_classes():
    """And zeros are zeros, of either sign."""
    x = [[1.0, 2.0, 2.0, 2.0, 0.0], [0.0, -0.0, 0.0, -0.0, 0.0]]
    for dtype in ("float32", "float64"):
        y, indices = kg.ops.gumbel_top_k(
            tensor(x, dtype), 2, hard=True, noise_scale=0.0
        )
        assert to_numpy(indices).tolist() == [[1, 2], [0, 1]]
        assert to_numpy(y).tolist() == [[0, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
        layer = kg.GumbelTopK(2, hard=True, dtype=dtype)
        assert np.array_equal(layer(tensor(x, dtype)), y)


# ---------------------------------------------------------------------------
# Forbidden classes, and what is not a number.
# ---------------------------------------------------------------------------

MASK = np.array(
    [
        [True, True, False, True, True],
        [False, True, True, True, False],
        [False, True, False, True, False],
        [False, False, False, True, False],
        [False, False, False, False, False],
    ]
)


@functools.cache
def three_of_the_allowed():
    """A function whose mask and temperature are known only when it runs."""

    @tf.function(autograph=False)
    def run(x, mask, tau, upstream):
        results = []
        for hard in (False, True):
            with tf.GradientTape() as tape:
                tape.watch([x, tau])
                y, indices = kg.ops.gumbel_top_k(
                    x, 3, tau, hard=hard, class_mask=mask, noise_scale=0.0
                )
            slopes = tape.gradient(y, [x, tau], output_gradients=upstream)
            results.append((y, indices, *slopes))
        return results

    def call(x, upstream, mask=True, tau=TAU):
        results = run(
            tf.constant(x, "float32"),
            tf.broadcast_to(mask, (5, 5)),
            tf.constant(tau),
            tf.constant(upstream, "float32"),
        )
        return [[found.numpy() for found in result] for result in results]

    return call


@pytest.mark.tensorflow
@pytest.mark.slow
def test_rows_that_allow_few(seed):
    """All of these, and -1; the relaxed ones of as many."""
    x, upstream = normal((2, 5, 5), seed)
    upstream = np.where(MASK, upstream, np.inf)
    (soft, order, slope, d_tau), (hard, again, *same) = three_of_the_allowed()(
        x, upstream, MASK
    )
    np.testing.assert_array_equal(order, again)
    np.testing.assert_allclose(slope, same[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d_tau, same[1], rtol=1e-5)
    parts = 0.0
    for row, mask in enumerate(MASK):
        k = min(3, mask.sum())
        chosen = np.argsort(-np.where(mask, x[row], -np.inf))[:k]
        assert order[row].tolist() == [*chosen, *[-1] * (3 - k)]
        assert np.flatnonzero(hard[row]).tolist() == sorted(chosen)
        assert np.all(soft[row][~mask] == 0)
        assert np.all(slope[row][~mask] == 0)
        if k:
            value, expected, part = autodiff(
                x[row][mask], TAU, k, upstream[row][mask]
            )
            close(soft[row][mask], value, 2e-6)
            close(slope[row][mask], expected, 5e-6)
            parts += part
    assert d_tau == pytest.approx(parts, abs=1e-5)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_minus_infinity_forbids(seed):
    """The same as the mask, and never an error."""
    x, upstream = normal((2, 5, 5), seed)
    masked = three_of_the_allowed()(x, upstream, MASK)
    x = np.where(MASK, x, -np.inf)
    for kind in zip(masked, three_of_the_allowed()(x, upstream), strict=True):
        for by_mask, by_logits in zip(*kind, strict=True):
            np.testing.assert_array_equal(by_logits, by_mask)


def test_the_only_class_there_is():
    """Forbidden or not."""
    y, gradient = gradients(
        lambda x: quiet(x, 1, TAU),
        np.array([[1.0], [-np.inf]], "float32"),
        upstream=np.array([[2.0], [np.inf]]),
    )
    assert y.tolist() == [[1.0], [0.0]]
    assert gradient.tolist() == [[0.0], [0.0]]


@pytest.mark.tensorflow
def test_what_is_not_a_number_shows_in_its_row(seed):
    x, upstream = normal((2, 5, 5), seed)
    x[0, 2], x[1, 1], x[2] = np.nan, np.inf, -np.inf
    for y, indices, gradient, d_tau in three_of_the_allowed()(x, upstream):
        assert np.all(np.isnan(y[:2]))
        assert np.all(np.isnan(gradient[:2]))
        assert np.isnan(d_tau)
        assert np.all(indices[:3] == -1)
        assert np.all(y[2] == 0)
        assert np.all(gradient[2] == 0)
        np.testing.assert_allclose(y[3:].sum(-1), 3, rtol=1e-6)
        assert np.all(np.isfinite(gradient[3:]))
        assert np.all(indices[3:] >= 0)


@pytest.mark.tensorflow
@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_that_is_not_positive_shows(temperature, seed):
    """Where it is known only when the program runs."""
    x, upstream = normal((2, 5, 5), seed)
    soft, hard = three_of_the_allowed()(x, upstream, tau=temperature)
    assert np.all(np.isnan(soft[0]))
    assert np.all(np.sum(hard[0], -1) == 3)
    for _, indices, *slopes in (soft, hard):
        assert np.all(indices >= 0)
        assert all(np.all(np.isnan(slope)) for slope in slopes)


# ---------------------------------------------------------------------------
# Programs: shapes, modes, what is compiled.
# ---------------------------------------------------------------------------


@pytest.mark.tensorflow
@pytest.mark.slow
def test_unknown_dimensions_and_modes(seed):
    """One trace for all sizes, and under XLA; indices among the results."""

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, indices = kg.ops.gumbel_top_k(x, 2, TAU, axis=1, seed=seed)
            loss = tf.reduce_sum(y**2)
        return y, indices, tape.gradient(loss, x)

    free = tf.function(run, input_signature=[tf.TensorSpec((None,) * 3)])
    compiled = tf.function(run, jit_compile=True)
    x = tf.constant(normal(SHAPE, seed))
    expected = run(x)
    for mode in (free, compiled):
        y, indices, gradient = mode(x)
        np.testing.assert_array_equal(indices, expected[1])
        np.testing.assert_allclose(y, expected[0], atol=5e-6)
        np.testing.assert_allclose(gradient, expected[2], atol=2e-5)
    y, indices, gradient = free(normal((2, 6, 1), seed))
    assert indices.shape == (2, 2, 1)
    np.testing.assert_allclose(tf.reduce_sum(y, 1), 2, rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(gradient, 1), 0, atol=1e-5)


def test_empty_batch():
    y, indices = kg.ops.gumbel_top_k(np.zeros((0, 5), "float32"), 2)
    assert y.shape == (0, 5)
    assert indices.shape == (0, 2)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_many_softmaxes_are_one_loop():
    """The program of 50 is as long as that of 2, up to its constants."""
    x, tau = tf.ones((16, 64)), tf.constant(TAU)

    def length(k):
        @tf.function(jit_compile=True, autograph=False)
        def run(x, tau, dy):
            y = top_k.relaxed_k_hot(x, tau, k, k, top_k.COMPILED)
            return y, *top_k.relaxed_k_hot_vjp(x, tau, dy, k, k)

        text = run.experimental_get_compiler_ir(x, tau, x)(stage="hlo")
        return len(text.splitlines())

    assert abs(length(50) - length(2)) < 10


@pytest.mark.tensorflow
def test_the_perturbed_logits_alone_are_kept():
    logits = tf.ones((64, 300))

    @tf.function(autograph=False)
    def run(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y, _ = kg.ops.gumbel_top_k(logits, 8, 0.3, seed=3)
        return tape.gradient(y, logits)

    graph = run.get_concrete_function(logits).graph
    forward, _ = (op for op in graph.get_operations() if "Part" in op.type)
    kept = [out for out in forward.outputs if out.shape == logits.shape]
    # And the sample.
    assert len(kept) == 2
    assert sum(int(np.prod(out.shape)) for out in forward.outputs) < 2.1 * (
        64 * 300
    )


@pytest.mark.slow
@pytest.mark.tensorflow
def test_second_derivatives_are_refused():
    """And only they: an outer tape that is not asked is no matter."""
    x = tf.ones((2, 4))
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y, _ = kg.ops.gumbel_top_k(x, 2, TAU, seed=3)
            loss = tf.reduce_sum(y**2)
        first = inner.gradient(loss, x)
    assert np.abs(first).max() > 0
    assert outer.gradient(y, x) is not None
    with pytest.raises(LookupError, match="gumbel_top_k has first deriv"):
        outer.gradient(first, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_logarithm_up_to_one_half(dtype):
    t = np.concatenate([[0.0], np.geomspace(1e-30, 0.5, 2000)]).astype(dtype)
    found = to_numpy(logarithms.small_exponential(tensor(t)))
    right = -np.log1p(-t.astype("float64"))
    np.testing.assert_allclose(found, right, rtol=4e-7)


# ---------------------------------------------------------------------------
# Arguments.
# ---------------------------------------------------------------------------

X = np.zeros((4, 5), "float32")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"k": 9},
            ValueError,
            "`k` must be at most the number of classes. Received: k=9, "
            "logits of shape (4, 5), axis=1",
        ),
        (
            {"k": 5, "axis": 0},
            ValueError,
            "Received: k=5, logits of shape (4, 5), axis=0",
        ),
        ({"k": 0}, ValueError, "`k` must be at least 1. Received: k=0"),
        ({"k": 2.0}, TypeError, "`k` must be an integer. Received: k=2.0"),
        ({"k": True}, TypeError, "`k` must be an integer. Received: k=True"),
        (
            {"k": 3, "class_mask": MASK[:4]},
            ValueError,
            "`class_mask` must allow at least `k` classes in a row, or none. "
            "Received: k=3, and a class_mask of shape (4, 5) in which 2 of 4 "
            "rows allow fewer, the first 2",
        ),
        (
            {"k": 3, "class_mask": tensor(MASK[2])},
            ValueError,
            "a class_mask of shape (5,) in which 1 of 1 rows allow fewer",
        ),
        (
            {"k": 3, "axis": 0, "class_mask": MASK[:4]},
            ValueError,
            "in which 3 of 5 rows allow fewer, the first 1",
        ),
        ({"k": 2, "noise_scale": -1.0}, ValueError, "`noise_scale`"),
        ({"k": 2, "temperature": 0.0}, ValueError, "`temperature`"),
        ({"k": 2, "seed": -1}, ValueError, "`seed`"),
        ({"k": 2, "axis": 2}, ValueError, "`axis`"),
    ],
)
def test_messages(kwargs, error, message):
    with pytest.raises(error) as caught:
        kg.ops.gumbel_top_k(X, **kwargs)
    assert message in str(caught.value)


MASKS = {
    "rows": MASK[:, :1][:4],
    "padding": MASK[[0, 1, 4, 0]],
    "scalar": np.array(True),
    "nothing": MASK[[4] * 4],
}


@pytest.mark.parametrize(
    "name", ["padding", *slow("rows", "scalar", "nothing")]
)
def test_masks_of_enough(name):
    """A row of padding is no error, and no more is a mask of whole rows."""
    mask = MASKS[name]
    y, _ = kg.ops.gumbel_top_k(X, 3, hard=True, class_mask=mask, seed=1)
    rows = np.broadcast_to(mask, X.shape).any(-1)
    np.testing.assert_array_equal(to_numpy(y).sum(-1), 3 * rows)
