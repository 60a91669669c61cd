"""Several axes of classes: a cell is drawn as a class of one axis is."""

import keras
import numpy as np
import pytest

import keras_gumbel as kg
from tests import statistics
from tests.harness import gradients, tensor, to_numpy
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

SHAPE = (3, 4, 2, 5)
TAU = np.float32(0.7)


def normal(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def on_one_axis(x, axes):
    """The axes behind all others, as one."""
    rest = [i for i in range(x.ndim) if i not in axes]
    x = np.transpose(x, [*rest, *axes])
    return x.reshape(*x.shape[: len(rest)], -1)


@pytest.mark.parametrize(
    ("hard", "axis"),
    [(True, (1, 2)), (False, (-1, 1)), *slow_rows((False, [0, 3]))],
)
def test_it_is_the_sample_of_one_axis(hard, axis, seed):
    """Bit for bit, with its gradients, a mask and a temperature for each."""
    x, axes = normal(SHAPE, seed), tuple(np.arange(4)[list(axis)])
    sizes = [1 if i in axes else n for i, n in enumerate(SHAPE)]
    tau = np.exp(normal(sizes, seed + 1))
    mask = np.random.default_rng(seed).random(SHAPE) < 0.8
    dy = normal(SHAPE, seed + 2)
    given = {"hard": hard, "seed": seed}
    y, d_x, d_tau = gradients(
        lambda x, tau: kg.ops.gumbel_softmax(
            x, tau, axis=axis, class_mask=tensor(mask), **given
        ),
        x,
        tau,
        upstream=dy,
    )
    right, d_right, d_tau_right = gradients(
        lambda x, tau: kg.ops.gumbel_softmax(
            x, tau, class_mask=tensor(on_one_axis(mask, axes)), **given
        ),
        on_one_axis(x, axes),
        on_one_axis(tau, axes),
        upstream=on_one_axis(dy, axes),
    )
    np.testing.assert_array_equal(on_one_axis(y, axes), right)
    np.testing.assert_array_equal(on_one_axis(d_x, axes), d_right)
    np.testing.assert_array_equal(on_one_axis(d_tau, axes), d_tau_right)


def check_cells(sampler, seed, n):
    """Which of six cells, by its coordinates: chi-squared.

    Detected with n = 1e6: a move of 0.5 % of the mass between halves.
    """
    x = normal((2, 3), 7)
    cells = np.asarray(sampler(np.tile(x, (n, 1, 1)), seed))
    assert cells.shape == (n, 2)
    probs = np.exp(x) / np.exp(x).sum()
    whole = cells.astype(int)
    assert np.array_equal(whole, cells), "no coordinates"
    assert (whole >= 0).all(), "outside"
    assert (whole < [2, 3]).all(), "outside"
    counts = np.bincount(whole @ [3, 1], minlength=6)
    assert statistics.chi_squared_p(counts, probs) > FALSE_FAIL_RATE


@pytest.mark.parametrize("estimator", ["st_gumbel", *slow("st")])
def test_coordinates_have_the_law_of_the_cells(estimator, seed):
    def sampler(x, seed):
        return to_numpy(
            kg.ops.sample_argmax_index(
                x, hard=True, axis=(1, 2), estimator=estimator, seed=seed
            )
        )

    check_cells(sampler, seed, 10**6)
    with pytest.raises(AssertionError):
        check_cells(lambda x, seed: sampler(x, seed)[:, ::-1], seed, 10**5)


@pytest.mark.parametrize("axis", [(1, 2), *slow((2, 1))])
def test_coordinates_are_means_over_the_sample(axis, seed):
    """With their gradient, in the order of `axis`."""
    x, dy = normal((4, 3, 5), seed), normal((4, 2), seed + 1)
    grids = np.meshgrid(np.arange(3), np.arange(5), indexing="ij")
    grid = np.stack([grids[one - 1] for one in axis], -1).astype("float32")
    found = gradients(
        lambda x, tau: kg.ops.sample_argmax_index(x, tau, axis=axis, seed=seed),
        x,
        TAU,
        upstream=dy,
    )

    def by_hand(x, tau):
        y = kg.ops.gumbel_softmax(x, tau, axis=axis, seed=seed)
        return keras.ops.einsum("bhw,hwc->bc", y, grid)

    for one, other in zip(
        found, gradients(by_hand, x, TAU, upstream=dy), strict=True
    ):
        scale = 1 + np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("hard", [True, *slow(False)])
@pytest.mark.parametrize("training", [True, False])
def test_layers_are_those_of_one_axis(hard, training, seed):
    """In training and not, with a mask of rows of cells, saved and loaded."""
    x = normal((4, 3, 5), seed)
    mask = np.random.default_rng(seed).random((4, 3)) < 0.7
    flat = kg.GumbelSoftmax(TAU, hard, seed=3)
    y = kg.GumbelSoftmax(TAU, hard, axis=(1, 2), seed=3)
    index = kg.SampleArgmaxIndex(TAU, hard, axis=(1, 2), seed=3)
    assert y.get_config()["axis"] == [1, 2]
    y, index = (type(one).from_config(one.get_config()) for one in (y, index))
    all_of_row = np.repeat(mask, 5, axis=1).reshape(4, 15)
    right = to_numpy(
        flat(x.reshape(4, 15), class_mask=all_of_row, training=training)
    ).reshape(4, 3, 5)
    cells = tensor(mask[:, :, None] | np.zeros((4, 3, 5), bool))
    found = to_numpy(y(x, mask=cells, training=training))
    np.testing.assert_array_equal(found, right)
    coordinates = to_numpy(index(x, mask=cells, training=training))
    assert index.compute_output_shape(x.shape) == (4, 2) == coordinates.shape
    grid = np.stack(np.indices((3, 5)), -1)
    means = np.einsum("bhw,hwc->bc", right, grid)
    np.testing.assert_allclose(coordinates, means, rtol=0, atol=1e-5)


def test_half_precision_holds_the_coordinates(seed):
    x = normal((2, 3, 3000), seed).astype("float16")
    y = kg.ops.sample_argmax_index(x, hard=True, axis=(1, 2), seed=seed)
    one_hot = kg.ops.gumbel_softmax(
        x.astype("float32"), hard=True, axis=(1, 2), seed=seed
    )
    right = [np.argwhere(one)[0] for one in to_numpy(one_hot)]
    np.testing.assert_array_equal(y, right)


X = np.zeros((2, 3, 4), "float32")


@pytest.mark.parametrize(
    ("axis", "error", "message"),
    [
        ((), ValueError, "`axis` must name at least one axis"),
        ((1, -2), ValueError, "`axis` must name each axis once"),
        ((1, 3), ValueError, "`axis` must be in [-3, 3)"),
        ((1, 0.5), TypeError, "`axis` must be an integer"),
        (None, TypeError, "`axis` must be an integer"),
    ],
)
def test_messages(axis, error, message):
    with pytest.raises(error) as caught:
        kg.ops.gumbel_softmax(X, axis=axis)
    assert message in str(caught.value)
    with pytest.raises(error) as caught:
        kg.SampleArgmaxIndex(axis=axis)(X)
    assert message in str(caught.value)


def test_a_temperature_of_each_cell_is_none():
    with pytest.raises(ValueError, match="size 1 along the axes of the cl"):
        kg.ops.gumbel_softmax(X, np.ones((2, 3, 1), "float32"), axis=(1, 2))
