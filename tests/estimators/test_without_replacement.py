"""The score function of different classes, by every order of drawing them."""

import itertools
import math

import keras
import numpy as np
import pytest

from keras_gumbel.estimators import without_replacement_loss
from tests import reference
from tests.harness import tensor, to_numpy, value_and_grad

CLASSES = 6
LOGITS = np.array([0.4, -1.0, 2.0, 0.0, -3.0, 1.1])
COST = np.array([2.0, -1.0, 0.5, 4.0, -2.0, 0.3])


def probability(subset, p, left_out=()):
    """That `subset` comes first, by a sum over its orders."""
    total = 0.0
    for order in itertools.permutations(subset):
        chance, left = 1.0, 1.0 - sum(p[i] for i in left_out)
        for one in order:
            chance *= p[one] / left
            left -= p[one]
        total += chance
    return total


def gradients(cost, logits, indices, **options):
    """The loss of each row, and the gradients of their sum."""
    loss, found = value_and_grad(
        lambda values, logits: without_replacement_loss(
            values, logits, tensor(indices, "int32"), **options
        ),
        cost,
        logits,
    )
    return to_numpy(loss), *to_numpy(found)


def enumerated(k, logits=LOGITS):
    """Each subset with its probability, and what the loss makes of it."""
    subsets = np.array(list(itertools.combinations(range(CLASSES), k)))
    p = reference.softmax(logits, 1.0)
    chances = np.array([probability(subset, p) for subset in subsets])
    assert chances.sum() == pytest.approx(1)
    rows = np.tile(logits, (len(subsets), 1))
    return chances, subsets, *gradients(COST[subsets], rows, subsets)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_unbiased_by_enumeration(k):
    """The value, its gradient to the logits, and what f's parameters get."""
    chances, subsets, loss, d_values, d_logits = enumerated(k)
    p = reference.softmax(LOGITS, 1.0)
    mean = p @ COST
    np.testing.assert_allclose(chances @ loss, mean, atol=1e-12)
    np.testing.assert_allclose(
        chances @ d_logits, p * (COST - mean), atol=1e-12
    )
    to_cost = np.zeros(CLASSES)
    np.add.at(to_cost, subsets, chances[:, None] * d_values)
    np.testing.assert_allclose(to_cost, p, atol=1e-12)


def test_the_baseline_takes_variance_away():
    """A cost that is nearly one number has nearly no gradient to sample."""
    subsets = np.array(list(itertools.combinations(range(CLASSES), 3)))
    rows = np.tile(LOGITS, (len(subsets), 1))
    near = 1000.0 + COST[subsets]
    found = gradients(near, rows, subsets)[2]
    np.testing.assert_allclose(
        found, gradients(COST[subsets], rows, subsets)[2], atol=1e-9
    )


@pytest.mark.parametrize("far", [0.0, 60.0, 300.0])
def test_each_gradient_is_the_formula(far):
    """By orders of drawing, in any order of the indices, shifted far away."""
    subset, p = (5, 2, 3), reference.softmax(LOGITS, 1.0)
    f = COST[list(subset)]
    whole, expected, due = probability(subset, p), 0.0, 0.0
    for s in subset:
        rest = [i for i in subset if i != s]
        alone = probability(rest, p, [s])
        baseline = 0.0
        for t in subset:
            others = [i for i in rest if i != t]
            ratio = probability(others, p, {s, t}) / alone if t != s else 1.0
            baseline += p[t] * ratio * COST[t]
        due += p[s] * alone / whole * COST[s]
        slope = p[s] * (np.eye(CLASSES)[s] - p)
        expected = expected + alone / whole * (COST[s] - baseline) * slope
    loss, _, found = gradients(f, LOGITS + far, subset)
    np.testing.assert_allclose(loss, due, rtol=1e-10)
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("by", ["class_mask", "-inf"])
def test_forbidden_classes_are_as_if_not_there(by):
    mask = np.array([1, 1, 1, 0, 1, 1], bool)
    indices = np.array([2, 0, 5])
    arguments, options = LOGITS, {"class_mask": tensor(mask)}
    if by == "-inf":
        arguments, options = np.where(mask, LOGITS, -np.inf), {}
    loss, d_values, d_logits = gradients(
        COST[indices], arguments, indices, **options
    )
    right = gradients(COST[indices], LOGITS[mask], [2, 0, 4])
    np.testing.assert_allclose(loss, right[0], rtol=1e-12)
    np.testing.assert_allclose(d_values, right[1], rtol=1e-12)
    np.testing.assert_allclose(d_logits[mask], right[2], atol=1e-12)
    assert d_logits[3] == 0


def test_rare_classes_keep_their_digits():
    """Each 1e-30 of the class before: what 1 - p would have lost."""
    logits = np.array([0.0, -69.0, -138.0, -207.0])
    loss, _, found = gradients(np.array([1.0, 2.0, 3.0]), logits, [0, 1, 2])
    assert loss == pytest.approx(1.0)
    assert np.isfinite(found).all()
    assert found[1] == pytest.approx(math.exp(-69.0), rel=1e-6)


def test_half_precision_is_computed_in_float32():
    logits = tensor(np.array([LOGITS]), "float16")
    indices = tensor(np.array([[5, 2, 3]]))
    values = tensor([[1000.0, 1001.0, 1003.0]], "float16")
    loss = without_replacement_loss(values, logits, indices)
    assert keras.backend.standardize_dtype(loss.dtype) == "float16"
    right = without_replacement_loss(
        keras.ops.cast(values, "float64"),
        keras.ops.cast(logits, "float64"),
        indices,
    )
    np.testing.assert_allclose(
        to_numpy(loss).astype(float), to_numpy(right), rtol=2e-3
    )


def test_what_was_not_drawn_is_nan():
    x = np.tile(LOGITS, (2, 1))
    loss = gradients(np.ones((2, 2)), x, [[0, -1], [1, 2]])[0]
    assert np.isnan(loss).tolist() == [True, False]


X = np.zeros((4, 6), "float32")


@pytest.mark.parametrize(
    ("values", "indices", "error", "message"),
    [
        (np.ones((4, 2), "int32"), np.ones((4, 2), "int32"), TypeError, "floa"),
        (X[:, :2], X[:, :2], TypeError, "`indices` must be an integer"),
        (X[:, :2], np.ones((3, 2), "int32"), ValueError, "logits' shape"),
        (X[:, :1], np.ones((4, 1), "int32"), ValueError, "2 to 8 classes"),
        (X[:, :3], np.ones((4, 2), "int32"), ValueError, "the shape of `indi"),
    ],
)
def test_messages(values, indices, error, message):
    with pytest.raises(error) as caught:
        without_replacement_loss(values, X, indices)
    assert message in str(caught.value)
