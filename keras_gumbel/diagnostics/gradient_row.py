"""One line of a `GradientReport`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GradientRow:
    """How one estimator did at one temperature.

    g is the gradient of one sample, g* the reference, and | | the Euclidean
    length over all logits, the batch included.

    Args:
        estimator: The estimator's name, or how it prints where its settings
            are not the defaults.
        temperature: Dimensionless; None where there is none.
        relative_bias: |E g - g*| / |g*|, with the noise of the Monte Carlo
            means removed from its square, and 0 where that leaves less.
        bias_error: The standard error of the bias, in the same unit, that of
            the reference included: how far up one standard error of the
            square takes its root.
        relative_variance: E |g - E g|**2 / |g*|**2, the trace of the
            covariance of one sample's gradient.
        cosine: Of the angle between the mean gradient and g*; NaN where the
            mean is zero.
        seconds: Wall time for one gradient sample, the objective's part
            included and compilation not: the median over several calls.
    """

    estimator: str
    temperature: float | None
    relative_bias: float
    bias_error: float
    relative_variance: float
    cosine: float
    seconds: float
