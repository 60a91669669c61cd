"""The short form of `make soak`, and that it sees what it is there for."""

import numpy as np
import pytest
from keras import ops

from tests import soak
from tests.harness import tensor, to_numpy
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow, slow_rows

GUMBEL = soak.NOISES[0]
HALF = soak.NOISES[1]
ENTRIES = 2**12


@pytest.mark.parametrize(
    "noise", [GUMBEL, HALF, *slow(*soak.NOISES[2:])], ids=str
)
def test_noise(noise, seed):
    """2**24 draws, each finite, and as many beyond each level as should be."""
    seen = soak.soak_noise(noise, 1, seed)
    assert seen["draws"] == soak.BLOCK
    assert seen["not_finite"] == 0
    assert all(p > FALSE_FAIL_RATE for *_, p in seen["levels"])


def changed(noise, change):
    """The same noise, less what `change` makes of it."""

    def draw(shape, **kwargs):
        return change(noise.draw(shape, **kwargs))

    return soak.Noise(noise.name, noise.dtype, draw, noise.tail, noise.share)


THREE = np.array([np.inf, -np.inf, np.nan], "float32")


def test_each_number_that_is_not_finite_is_seen(seed):
    three = changed(
        GUMBEL,
        lambda g: ops.slice_update(g, [12345], tensor(THREE)),
    )
    assert soak.soak_noise(three, 1, seed)["not_finite"] == 3


@pytest.mark.parametrize(
    ("noise", "change"),
    [
        # A tail that ends, a law that is a hundredth off, and float16 that
        # is cut off where it should be rounded.
        (GUMBEL, lambda g: ops.minimum(g, 9.99)),
        (GUMBEL, lambda g: g + 0.01),
        (HALF, lambda g: ops.floor(g * 512) / 512),
    ],
    ids=["tail", "shift", "rounding"],
)
def test_another_law_is_seen(noise, change, seed):
    seen = soak.soak_noise(changed(noise, change), 1, seed)
    assert min(p for *_, p in seen["levels"]) < FALSE_FAIL_RATE


ONE_HOT = soak.SAMPLERS[0]


@pytest.mark.parametrize(
    ("sampler", "dtype"),
    [
        (ONE_HOT, "float16"),
        *slow_rows(
            *(
                (sampler, dtype)
                for sampler in soak.SAMPLERS
                for dtype in soak.DTYPES
                if (sampler, dtype) != (ONE_HOT, "float16")
            )
        ),
    ],
    ids=str,
)
def test_samples(sampler, dtype, seed):
    """Of all kinds of logits, at all temperatures."""
    rows, wrong = soak.soak_samples(sampler, dtype, 1, seed, entries=ENTRIES)
    rounds = len(soak.LOGITS) * len(soak.TEMPERATURES)
    assert rows == rounds * sum(ENTRIES // k for k in soak.CLASSES)
    assert wrong == 0


X = np.array([[0.0, 60.0, 30.0, -np.inf]] * 4, "float32")


@pytest.mark.parametrize(
    ("wrong", "right", "bad"),
    [
        (
            soak.not_one_hot,
            [[0, 1, 0, 0], [0, 0, 1, 0]],
            [
                [0, 0, 0, 0],
                [0, 1, 1, 0],
                [0, 0.999, 0, 0],
                [0, np.nan, 0, 0],
                [1, 0, 0, 0],
                [0, 0, 0, 1],
            ],
        ),
        (soak.not_an_index, [1, 2], [-1, 0, 3, 4, 1.5, np.nan]),
        (
            soak.not_two_hot,
            [[1, 1, 0, 0], [0, 1, 1, 0]],
            [[0, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1], [np.nan, 1, 1, 0]],
        ),
        (
            soak.not_gates,
            [[0, 1, 1, 0], [1, 1, 0, 0]],
            [[0, 0, 1, 0], [0, 1, 1, 1], [0.5, 1, 1, 0], [np.nan, 1, 1, 0]],
        ),
        (
            soak.not_relaxed,
            [[0, 1, 0, 0], [0.25, 0.25, 0.5, 0]],
            [[0, 0, 0, 0], [-0.5, 1.5, 0, 0], [np.nan, 1, 0, 0]],
        ),
    ],
    ids=["one-hot", "index", "two", "gates", "relaxed"],
)
def test_what_is_no_sample_is_seen(wrong, right, bad):
    def found(y):
        return to_numpy(wrong(tensor(np.array([y], "float32")), tensor(X[:1])))

    for y in right:
        assert not np.any(found(y))
    for y in bad:
        assert np.all(found(y)), y


def test_what_is_no_permutation_is_seen():
    eye = np.eye(4)
    free = np.zeros((4, 4))

    def found(y):
        given = (tensor(z.astype("float32")) for z in (y, free))
        return np.any(to_numpy(soak.not_a_permutation(*given)))

    assert not found(eye)
    for bad in (eye[[0, 0, 1, 2]], eye * [1, 1, 1, 0], 0.25 + 0 * eye):
        assert found(bad)
    # Forbidden pairs may leave a row without a place, and take none.
    free[3, 3] = -np.inf
    assert found(eye)
    assert not found(np.diag([1.0, 1, 1, 0]))
