"""The compiled formulas, against NumPy in float64."""

import numpy as np
import pytest

from keras_gumbel import backend, numerics
from keras_gumbel.numerics import categorical, logarithms
from tests import reference
from tests.harness import tensor, to_numpy
from tests.variants import slow, slow_rows

# Searched whole, in runs of 16 to 64, and of sizes that no run divides.
SIZES = [7, 65, 1025, *slow(1, 2, 63, 64, 100, 134, 509, 512, 1000)]


def first_argmax(x, axis):
    return np.asarray(
        backend.compiled(lambda x: categorical.first_argmax(x, axis))(x)
    )


@pytest.mark.parametrize("size", SIZES)
def test_first_argmax_is_the_first(size, seed):
    """Of many that are equal; and one alone, in every place."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (500, size)).astype("float32")
    x[:size, :] = np.where(np.eye(size)[-500:], 1.0, -1e30)
    choice = first_argmax(x, 1)
    np.testing.assert_array_equal(choice[:, 0], x.argmax(axis=1))


@pytest.mark.parametrize("size", [512, *slow(7, 64)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_first_argmax_along_each_axis(axis, size, seed):
    shape = [2, 3, 4]
    shape[axis] = size
    x = np.random.default_rng(seed).normal(size=shape).astype("float32")
    np.testing.assert_array_equal(
        first_argmax(x, axis), x.argmax(axis, keepdims=True)
    )


@pytest.mark.parametrize("size", SIZES)
def test_first_argmax_marks_what_is_no_choice(size):
    x = np.full((4, size), -np.inf, "float32")
    x[1, size // 2] = -3e38
    x[2, size - 1] = np.inf
    x[3] = 5.0
    choice = first_argmax(x, 1)[:, 0]
    assert choice.tolist() == [size, size // 2, -1, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_perturb_marks_a_nan(dtype):
    """And an infinite logit, whose softmax is NaN too."""
    x = np.zeros((3, 5), dtype)
    x[0, 2], x[1, 4] = np.nan, np.inf

    @backend.compiled
    def perturb(x, scale):
        key = backend.next_key(0)
        return numerics.perturb(numerics.Draw(lambda: x, scale, key, 1))

    for scale in (0.0, 1.0):
        y = to_numpy(perturb(x, tensor(scale, dtype)))
        assert np.isposinf(y[[0, 1], [2, 4]]).all()
        assert np.isfinite(y).sum() == 13


@pytest.mark.parametrize(
    ("axis", "size"),
    [
        *((0, 40), (1, 513), (1, 512)),
        *slow_rows(
            *((0, size) for size in (5, 8, 64, 512, 513)),
            *((1, size) for size in (5, 8, 40, 64)),
        ),
    ],
)
def test_softmax_vjp(axis, size, seed):
    shape = (size, 6) if axis == 0 else (6, size)
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(size=(2, *shape)) * 3

    @backend.compiled
    def vjp(x, dy):
        return numerics.relaxed_vjp(x, tensor(0.7, "float64"), dy, axis)

    (got, parts), (wanted, wanted_parts) = (
        vjp(x, dy),
        reference.softmax_vjp(x, 0.7, dy, axis),
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-13)
    # The parts may count from any constant; their sum may not.
    np.testing.assert_allclose(
        to_numpy(parts).sum(axis), wanted_parts.sum(axis), rtol=1e-9, atol=1e-12
    )


class TestLogarithms:
    """Every exponent, and a million mantissas."""

    def around(self, seed, low, high, n=1_000_000):
        rng = np.random.default_rng(seed)
        x = 2.0 ** rng.uniform(low, high, n)
        powers = 2.0 ** np.arange(low, high)
        ends = np.nextafter(powers.astype("float32"), np.float32(0))
        return np.concatenate([x, powers, ends]).astype("float32")

    def test_exponential(self, seed):
        """Relative error, which the upper tail of the noise lives on."""
        small = self.around(seed, -65, 0)
        large = (1 - self.around(seed, -24, 0)).astype("float32")
        t = np.concatenate([small, large])
        t = t[(t > 0) & (t < 1)]
        # A function of its own: what is planted must not meet a kept program.
        run = backend.compiled(lambda t: logarithms.exponential(t))
        e = to_numpy(run(t))
        exact = -np.log1p(-t.astype("float64"))
        np.testing.assert_allclose(e, exact, rtol=3e-7)
        assert (e > 0).all()

    def test_minus_log(self, seed):
        x = self.around(seed, -126, 127)
        run = backend.compiled(lambda x: logarithms.minus_log(x))
        y = to_numpy(run(x))
        exact = -np.log(x.astype("float64"))
        np.testing.assert_allclose(y, exact, rtol=2e-7, atol=2e-7)

    def test_a_wrong_coefficient_would_show(self, seed, monkeypatch):
        wrong = (*logarithms._LOG[:-1], logarithms._LOG[-1] * 1.001)
        monkeypatch.setattr(logarithms, "_LOG", wrong)
        with pytest.raises(AssertionError):
            self.test_minus_log(seed)
        wrong = (*logarithms._LOG1P[:-1], logarithms._LOG1P[-1] * 1.001)
        monkeypatch.setattr(logarithms, "_LOG1P", wrong)
        with pytest.raises(AssertionError):
            self.test_exponential(seed)
