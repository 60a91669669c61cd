"""A number added to all logits of a row changes nothing of their law.

At any offset that float32 holds, and whatever adds the noise. Each chi-square
or Kolmogorov-Smirnov test fails a right program with rate 1e-6.
"""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel._tracing import noise_from
from tests import reference, statistics
from tests.conformance.registry import STAYING
from tests.harness import tensor, to_numpy, value_and_grad
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow

# Products of layers and modes: `make nightly` runs what is slow of them.
SLOW_IS_NIGHTLY = True

N = 40_000
ESTIMATORS = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")
# A sum of two of these is exact in float32, near 1e8 and 1e9 too, and noise of
# a few nats is lost beside either.
STEP = 64.0
OFFSETS = [1e8, -1e9]
LARGEST = float(np.finfo("float32").max)
EXTREMES = [*OFFSETS, 2.0**14, 3e38, -3e38, LARGEST, -LARGEST]


def gate(*names, of):
    """These in the gate, and the others as slow tests."""
    return [*names, *slow(*(name for name in of if name not in names))]


def one_hot(estimator):
    def sample(x, **arguments):
        return kg.ops.gumbel_softmax(
            x, hard=True, estimator=estimator, **arguments
        )

    return sample


def index(x, **arguments):
    found = kg.ops.sample_argmax_index(x, hard=True, **arguments)
    found = keras.ops.cast(found, "int32")
    return keras.ops.one_hot(found, x.shape[-1], dtype=x.dtype)


def first_of_two(x, **arguments):
    _, found = kg.ops.gumbel_top_k(x, 2, hard=True, **arguments)
    return keras.ops.one_hot(found[:, 0], x.shape[-1], dtype=x.dtype)


def embedding(x, **arguments):
    table = keras.ops.eye(x.shape[-1], dtype=x.dtype)
    return kg.ops.sample_embedding(x, table, **arguments)


def soft(x, **arguments):
    return kg.ops.gumbel_softmax(x, **arguments)


def soft_index(x, **arguments):
    return kg.ops.sample_argmax_index(x, **arguments)[:, None]


def pair(hard):
    def sample(x, **arguments):
        return kg.ops.gumbel_top_k(x, 2, hard=hard, **arguments)[0]

    return sample


def of_table(x, **arguments):
    """The estimator that draws the class itself, by blocks too."""
    return embedding(x, estimator="reinmax", **arguments)


ONE_HOT = {
    **{name: one_hot(name) for name in ESTIMATORS},
    "index": index,
    "first of two": first_of_two,
    "embedding": embedding,
}
SAMPLES = {
    **ONE_HOT,
    "soft": soft,
    "soft index": soft_index,
    "hard pair": pair(True),
    "soft pair": pair(False),
    "embedding, reinmax": of_table,
}


def rows(offset, n=N):
    """Three classes that are as likely, and one that never comes."""
    x = np.full((n, 4), offset, "float32")
    # Below the others by so much; or by one step, where float32 has no number
    # so near.
    with np.errstate(over="ignore"):
        x[:, 2] -= STEP * 64
        x[:, 2] = np.minimum(x[:, 2], np.nextafter(x[:, 0], -np.inf))
    return tensor(x)


PROBS = [1 / 3, 1 / 3, 0, 1 / 3]


@pytest.mark.parametrize(
    "offset", [OFFSETS[1], *slow(OFFSETS[0], *EXTREMES[2:])]
)
@pytest.mark.parametrize("name", gate("st_gumbel", "st", of=ONE_HOT))
def test_the_law_of_a_hard_sample(name, offset, seed):
    y = ONE_HOT[name](rows(offset), seed=seed)
    counts = to_numpy(y).sum(axis=0)
    assert counts.sum() == N
    p = statistics.chi_squared_p(counts, PROBS)
    assert p > FALSE_FAIL_RATE, counts / N


@pytest.mark.parametrize("offset", [OFFSETS[0], *slow(*EXTREMES[1:])])
def test_the_law_of_a_soft_sample(offset, seed):
    """(log y_i - log y_j) * temperature is logistic."""
    y = to_numpy(soft(rows(offset), temperature=0.7, seed=seed))
    log = np.log(y[:, [0, 3]].astype("float64"))
    contrast = (log[:, 0] - log[:, 1]) * 0.7
    p = statistics.ks_p(contrast, reference.logistic_cdf)
    assert p > FALSE_FAIL_RATE
    assert np.all(y[:, 2] == 0)


def logits(offset, shape=(24, 5), seed=0):
    """Of a coarse grid, so that the offset is added without rounding."""
    whole = np.random.default_rng(seed).integers(-1, 2, shape) * STEP
    return tensor((whole + offset).astype("float32"))


def with_gradient(sample, x, temperature=20.0, **arguments):
    """A sample, and gradients of a weighted sum to logits and temperature."""

    def call(x, temperature):
        return sample(x, temperature=temperature, **arguments)

    tau = tensor(temperature)
    weights = np.random.default_rng(1).normal(size=call(x, tau).shape)
    y, found = value_and_grad(call, x, tau, upstream=weights.astype("float32"))
    return y, *(0.0 if one is None else one for one in found)


def assert_same(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("offset", [2.0**27, *slow(-(2.0**29), 2.0**14)])
@pytest.mark.parametrize("name", gate("st_gumbel", of=SAMPLES))
@pytest.mark.parametrize("noise_scale", [16.0, *slow(1.0, 64.0)])
def test_the_same_sample_and_gradients(name, offset, noise_scale, seed):
    """As without the offset, of one seed; ordinary logits beside them."""
    run = SAMPLES[name]
    x, at = logits(0.0), np.zeros((24, 1), "float32")
    at[::2] = offset
    given = {"noise_scale": noise_scale, "seed": seed}
    plain = with_gradient(run, x, **given)
    moved = with_gradient(run, x + at, **given)
    if name not in ("soft", "soft index", "soft pair"):
        np.testing.assert_array_equal(moved[0], plain[0])
    assert_same(moved, plain)


@pytest.mark.parametrize(
    "name", gate("st_gumbel", of=(*ONE_HOT, "soft", "soft pair"))
)
def test_masks_and_what_is_no_number(name, seed):
    """-1e9 for a mask, forbidden classes, and NaN, at an offset and without."""
    inf, nan = np.inf, np.nan
    x = np.array(
        [
            [0.0, 1e8, 1e8, -1e9],
            [-1e9, 0.0, 0.0, -1e9],
            [-1e9, -1e9, -1e9, -inf],
            [-inf, -inf, 3e38, -3e38],
            [-inf, -inf, -inf, -inf],
            [1e8, nan, 1e8, 1e8],
            [1e8, inf, 1e8, 1e8],
        ],
        "float32",
    )
    y = to_numpy(SAMPLES[name](x, temperature=0.1, seed=seed))
    if name != "soft pair":
        assert np.all(y[0, [0, 3]] == 0)
        assert np.all(y[1, [0, 3]] == 0)
    assert np.all(y[2:4, [0, 1, 2, 3]][x[2:4] == -inf] == 0)
    size = 2 if name == "soft pair" else 1
    np.testing.assert_allclose(y[:4].sum(-1), size, rtol=1e-5)
    if name not in ("index", "first of two"):  # A one-hot of no index.
        assert np.all(y[4] == 0)
        assert np.all(np.isnan(y[5:]))


def test_every_class_that_is_finite_can_be_of_a_subset():
    """A difference beyond the lowest number forbids no class."""
    x = [[LARGEST, -LARGEST / 2, -LARGEST, -np.inf]]
    k_hot, found = kg.ops.gumbel_top_k(tensor(x), 4, hard=True, seed=1)
    assert to_numpy(found).tolist() == [[0, 1, 2, -1]]
    assert to_numpy(k_hot).tolist() == [[1.0, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize("dtype", ["float64", *slow("float16", "bfloat16")])
def test_other_dtypes(dtype, seed):
    offset = {"float64": 1e17, "float16": 6e4, "bfloat16": 1e38}[dtype]
    x = keras.ops.cast(np.full((N, 4), offset), dtype)
    y = kg.ops.gumbel_softmax(x, hard=True, seed=seed)
    y = to_numpy(keras.ops.cast(y, "float64"))
    p = statistics.chi_squared_p(np.sum(y, 0), [0.25] * 4)
    assert p > FALSE_FAIL_RATE


def test_ordinary_rows_do_not_know_of_it():
    """To the last bit, logits plus noise: up to 2**8 noise scales."""
    x = np.random.default_rng(0).uniform(-255, 255, (50, 7)).astype("float32")
    y = kg.ops.gumbel_softmax(x, 100.0, seed=3)
    noise = to_numpy(kg.ops.sample_gumbel((50, 7), seed=3))
    far = np.repeat([[0.0], [1e8]], 50, 0).astype("float32")
    both = kg.ops.gumbel_softmax(np.tile(x, (2, 1)) + far, 100.0, seed=3)
    np.testing.assert_array_equal(both[:50], y)
    np.testing.assert_allclose(
        y, reference.softmax(x + noise, 100.0), rtol=1e-5
    )


# ---------------------------------------------------------------------------
# Permutations: rows and columns.
# ---------------------------------------------------------------------------


def offsets_of_a_matrix(size):
    """Of some rows, some columns, or both; each exact beside the other."""
    row = np.zeros((size, 1), "float32")
    column = np.zeros((1, size), "float32")
    row[0], row[2], column[0, 1] = 2.0**27, -(2.0**28), -(2.0**29)
    return {"rows": row, "columns": column, "both": row + column}


@pytest.mark.parametrize("which", ["both", *slow("rows", "columns")])
@pytest.mark.parametrize("hard", [False, *slow(True)], ids=str)
def test_permutations(hard, which, seed):
    """As without offsets, of one seed.

    At a temperature at which the iterations arrive: an offset of columns moves
    the way there.
    """
    x = logits(0.0, (8, 4, 4))

    def run(x, **arguments):
        return kg.ops.gumbel_sinkhorn(x, hard=hard, **arguments)

    given = {"noise_scale": 16.0, "temperature": 400.0, "seed": seed}
    plain = with_gradient(run, x, **given)
    moved = with_gradient(run, x + offsets_of_a_matrix(4)[which], **given)
    assert_same(moved, plain)


@pytest.mark.slow
@pytest.mark.parametrize("offset", OFFSETS)
def test_the_law_of_a_permutation(offset, seed):
    """Of logits that are all the same, any."""
    n = N
    x = np.full((n, 3, 3), offset, "float32")
    y = to_numpy(kg.ops.gumbel_sinkhorn(x, hard=True, seed=seed))
    column = y.argmax(-1)
    counts = np.bincount(column[:, 0] * 3 + column[:, 1], minlength=9)
    p = statistics.chi_squared_p(counts[[1, 2, 3, 5, 6, 7]], [1 / 6] * 6)
    assert p > FALSE_FAIL_RATE, counts / n


@pytest.mark.parametrize("which", ["both", *slow("rows", "columns")])
def test_a_relaxed_permutation_without_noise(which):
    x = logits(0.0, (8, 4, 4))
    plain = kg.GumbelSinkhorn(400.0)(x)
    moved = kg.GumbelSinkhorn(400.0)(x + offsets_of_a_matrix(4)[which])
    np.testing.assert_allclose(moved, plain, atol=2e-5)


@pytest.mark.slow
def test_huge_matrices_stay_finite():
    x = tensor([[[LARGEST, -LARGEST], [-LARGEST, -LARGEST]]])
    y = kg.ops.gumbel_sinkhorn(x, hard=True, seed=1)
    np.testing.assert_array_equal(y[0], np.eye(2))
    y = kg.ops.gumbel_sinkhorn(x, seed=1)
    np.testing.assert_allclose(to_numpy(y).sum(axis=1), 1, atol=1e-5)


# ---------------------------------------------------------------------------
# Layers: noise that is given, and inference.
# ---------------------------------------------------------------------------

LAYERS = {
    "softmax, hard": lambda: kg.GumbelSoftmax(20.0, hard=True),
    "softmax": lambda: kg.GumbelSoftmax(20.0),
    "index": lambda: kg.SampleArgmaxIndex(20.0),
    "top_k": lambda: kg.GumbelTopK(2, 20.0),
    "top_k, hard": lambda: kg.GumbelTopK(2, 20.0, hard=True),
    "embedding": lambda: kg.GumbelEmbedding(
        5, 3, temperature=20.0, embeddings_initializer="ones"
    ),
}


def given_noise(*shape):
    noise = np.random.default_rng(2).normal(size=shape) * STEP
    return tensor(noise, "float32")


@pytest.mark.parametrize("name", gate("softmax", of=LAYERS))
def test_noise_that_is_given(name):
    layer = LAYERS[name]()
    noise = given_noise(24, 5)
    x = logits(0.0)
    with noise_from(lambda *_: noise):
        plain, moved = (layer(x + offset) for offset in (0.0, 2.0**27))
    np.testing.assert_allclose(moved, plain, atol=2e-5)


@pytest.mark.parametrize("which", ["both", *slow("rows", "columns")])
@pytest.mark.parametrize("hard", [*slow(True), False], ids=str)
def test_noise_that_is_given_to_permutations(which, hard):
    layer = kg.GumbelSinkhorn(400.0, hard=hard)
    noise = given_noise(8, 4, 4)
    x = logits(0.0, (8, 4, 4))
    with noise_from(lambda *_: noise):
        plain = layer(x)
        moved = layer(x + offsets_of_a_matrix(4)[which])
    np.testing.assert_allclose(moved, plain, atol=2e-5)


def test_given_noise_of_gates_is_added_to_the_logits_themselves():
    layer = kg.GumbelSigmoid(hard=True)
    with noise_from(lambda _, like: keras.ops.ones_like(like)):
        y = layer(np.array([-1e8, 1e8], "float32"))
    assert to_numpy(y).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("hard", [True, *slow(False)], ids=str)
def test_codebooks(hard):
    """The layer's own logits, moved by its bias."""

    def vectors(offset):
        layer = kg.GumbelQuantizer(
            5, 6, 2, hard=hard, temperature=20.0, seed=1, **STAYING
        )
        layer.build((None, 4))
        weights = np.random.default_rng(0)
        whole = weights.integers(-1, 2, (4, 10)).astype("float32")
        layer.kernel.assign(whole * STEP)
        layer.bias.assign(np.full(10, offset, "float32"))
        layer.embeddings.assign(weights.normal(size=(2, 5, 3)))
        x = tensor(weights.integers(0, 2, (64, 4)), "float32")
        noise = given_noise(64, 2, 5)
        with noise_from(lambda *_: noise):
            given = layer(x)
        return given, layer(x, training=True)

    for plain, moved in zip(vectors(0.0), vectors(2.0**27), strict=True):
        np.testing.assert_allclose(moved, plain, atol=1e-3)


def test_losses_and_modes():
    x = logits(0.0)
    for f in (
        kg.losses.categorical_kl,
        lambda x: kg.GumbelSoftmax(20.0)(x),
        lambda x: kg.GumbelSoftmax(20.0, hard=True)(x),
        lambda x: kg.GumbelTopK(2, 20.0)(x),
        keras.activations.softmax,
    ):
        np.testing.assert_allclose(f(x + 2.0**27), f(x), rtol=1e-5)
