"""The gradient of an expectation, by enumeration."""

import numpy as np

from keras_gumbel._typing import Objective, Tensor
from keras_gumbel.diagnostics.enumeration import expectation_and_gradient
from keras_gumbel.diagnostics.problem import Problem


def exact_gradient(objective: Objective, logits: Tensor) -> np.ndarray:
    """Return the exact gradient of an expectation, by enumeration.

    It is the gradient that estimators estimate:

        d E f(z) / d logits = E[f(z) (D - p)]
        p = softmax(logits),  D = z as a one-hot

    Args:
        objective: Function of samples, as in `exact_expectation`. Its own
            gradient is not used.
        logits: Float array `(*batch, *variables, K)`, unnormalised
            log-probabilities in nats; -inf forbids a class.

    Returns:
        A float64 NumPy array of the shape of `logits`: for each example, the
        gradient of its own expectation; 0 at forbidden classes.

    Raises:
        ValueError: As for `exact_expectation`.
        TypeError: As for `exact_expectation`.

    Example:

    >>> import numpy as np, keras, keras_gumbel as kg
    >>> cost = lambda z: keras.ops.matmul(z, [3.0, 2.0, 1.0])
    >>> kg.diagnostics.exact_gradient(cost, np.zeros(3)).round(6)
    array([ 0.333333,  0.      , -0.333333])

    Reference:
        Williams, "Simple Statistical Gradient-Following Algorithms for
        Connectionist Reinforcement Learning", 1992: the mean of REINFORCE.
    """
    return expectation_and_gradient(Problem.of(objective, logits))[1]
