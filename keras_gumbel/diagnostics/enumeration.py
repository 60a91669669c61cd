"""All the joint states of a few discrete variables, one after the other."""

from collections.abc import Iterator

import numpy as np
from keras import ops

from keras_gumbel._typing import Tensor
from keras_gumbel._validation import check_number_of_states
from keras_gumbel.diagnostics.problem import CHUNK, Problem

MAX_STATES = 10**6


def expectation_and_gradient(
    problem: Problem,
) -> tuple[np.ndarray, np.ndarray]:
    """Return E f, shape `batch`, and its gradient to the logits, in float64.

        gradient = E[(f - b) D] - p E[f - b]

    with D the state as a one-hot. The baseline b, one of the values of f,
    keeps a large constant in f from drowning the rest.
    """
    check_number_of_states(problem.classes, problem.variables, MAX_STATES)
    p = problem.probs.reshape(-1, problem.variables, problem.classes)
    baseline = problem.baseline.reshape(-1, 1)
    mean, joint = np.zeros(baseline.shape), np.zeros(p.shape)
    for digits, states in _chunks(problem):
        prob = p[:, np.arange(problem.variables), digits].prod(-1)
        values = ops.convert_to_numpy(
            problem.values(_as_given(states, problem))
        )
        values = values.astype("float64").reshape(len(states), -1).T
        # The objective of an impossible state may be NaN.
        part = prob * np.where(prob > 0, values - baseline, 0.0)
        mean += part.sum(-1, keepdims=True)
        joint += np.tensordot(part, states, 1)
    gradient = joint - p * mean[..., None]
    expectation = (baseline + mean).reshape(problem.batch)
    return expectation, gradient.reshape(problem.shape)


def _chunks(problem: Problem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the states as class numbers (m, n) and as one-hots (m, n, K)."""
    size = max(1, CHUNK // max(1, problem.probs.size))
    weights = problem.classes ** np.arange(problem.variables)
    for start in range(0, problem.states, size):
        number = np.arange(start, min(start + size, problem.states))
        digits = number[:, None] // weights % problem.classes
        yield digits, np.eye(problem.classes)[digits]


def _as_given(states: np.ndarray, problem: Problem) -> Tensor:
    """Broadcast (m, n, K) to (m, *batch, *variables, K), for each example."""
    rank = len(problem.batch)
    one = (len(states), *(1,) * rank, *problem.shape[rank:])
    states = ops.cast(states.reshape(one), problem.logits.dtype)
    return ops.broadcast_to(states, (len(states), *problem.shape))
