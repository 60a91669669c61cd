"""Enumeration, against closed forms, finite differences and autodiff."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_gumbel.diagnostics import (
    enumeration,
    exact_expectation,
    exact_gradient,
)
from tests import reference
from tests.harness import grad, tensor


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def brute_force(f, logits, batch_rank):
    """The expectation by a loop over states and examples; f is NumPy."""
    batch, rest = logits.shape[:batch_rank], logits.shape[batch_rank:]
    variables, classes = int(np.prod(rest[:-1])), rest[-1]
    p = reference.softmax(logits, 1.0).reshape(*batch, variables, classes)
    expectation = np.zeros(batch)
    for choice in itertools.product(range(classes), repeat=variables):
        state = np.eye(classes)[list(choice)].reshape(rest)
        given = np.broadcast_to(state, logits.shape)
        prob = p[..., np.arange(variables), list(choice)].prod(-1)
        expectation += prob * f(given[None])[0]
    return expectation


def finite_differences(f, logits, batch_rank, step=1e-5):
    """The gradient of the expectation's sum, by central differences."""
    gradient = np.zeros(logits.shape)
    for place in np.ndindex(logits.shape):
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[place] += sign * step
            ends.append(brute_force(f, moved, batch_rank).sum())
        gradient[place] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def positions(z):
    """A number for each class, of tensors and arrays."""
    return np.asarray(z) @ np.array([1.0, -2.0, 0.5])


def quadratic(z):
    """Of both variables of each example: (..., 2, 3) -> (...)."""
    x = positions(z)
    return x[..., 0] * x[..., 1] + x[..., 0] ** 2


def of_each(z):
    """Another function for each of 4 examples: (..., 4, 3) -> (..., 4)."""
    x = positions(z)
    return x**3 + x * np.array([1.0, 0.0, -3.0, 2.0])


def of_all(z):
    """All the axes are variables: (..., 2, 2, 3) -> (...)."""
    x = positions(z)
    return (x[..., 0, 0] + x[..., 1, 1]) * x[..., 0, 1] - x[..., 1, 0] ** 2


# An objective, the shape of the logits, and how many axes are the batch.
CASES = {
    "one example": (quadratic, (2, 3), 0),
    "batch": (quadratic, (4, 2, 3), 1),
    "batch of two axes": (quadratic, (2, 2, 2, 3), 2),
    "one variable": (of_each, (4, 3), 1),
    "variables of two axes": (of_all, (2, 2, 3), 0),
}
each_case = pytest.mark.parametrize(
    ("f", "shape", "batch_rank"), CASES.values(), ids=CASES
)


@each_case
def test_expectation_is_the_sum_over_states(f, shape, batch_rank, seed):
    logits = normal(seed, *shape)
    found = exact_expectation(f, logits)
    assert found.dtype == "float64"
    np.testing.assert_allclose(
        found, brute_force(f, logits, batch_rank), rtol=1e-12, atol=1e-12
    )


@each_case
def test_gradient_is_that_of_the_expectation(f, shape, batch_rank, seed):
    logits = normal(seed, *shape)
    found = exact_gradient(f, logits)
    assert found.dtype == "float64"
    expected = finite_differences(f, logits, batch_rank)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_linear_is_the_jacobian(seed):
    """E c . z = c . p: its gradient is J(p) c."""
    logits, cost = normal(seed, 5, 7), normal(seed + 1, 5, 7)
    found = exact_gradient(lambda z: ops.sum(z * cost, -1), logits)
    jacobian = reference.softmax_jacobian(logits, 1.0)
    expected = np.einsum("bij,bj->bi", jacobian, cost)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_autodiff_of_the_enumerated_expectation(seed):
    """Any network will do, here of three variables of four classes."""
    shape = (2, 3, 4)
    logits = normal(seed, *shape)
    first, second = normal(seed + 1, 12, 8), normal(seed + 2, 8)

    def network(z):
        # Keras on torch has `matmul` in float32 alone.
        z = ops.reshape(z, (-1, 2, 12))
        hidden = ops.tanh(ops.einsum("svi,ij->svj", z, tensor(first)))
        return ops.einsum("svj,j->sv", hidden, tensor(second))

    choices = np.array(list(itertools.product(range(4), repeat=3)))
    states = np.broadcast_to(np.eye(4)[choices][:, None], (64, *shape))
    values = network(tensor(states))

    def expectation(logits):
        log_p = ops.sum(ops.log_softmax(logits) * tensor(states), (-2, -1))
        return ops.sum(ops.exp(log_p) * values, 0)

    np.testing.assert_allclose(
        exact_gradient(network, logits), grad(expectation, logits)
    )
    np.testing.assert_allclose(
        exact_expectation(network, logits), expectation(tensor(logits))
    )


@pytest.mark.parametrize("chunk", [1, 50, 1000])
def test_chunks_make_no_difference(chunk, seed, monkeypatch):
    logits, seen = normal(seed, 4, 2, 3), []

    def objective(z):
        seen.append(z.shape)
        return quadratic(z)

    whole = exact_gradient(quadratic, logits)
    monkeypatch.setattr(enumeration, "CHUNK", chunk)
    np.testing.assert_allclose(exact_gradient(objective, logits), whole)
    # The probe, and then all the 9 states, at most `chunk` numbers at once.
    assert seen[0] == (2, *logits.shape)
    assert sum(shape[0] for shape in seen[1:]) == 9
    assert max(shape[0] for shape in seen[1:]) <= max(1, chunk // 24)


def test_a_large_constant_changes_nothing(seed):
    """Of a value that float64 holds exactly beside it."""
    logits = normal(seed, 2, 3)

    def rounded(z):
        return np.round(quadratic(z) * 64) / 64

    found = exact_gradient(lambda z: 2.0**40 + rounded(z), logits)
    np.testing.assert_allclose(
        found, exact_gradient(rounded, logits), rtol=1e-12, atol=1e-15
    )


def test_a_constant_has_no_gradient_at_all(seed):
    def constant(z):
        return np.full(len(z), 0.1)

    logits = normal(seed, 3, 4)
    assert not np.any(exact_gradient(constant, logits))
    assert exact_expectation(constant, logits) == 0.1


def test_forbidden_classes_are_as_if_they_were_not_there(seed):
    """Whatever the objective says of them, NaN included."""
    logits = normal(seed, 2, 3)
    logits[1, 0] = -np.inf

    def objective(z):
        z = np.asarray(z)
        return np.where(z[..., 1, 0] == 1, np.nan, quadratic(z))

    found = exact_gradient(objective, logits)
    almost = np.where(logits == -np.inf, -1e3, logits)
    assert found[1, 0] == 0
    np.testing.assert_allclose(found, exact_gradient(quadratic, almost))
    np.testing.assert_allclose(
        exact_expectation(objective, logits),
        exact_expectation(quadratic, almost),
    )


def test_a_certain_state_is_its_own_expectation():
    logits = np.array([[0.0, -np.inf, -np.inf], [-900.0, 0.0, -900.0]])
    state = np.eye(3)[[0, 1]]
    assert exact_expectation(quadratic, logits) == quadratic(state)
    assert not np.any(exact_gradient(quadratic, logits))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_states_come_in_the_dtype_of_the_logits(dtype):
    seen = set()

    def objective(z):
        seen.add(keras.backend.standardize_dtype(z.dtype))
        return ops.sum(z * np.array([1, 2], dtype), -1)

    found = exact_gradient(objective, ops.zeros((3, 2), dtype))
    assert seen == {dtype}
    np.testing.assert_allclose(found, np.tile([-0.25, 0.25], (3, 1)))


def test_as_many_states_as_allowed(monkeypatch):
    """A sum of bits, of 10 variables; one state more is one too many."""
    monkeypatch.setattr(enumeration, "MAX_STATES", 1024)

    def bits(z):
        return ops.sum(z[..., 1], -1)

    assert exact_expectation(bits, np.zeros((10, 2))) == pytest.approx(5)
    with pytest.raises(ValueError, match="at most 1,024 joint states"):
        exact_expectation(bits, np.zeros((11, 2)))
