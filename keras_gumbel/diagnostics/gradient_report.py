"""Gradient estimators side by side, on an objective of the user's own."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_gumbel import backend
from keras_gumbel._typing import Objective, Seed, Tensor
from keras_gumbel._validation import (
    check_choice,
    check_integer,
    check_positive,
    check_reference,
    check_seed,
    check_sequence,
)
from keras_gumbel.diagnostics.enumeration import (
    MAX_STATES,
    expectation_and_gradient,
)
from keras_gumbel.diagnostics.gradient_row import GradientRow
from keras_gumbel.diagnostics.monte_carlo import (
    GROUPS,
    Draws,
    calls_and_size,
    draw,
    error_of_mean,
    jackknife_error,
    root,
    squared_length,
)
from keras_gumbel.diagnostics.problem import Problem
from keras_gumbel.diagnostics.report import GradientReport
from keras_gumbel.estimators import (
    Estimator,
    get,
    score_function_loss,
    serialize,
)
from keras_gumbel.estimators.estimator import names
from keras_gumbel.ops.gumbel_softmax import gumbel_softmax

SOFT, SCORE_FUNCTION = "soft", "score_function"


def gradient_report(
    objective: Objective,
    logits: Tensor,
    estimators: Sequence[str | Estimator] | None = None,
    temperatures: Sequence[float] = (0.5, 1.0),
    num_samples: int = 1000,
    *,
    reference_samples: int = 100_000,
    seed: int = 0,
) -> GradientReport:
    """Measure bias, variance and cost of gradient estimators on an objective.

    Use it to choose an estimator and a temperature for your own loss. If the
    variables of one example have at most 1,000,000 joint states, the reference
    gradient is exact, by enumeration. Otherwise it is the mean of many samples
    of the score function, and the report states its error.

    Args:
        objective: Function from samples `(m, *logits.shape)`, in the dtype
            of the logits, to float values `(m, *batch)`, made of differentiable
            operations: a model's loss, for example. It is called with many
            samples at once and traced into a graph, so it must treat each
            sample alone, and draw no random numbers.
        logits: Float array `(*batch, *variables, K)`, unnormalised
            log-probabilities in nats; -inf forbids a class.
        estimators: Names and objects of `keras_gumbel.estimators`, for hard
            samples; `"soft"` for the relaxed sample; `"score_function"` for
            `score_function_loss` of two samples, without a temperature. None
            for all names, including these two.
        temperatures: Positive numbers, dimensionless: a row for each.
        num_samples: Integer >= 32, gradients for each row; rounded up to
            whole calls of the same size, a multiple of 32.
        reference_samples: Integer >= 32, gradients for a reference that has
            to be sampled, of two samples each; rounded up likewise.
        seed: Integer in [0, 2**32). A row depends on it, but not on the other
            rows.

    Returns:
        A `GradientReport`, which prints as a table, and has `to_dict` and
        `plot`.

    Raises:
        ValueError: For an argument out of range, an objective whose values
            have another shape, or whose expectation has no gradient.
        TypeError: For arguments of another type.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> cost = lambda z: keras.ops.matmul(z, [3.0, 2.0, 1.0])
    >>> report = kg.diagnostics.gradient_report(
    ...     cost, [0.5, 0.0, -0.5], ["st_gumbel", "score_function"], [0.5]
    ... )
    >>> report.reference
    'exact'
    >>> biased, unbiased = report.rows
    >>> biased.relative_variance < unbiased.relative_variance
    True
    """
    check_integer(num_samples, "num_samples", minimum=GROUPS)
    check_integer(reference_samples, "reference_samples", minimum=GROUPS)
    check_sequence(temperatures, "temperatures")
    for temperature in temperatures:
        check_positive(temperature, "temperatures")
    check_integer(seed, "seed")
    check_seed(seed)
    rules = _rules(estimators)
    problem = Problem.of(objective, logits)
    exact = problem.states <= MAX_STATES
    reference = _reference(problem, exact, reference_samples, seed)
    square, _ = squared_length(reference)
    length = root(square)
    check_reference(length)

    def row(rule: str | Estimator, temperature: float | None) -> GradientRow:
        function = _function(problem, rule, temperature, _stream(seed))
        draws = draw(problem, function, num_samples, reference.mean(0))
        return _row(_label(rule), temperature, draws, reference)

    calls, size = calls_and_size(problem, num_samples)
    return GradientReport(
        rows=tuple(
            row(rule, temperature)
            for rule in rules
            for temperature in _temperatures(rule, temperatures)
        ),
        reference="exact" if exact else "sampled",
        reference_error=0.0 if exact else error_of_mean(reference) / length,
        num_samples=calls * size,
    )


def _rules(
    chosen: Sequence[str | Estimator] | None,
) -> list[str | Estimator]:
    """Return the estimators, and the two names that stand for no estimator."""
    others = (SOFT, SCORE_FUNCTION)
    known = (*names(), *others)
    if chosen is None:
        chosen = known
    check_sequence(chosen, "estimators")
    for rule in chosen:
        if isinstance(rule, str):
            check_choice(rule, "estimators", known)
    return [rule if rule in others else get(rule) for rule in chosen]


def _temperatures(
    rule: str | Estimator, temperatures: Sequence[float]
) -> Sequence[float | None]:
    return (None,) if rule == SCORE_FUNCTION else temperatures


def _label(rule: str | Estimator) -> str:
    form = rule if isinstance(rule, str) else serialize(rule)
    return form if isinstance(form, str) else repr(rule)


def _stream(seed: int, number: int = 0) -> keras.random.SeedGenerator:
    """Return one of several streams of a seed; seeds share no stream."""
    word = np.random.SeedSequence((seed, number)).generate_state(1)[0]
    return backend.stream(int(word))


def _function(
    problem: Problem,
    rule: str | Estimator,
    temperature: float | None,
    stream: Seed,
) -> Callable[[Tensor], Tensor]:
    """Return a function of logits (m, *shape) with each sample's gradient."""

    def score_function(logits: Tensor) -> Tensor:
        pair = ops.stack([logits, logits])
        samples = gumbel_softmax(pair, hard=True, seed=stream)
        samples = ops.stop_gradient(samples)
        values = problem.values(ops.reshape(samples, (-1, *problem.shape)))
        values = ops.reshape(values, (2, -1, *problem.batch))
        return score_function_loss(values, logits, samples)

    def pathwise(logits: Tensor) -> Tensor:
        hard = rule != SOFT
        y = gumbel_softmax(
            logits,
            temperature,
            hard=hard,
            estimator=rule if hard else "st_gumbel",
            seed=stream,
        )
        return problem.values(y)

    return score_function if rule == SCORE_FUNCTION else pathwise


def _reference(
    problem: Problem, exact: bool, num_samples: int, seed: int
) -> np.ndarray:
    """Return the gradient, or independent estimates of it: (GROUPS, D)."""
    if exact:
        _, gradient = expectation_and_gradient(problem)
        return np.broadcast_to(gradient.ravel(), (GROUPS, gradient.size))
    # The rows must not share its errors, so it has another stream.
    stream = _stream(seed, 1)
    function = _function(problem, SCORE_FUNCTION, None, stream)
    return draw(problem, function, num_samples).means


def _row(
    label: str,
    temperature: float | None,
    draws: Draws,
    reference: np.ndarray,
) -> GradientRow:
    truth, mean = reference.mean(0), draws.means.mean(0)
    # Pair the groups, so that the differences have the errors of both.
    off, off_without = squared_length(draws.means - reference)
    square, square_without = squared_length(reference)
    bias = root(off / square)
    error = jackknife_error(off_without / square_without)
    lengths = np.linalg.norm(mean) * np.linalg.norm(truth)
    cosine = mean @ truth / lengths if lengths else np.nan
    return GradientRow(
        estimator=label,
        temperature=None if temperature is None else float(temperature),
        relative_bias=bias,
        bias_error=root(bias**2 + error) - bias,
        relative_variance=draws.variance / square,
        cosine=float(cosine),
        seconds=draws.seconds,
    )
