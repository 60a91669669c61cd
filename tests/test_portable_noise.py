"""The noise of a key by arithmetic alone, and the class of one number a row."""

import fractions
import itertools

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from keras_gumbel import backend, numerics
from keras_gumbel.backend import threefry
from keras_gumbel.backend.threefry import Words
from keras_gumbel.numerics import portable_choice, portable_noise
from tests.harness import tensor, to_numpy

KEYS = [(0, 0), (17, 3), (2**32 - 1, 2**31 + 5)]
COUNT = 2**17


def key_of(words):
    return tensor(np.array(words, "uint32").view("int32"))


@pytest.mark.parametrize("words", KEYS)
def test_the_bits_are_those_of_a_run(words):
    low, high = portable_noise.random_words((COUNT // 8, 8), key_of(words))
    right = threefry.bits_at(
        tensor(np.array(words, "int64")), tensor(np.arange(COUNT))
    )
    for mine, other in zip((low, high), right, strict=True):
        np.testing.assert_array_equal(np.ravel(to_numpy(mine)), to_numpy(other))


NOISE = {"gumbel": numerics.gumbel, "logistic": numerics.logistic}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("law", NOISE)
def test_noise_is_that_of_the_layers(law, dtype):
    """Of 131,072 numbers: to 1e-6 and 1e-13 of max(1, |noise|)."""

    @backend.compiled
    def drawn(key):
        return NOISE[law]((COUNT,), key, dtype)

    right = to_numpy(drawn(tensor(np.array(KEYS[2], "int64"))))
    like = tensor(np.zeros(COUNT, dtype))
    mine = to_numpy(portable_noise.noise_of(law, key_of(KEYS[2]), like))
    assert mine.dtype == right.dtype == dtype
    digits = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(mine, right, rtol=digits, atol=digits)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tails_are_whole(dtype):
    """The first bits and the last there are, and what is between."""
    low = tensor(np.array([0, -1, 1, 0], "int32"))
    high = tensor(np.array([0, -1, 0, -(2**31)], "int32"))
    bits = [0, 2**64 - 1, 1, 2**63]
    gumbel = to_numpy(portable_noise._LAWS["gumbel"](Words(low, high), dtype))
    t = np.array([float(fractions.Fraction(2 * b + 1, 2**65)) for b in bits])
    t = t.astype(dtype)
    t = np.minimum(t, np.nextafter(1, 0, dtype=dtype)).astype("float64")
    np.testing.assert_allclose(gumbel, -np.log(-np.log1p(-t)), rtol=3e-7)
    assert gumbel[0] > 45
    # Of the bits but the first, the sign, it is those that count.
    mine = portable_noise._LAWS["logistic"](Words(low, high), dtype)
    ends = to_numpy(mine)
    assert ends[0] > 45
    assert ends[3] == -ends[0]
    assert np.isfinite(ends).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exponential(dtype):
    """As `log1p` has it, at both ends and where the formulas meet."""
    near = np.nextafter(np.array(0.5, dtype), [0, 1], dtype=dtype)
    t = np.concatenate(
        [
            2.0 ** -np.arange(1, 66),
            1 - 2.0 ** -np.arange(1, 24),
            np.linspace(0.01, 0.99, 999),
            near,
        ]
    ).astype(dtype)
    digits = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        to_numpy(portable_noise.exponential(tensor(t))),
        -np.log1p(-t.astype("float64")),
        rtol=digits,
    )


def exact_place(weights, bits):
    """By whole numbers of any length."""
    unit = fractions.Fraction(2 * int(bits) + 1, 2**65)
    sums = [*itertools.accumulate(map(fractions.Fraction, weights.tolist()))]
    return next(k for k, total in enumerate(sums) if total > unit * sums[-1])


def border(weights, k):
    """The first number, as 64 bits, that gives a class beyond k."""
    sums = [*itertools.accumulate(map(fractions.Fraction, weights.tolist()))]
    return int(sums[k] / sums[-1] * 2**64)


@pytest.mark.parametrize(("rows", "classes"), [(2000, 5), (40, 3000)])
def test_one_number_a_row_finds_the_class(rows, classes):
    """The class of exact arithmetic, of weights down to 1e-13."""
    rng = np.random.default_rng(0)
    weights = 2.0 ** -rng.uniform(0, 43, (rows, classes))
    weights[:, rng.integers(classes)] = 1.0
    weights[:, 2] = weights[:, -1] = 0.0
    weights = weights.astype("float32")
    bits = rng.integers(0, 2**64, rows, dtype="uint64")
    # Most are as near to a border as weights of 48 bits can tell.
    near = [border(row, rng.integers(classes - 1)) for row in weights]
    near = [n + classes * 2**19 * int(rng.choice([-1, 1])) for n in near]
    inside = [n if 0 <= n < 2**64 else 0 for n in near]
    bits[rows // 4 :] = np.array(inside, "uint64")[rows // 4 :]
    bits[:2] = 0, 2**64 - 1
    words = Words(
        *(
            tensor(word.astype("uint32").view("int32")[:, None])
            for word in (bits & np.uint64(2**32 - 1), bits >> np.uint64(32))
        )
    )
    digits = portable_choice._digits(tensor(weights))
    found = to_numpy(portable_choice._place(digits, words, 1))[:, 0]
    right = [exact_place(*row) for row in zip(weights, bits, strict=True)]
    np.testing.assert_array_equal(found, right)
    assert not np.isin(found, [2, classes - 1]).any()


@pytest.mark.parametrize("axis", [-1, 1])
def test_only_the_drawn_class_is_left(axis):
    """What is no number stays, which marks its row; and so does scale 0."""
    x = np.random.default_rng(1).normal(size=(6, 4, 4)).astype("float32")
    x[1, 1, 1], x[2, 2, 2], x[3] = np.nan, np.inf, -np.inf
    rows = np.moveaxis(x, axis, -1)
    for scale in (1.0, 0.0, float("nan")):
        y = to_numpy(
            portable_choice.chosen(
                tensor(x), tensor(np.float32(scale)), key_of(KEYS[1]), axis
            )
        )
        if scale == 0:
            np.testing.assert_array_equal(y, x)
        elif np.isnan(scale):
            assert np.isnan(y).all()
        else:
            kept = np.moveaxis(y, axis, -1)
            good = np.isfinite(rows).all(axis=-1)
            assert (np.isfinite(kept).sum(axis=-1) == 1)[good].all()
            np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
            np.testing.assert_array_equal(y == np.inf, x == np.inf)
            same = np.isfinite(kept)
            np.testing.assert_array_equal(kept[same], rows[same])


def test_keras_and_this_draw_one_class_of_many():
    """8192 classes, 1024 rows: a sum in float32 would miss four."""
    x = np.random.default_rng(2).normal(size=(1024, 8192)).astype("float32")
    y = portable_choice.chosen(
        tensor(x), tensor(np.float32(1.0)), key_of((5, 0)), 1
    )

    right = kg.ops.sample_argmax_index(x, hard=True, estimator="st", seed=5)
    np.testing.assert_array_equal(
        np.argmax(to_numpy(y), axis=1), to_numpy(right)
    )
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
