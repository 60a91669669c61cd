"""The expectation of an objective, by enumeration."""

import numpy as np

from keras_gumbel._typing import Objective, Tensor
from keras_gumbel.diagnostics.enumeration import expectation_and_gradient
from keras_gumbel.diagnostics.problem import Problem


def exact_expectation(objective: Objective, logits: Tensor) -> np.ndarray:
    """Return the mean of an objective over all states of discrete variables.

        E f(z) = sum_z prod_i softmax(logits)_i[z_i] f(z)

    Args:
        objective: Function from one-hot states `(m, *logits.shape)`, in the
            dtype of the logits, to float values `(m, *batch)`. It is called
            with many states at once, and with the same state for every
            example of the batch.
        logits: Float array `(*batch, *variables, K)`, unnormalised
            log-probabilities in nats; -inf forbids a class. The values of the
            objective tell which axes are the batch. All variables are
            independent; one example's variables are enumerated together.

    Returns:
        A float64 NumPy array of the shape `batch`.

    Raises:
        ValueError: For more than 1,000,000 joint states, logits of NaN, +inf
            or without an allowed class, or values of another shape.
        TypeError: For logits that are not floats.

    Example:

    >>> import numpy as np, keras, keras_gumbel as kg
    >>> logits = np.log([[0.1, 0.2, 0.7]])
    >>> cost = lambda z: keras.ops.matmul(z, [3.0, 2.0, 1.0])
    >>> kg.diagnostics.exact_expectation(cost, logits).round(6)
    array([1.4])
    """
    return expectation_and_gradient(Problem.of(objective, logits))[0]
