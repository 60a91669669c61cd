"""How good is a gradient? Exact gradients, and estimators beside them."""

from keras_gumbel.diagnostics.exact_expectation import (
    exact_expectation as exact_expectation,
)
from keras_gumbel.diagnostics.exact_gradient import (
    exact_gradient as exact_gradient,
)
from keras_gumbel.diagnostics.gradient_report import (
    gradient_report as gradient_report,
)
from keras_gumbel.diagnostics.gradient_row import GradientRow as GradientRow
from keras_gumbel.diagnostics.report import GradientReport as GradientReport
from keras_gumbel.diagnostics.temperature_report import (
    temperature_report as temperature_report,
)
from keras_gumbel.diagnostics.temperature_row import (
    TemperatureRow as TemperatureRow,
)
from keras_gumbel.diagnostics.temperatures import (
    TemperatureReport as TemperatureReport,
)
