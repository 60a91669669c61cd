"""One line of a `TemperatureReport`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TemperatureRow:
    """The measurements of one temperature with one estimator.

    Below, g is the gradient of one batch where training began, to the weights
    that learn through the samples, and E its mean over the noise of the
    samples. L is the loss of that batch with hard samples.

    Args:
        estimator: The estimator's name, or its `repr` if its settings are not
            the defaults; `"soft"` for soft samples; `"as built"` for the
            layers' own.
        temperature: Dimensionless.
        loss: The mean loss with hard samples, after training.
        behind: `loss` minus the loss of the best row.
        behind_error: The standard error of `behind`, over batches and noise.
        slope_ratio: How fast L falls against E g, divided by |E g|, its rate
            if the gradient had no bias. So 1 is no bias in this direction, and
            0 is a gradient that does not lower the loss.
        slope_error: The standard error of `slope_ratio`.
        relative_variance: E |g - E g|**2 / |E g|**2, the total variance of one
            gradient; infinite if E g is lost in the noise.
        seconds: Wall time of one training step, the median.
    """

    estimator: str
    temperature: float
    loss: float
    behind: float
    behind_error: float
    slope_ratio: float
    slope_error: float
    relative_variance: float
    seconds: float
