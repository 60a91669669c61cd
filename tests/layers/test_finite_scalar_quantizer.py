"""`FiniteScalarQuantizer` beside the published formulas in NumPy."""

import itertools

import keras
import numpy as np
import pytest
from scipy import stats

import keras_gumbel as kg
from tests.conformance.registry import as_array
from tests.harness import in_mode, modes, tensor, to_numpy, value_and_grad

LEVELS = (8, 5, 3, 2)


def numbers(*lead, width=4, seed=0):
    rng = np.random.default_rng(seed)
    return (2 * rng.normal(size=(*lead, width))).astype("float32")


def bounded(x, levels):
    """Appendix A.1 of Mentzer et al., in float64."""
    levels = np.array(levels)
    half = (levels - 1) * (1 - 1e-3) / 2
    offset = np.where(levels % 2 == 1, 0.0, 0.5)
    return np.tanh(x + np.tan(offset / half)) * half - offset


@modes()
def test_output_is_the_published_formula(mode):
    layer, x = kg.FiniteScalarQuantizer(LEVELS), numbers(50, 3)
    soft = bounded(x.astype("float64"), LEVELS)
    # Away from where float32 may round to the other side.
    near = np.abs(soft - np.round(soft)) < 0.499
    y = to_numpy(in_mode(mode, layer)(tensor(x)))
    wanted = np.round(soft) / (np.array(LEVELS) // 2)
    np.testing.assert_array_equal(y[near], wanted.astype("float32")[near])


@pytest.mark.tensorflow
def test_every_code_is_there_and_comes_back():
    layer = kg.FiniteScalarQuantizer(LEVELS)
    codes = np.arange(layer.num_codes)
    vectors = to_numpy(layer.decode(codes))
    assert len(np.unique(vectors, axis=0)) == 8 * 5 * 3 * 2
    # The values are those of the levels, the first number counting least.
    values = [(np.arange(n) - n // 2) / (n // 2) for n in LEVELS]
    wanted = [v[::-1] for v in itertools.product(*values[::-1])]
    np.testing.assert_allclose(vectors, np.array(wanted), rtol=1e-6)
    # And inputs that give each.
    half = np.array(LEVELS) // 2
    levels = np.array(LEVELS)
    h, o = (levels - 1) * (1 - 1e-3) / 2, np.where(levels % 2 == 1, 0, 0.5)
    inside = np.clip((wanted * half + o) / h, -0.999, 0.999)
    x = np.arctanh(inside) - np.tan(o / h)
    np.testing.assert_array_equal(to_numpy(layer.encode(tensor(x))), codes)


@pytest.mark.parametrize("levels", [LEVELS, (2, 2, 2)])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_decode_is_the_output_bit_for_bit(levels, dtype):
    layer = kg.FiniteScalarQuantizer(levels, dtype=dtype)
    x = numbers(200, width=len(levels))
    decoded = as_array(layer.decode(layer.encode(x)))
    np.testing.assert_array_equal(decoded, as_array(layer(x)))


def test_gradient_is_that_of_the_bounded_number():
    layer, x = kg.FiniteScalarQuantizer(LEVELS), numbers(30)
    _, (dx,) = value_and_grad(layer, x)
    step, wide = 1e-6, x.astype("float64")
    slope = bounded(wide + step, LEVELS) - bounded(wide - step, LEVELS)
    slope = slope / (2 * step) / (np.array(LEVELS) // 2)
    np.testing.assert_allclose(to_numpy(dx), slope, rtol=1e-3, atol=1e-5)


def test_bits_are_signs_with_the_gradient_of_the_identity():
    layer, x = kg.FiniteScalarQuantizer((2,) * 4), numbers(30)
    upstream = numbers(30, seed=2)
    y, (dx,) = value_and_grad(layer, x, upstream=upstream)
    np.testing.assert_array_equal(to_numpy(y), np.where(x > 0, 1, -1))
    np.testing.assert_array_equal(to_numpy(dx), upstream)


def test_uniform_noise_rounds_to_the_mean(seed):
    """Stochastic rounding: a test of two levels, false-fail rate 1e-6."""
    layer = kg.FiniteScalarQuantizer((5,), noise_scale=1.0, seed=seed)
    x, n = np.array([[0.4]], "float32"), 1_000_000
    soft = bounded(0.4, (5,))[0]
    y = to_numpy(layer(tensor(np.repeat(x, n, 0)), training=True)) * 2
    low = np.floor(soft)
    assert {*np.unique(y)} == {low, low + 1}
    up = int((y == low + 1).sum())
    assert stats.binomtest(up, n, soft - low).pvalue > 1e-6
    # Without training there is none.
    assert (to_numpy(layer(tensor(x))) * 2 == np.round(soft)).all()


def test_noisy_bits_have_the_law_of_the_distances(seed):
    """Of -1 and 1, at scale 0.7: false-fail rate 1e-6."""
    layer = kg.FiniteScalarQuantizer((2,), noise_scale=0.7, seed=seed)
    x, n = np.array([[0.1]], "float32"), 1_000_000
    y = to_numpy(layer(tensor(np.repeat(x, n, 0)), training=True))
    weights = np.exp(-((0.1 - np.array([-1, 1])) ** 2) / 0.7)
    up = int((y == 1).sum())
    assert stats.binomtest(up, n, weights[1] / weights.sum()).pvalue > 1e-6


@pytest.mark.parametrize("bits", [3, 10])
@pytest.mark.parametrize("masked", [False, True])
def test_the_penalty_is_of_all_codes(bits, masked):
    """By enumeration; of more than 8 bits, in two parts."""
    x = numbers(40, width=bits)
    mask = np.arange(40) < 25 if masked else None
    layer = kg.FiniteScalarQuantizer(
        (2,) * bits, entropy_weight=0.5, temperature=3.0
    )
    given = x.copy()
    if masked:
        given[~mask] = float("nan")
    layer(tensor(given), training=True, mask=None if mask is None else mask)
    real = x[:25] if masked else x
    p = 1 / (1 + np.exp(-4 * real.astype("float64") / 3.0))

    def entropy(q):
        q = q[q > 0]
        return -(q * np.log(q)).sum()

    sure = np.mean([entropy(np.stack([one, 1 - one])) for one in p])
    used = 0.0
    for part in np.split(p, [8], axis=1) if bits > 8 else [p]:
        codes = np.array([*itertools.product([0, 1], repeat=part.shape[1])])
        q = np.prod(
            np.where(codes[:, None] == 1, part, 1 - part), axis=-1
        ).mean(axis=-1)
        used += entropy(q)
    (loss,) = to_numpy(layer.losses)
    np.testing.assert_allclose(loss, 0.5 * (sure - used), rtol=1e-4)


def test_nan_has_no_code_and_no_value():
    layer, x = kg.FiniteScalarQuantizer(LEVELS), numbers(4)
    x[1, 2] = float("nan")
    assert to_numpy(layer.encode(x)).tolist()[1] == -1
    y = to_numpy(layer(x))
    assert np.isnan(y[1, 2])
    assert np.isfinite(np.delete(y, 1, 0)).all()


def test_metrics_count_codes_without_padding():
    layer = kg.FiniteScalarQuantizer((3, 3), name="codes")
    x, mask = numbers(30, width=2), np.arange(30) < 12
    layer(tensor(x), training=False, mask=tensor(mask))
    used = len(np.unique(to_numpy(layer.encode(x[:12]))))
    assert float(layer.usage.result()) == pytest.approx(used / 9)
    assert kg.FiniteScalarQuantizer((2,) * 25).usage is None


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"levels": 8}, TypeError, "`levels` must be a sequence"),
        ({"levels": (8, 1)}, ValueError, "`levels` must be at least 2"),
        ({"levels": ()}, ValueError, "`levels` must have a level"),
        ({"levels": (2,) * 31}, ValueError, "product of at most"),
        (
            {"levels": (2, 3), "entropy_weight": 0.1},
            ValueError,
            "`entropy_weight` must be None unless",
        ),
    ],
)
def test_arguments_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        kg.FiniteScalarQuantizer(**settings)


def test_inputs_that_do_not_fit():
    layer = kg.FiniteScalarQuantizer((3, 3))
    with pytest.raises(ValueError, match=r"shape \(\.\.\., len"):
        layer(numbers(3))
    with pytest.raises(ValueError, match="is 0 for good"):
        layer.noise_scale = 1.0
    with pytest.raises(ValueError, match="`codes` must be in"):
        layer.decode([9])


def test_noise_that_is_not_a_number_shows():
    layer = kg.FiniteScalarQuantizer(
        (5, 4), noise_scale=0.5, inference="sample"
    )
    model = keras.Sequential([keras.Input((2,)), layer])
    given = kg.export.with_noise_input(model)
    x, noise = np.zeros((2, 3, 2), "float32")
    noise[1, 0] = np.nan
    y = to_numpy(given([x, noise]))
    assert np.isnan(y[1, 0])
    assert np.isfinite(y[[0, 2]]).all()
