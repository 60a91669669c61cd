"""Many samples of a distribution: those of logits that are repeated."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import statistics
from tests.harness import gradients, in_mode, modes, tensor, to_numpy
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

FUNCTIONS = {
    "softmax": kg.ops.gumbel_softmax,
    "index": kg.ops.sample_argmax_index,
}
COUNT = 5


def normal(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def repeated(x):
    """Along a new axis before the last."""
    return np.repeat(x[..., None, :], COUNT, axis=-2)


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        ("softmax", {"hard": True, "estimator": "st"}),
        ("index", {"hard": True, "estimator": "reinmax"}),
        ("softmax", {"hard": True}),
        *slow_rows(
            ("softmax", {"hard": True, "estimator": "gapped_st"}),
            ("softmax", {"hard": True, "estimator": "gumbel_rao"}),
            ("softmax", {"hard": True, "estimator": "reinmax"}),
            ("index", {"hard": True, "estimator": "st"}),
            ("softmax", {}),
            ("index", {}),
            ("index", {"hard": True}),
        ),
    ],
)
def test_they_are_those_of_repeated_logits(function, settings, seed):
    """The samples bit for bit, and the gradients of all of them together.

    With a mask, a row without a class and a temperature for each row.
    """
    sample, shape = FUNCTIONS[function], (3, 2, 70)
    x, tau = normal(shape, seed), np.exp(normal((3, 2, 1), seed + 1))
    mask = np.random.default_rng(seed).random(shape) < 0.6
    mask[1, 1] = False
    out = (COUNT, *shape) if function == "softmax" else (COUNT, 3, 2)
    dy = normal(out, seed + 2)

    def many(x, tau):
        return sample(
            x,
            tau,
            class_mask=tensor(mask),
            num_samples=COUNT,
            seed=seed,
            **settings,
        )

    def one_each(x, tau):
        y = sample(
            keras.ops.repeat(x[..., None, :], COUNT, axis=-2),
            tau[..., None, :],
            class_mask=tensor(repeated(mask)),
            seed=seed,
            **settings,
        )
        return keras.ops.moveaxis(y, 2, 0)

    y, d_x, d_tau = gradients(many, x, tau, upstream=dy)
    right, d_right, d_tau_right = gradients(one_each, x, tau, upstream=dy)
    np.testing.assert_array_equal(y, right)
    for found, due in [(d_x, d_right), (d_tau, d_tau_right)]:
        scale = 1 + np.abs(due).max()
        np.testing.assert_allclose(found, due, rtol=0, atol=1e-5 * scale)


def check_several(sampler, seed, count=10**6):
    """Each row has its law, and its samples are independent of the other's.

    Detected with 1e6 samples: a move of 0.5 % of the mass between halves.
    """
    x = normal((2, 5), 7)
    found = np.asarray(sampler(x, count, seed)).astype(int)
    assert found.shape == (count, 2)
    first, second = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    pairs = np.bincount(found @ [5, 1], minlength=25)
    p = statistics.chi_squared_p(pairs, np.outer(first, second))
    assert p > FALSE_FAIL_RATE, "not the law of two rows"
    ones = np.bincount(found[1:, 0] * 5 + found[:-1, 0], minlength=25)
    p = statistics.chi_squared_p(ones, np.outer(first, first))
    assert p > FALSE_FAIL_RATE, "one sample tells of the next"


def test_each_row_has_its_law(seed):
    def sampler(x, count, seed):
        return to_numpy(
            kg.ops.sample_argmax_index(
                x, hard=True, estimator="st", num_samples=count, seed=seed
            )
        )

    check_several(sampler, seed)

    def of_one_row(x, count, seed):
        return np.repeat(sampler(x, count, seed)[:, :1], 2, axis=1)

    def twice(x, count, seed):
        return np.repeat(sampler(x, count // 2, seed), 2, axis=0)

    for wrong in (of_one_row, twice):
        with pytest.raises(AssertionError):
            check_several(wrong, seed)


@pytest.mark.parametrize("axis", [0, *slow((0, 2))])
@pytest.mark.parametrize("function", ["softmax", *slow("index")])
def test_any_axis(function, axis, seed):
    """The samples of one axis behind all others, taken back."""
    x, axes = normal((3, 4, 5), seed), axis if axis else (axis,)
    sample = FUNCTIONS[function]
    given = {"hard": True, "estimator": "st", "seed": seed}
    y = to_numpy(sample(x, axis=axis, num_samples=COUNT, **given))
    rest = [i for i in range(3) if i not in axes]
    behind = np.transpose(x, [*rest, *axes])
    flat = behind.reshape(*behind.shape[: len(rest)], -1)
    one_hot = to_numpy(kg.ops.gumbel_softmax(flat, num_samples=COUNT, **given))
    if function == "softmax":
        back = one_hot.reshape(COUNT, *behind.shape)
        order = np.argsort([*rest, *axes])
        right = np.transpose(back, [0, *(1 + order)])
    else:
        sizes = [x.shape[i] for i in axes]
        right = np.stack(np.unravel_index(one_hot.argmax(-1), sizes), -1)
        right = right[..., 0] if axis == 0 else right
    np.testing.assert_array_equal(y, right)


@modes()
def test_every_mode_and_number_of_classes(mode, seed):
    """Also where programs are of more classes than there are."""
    x = normal((3, 77), seed)

    def sample(x):
        return kg.ops.sample_argmax_index(
            x, hard=True, estimator="st", num_samples=COUNT, seed=seed
        )

    def each(x):
        return kg.ops.sample_argmax_index(
            repeated(x), hard=True, estimator="st", seed=seed
        )

    found = to_numpy(in_mode(mode, sample)(tensor(x)))
    np.testing.assert_array_equal(found, np.transpose(to_numpy(each(x))))


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_noise_scale(scale, seed):
    x = normal((2, 6), seed)
    given = {"hard": True, "estimator": "st", "noise_scale": scale}
    y = kg.ops.gumbel_softmax(x, num_samples=COUNT, seed=seed, **given)
    right = kg.ops.gumbel_softmax(repeated(x), seed=seed, **given)
    np.testing.assert_array_equal(to_numpy(y).swapaxes(0, 1), right)


def test_rows_that_are_no_numbers():
    x = np.array([[0.0, np.nan], [0.0, 1.0], [-np.inf, -np.inf]], "float32")
    given = {"hard": True, "estimator": "st", "num_samples": 3, "seed": 1}
    y = to_numpy(kg.ops.gumbel_softmax(x, **given))
    assert np.isnan(y[:, 0]).all()
    assert (y[:, 1].sum(-1) == 1).all()
    assert (y[:, 2] == 0).all()
    index = to_numpy(kg.ops.sample_argmax_index(x, **given))
    assert np.isnan(index[:, 0]).all()
    assert (index[:, 2] == 0).all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (0, ValueError, "`num_samples` must be at least 1"),
        (2.0, TypeError, "`num_samples` must be an integer"),
        (True, TypeError, "`num_samples` must be an integer"),
    ],
)
def test_messages(function, number, error, message):
    with pytest.raises(error) as caught:
        FUNCTIONS[function](np.zeros((2, 3), "float32"), num_samples=number)
    assert message in str(caught.value)
