"""One line of a `GradientReport`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GradientRow:
    """The measurements of one estimator at one temperature.

    Below, g is the gradient of one sample, g* the reference gradient, and | |
    the Euclidean length over all logits of the batch.

    Args:
        estimator: The estimator's name, or its `repr` if its settings are not
            the defaults.
        temperature: Dimensionless; None where there is none.
        relative_bias: |E g - g*| / |g*|. Its square is estimated without the
            noise of the sample means; a negative estimate counts as 0.
        bias_error: The standard error of `relative_bias`, in the same unit:
            sqrt(bias**2 + se) - bias, where se is the standard error of the
            squared bias. It includes the error of a sampled reference.
        relative_variance: E |g - E g|**2 / |g*|**2, the total variance of one
            sample's gradient.
        cosine: The cosine of the angle between E g and g*; NaN if E g is 0.
        seconds: Wall time of one gradient sample, with the objective and
            without compilation: the median over several calls.
    """

    estimator: str
    temperature: float | None
    relative_bias: float
    bias_error: float
    relative_variance: float
    cosine: float
    seconds: float
