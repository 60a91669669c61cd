"""The share of the codes in use."""

from typing import Any

import keras
from keras import ops

from keras_gumbel._typing import Tensor
from keras_gumbel.metrics.code_counts import CodeCounts


@keras.saving.register_keras_serializable(package="keras_gumbel")
class CategoryUsage(CodeCounts):
    """Measure the share of the codes that was seen at least once.

        usage = sum_k [counts_k > 0] / num_codes

    It is 0 before any update, and at most 1. It counts everything since the
    last reset, over all replicas.

    Give it codes or one-hot rows. A relaxed row gives every code a share,
    however small, so that such rows make the usage 1 at once.

    In a model it belongs to the layer that makes the codes, as
    `CodePerplexity` shows.

    Args:
        num_codes: Positive integer, the size of the codebook.
        name: String, in the logs. Defaults to `"category_usage"`.
        dtype: Dtype of the result; `None` is `keras.config.floatx()`, or
            float32 if that is a half. (A float16 that cannot hold `num_codes`
            becomes float32, too.) Defaults to `None`.

    Call arguments:
        codes: Integer codes, or rows of floats `(..., num_codes)`.
        sample_weight: Optional numbers >= 0, one for each code or row; a
            code with weight 0 was not seen.

    Returns:
        A scalar tensor.

    Raises:
        ValueError: As for `CodePerplexity`; NaN where that gives NaN.
        TypeError: As for `CodePerplexity`.

    Example:

    >>> import keras_gumbel as kg
    >>> metric = kg.metrics.CategoryUsage(8)
    >>> metric.update_state([0, 5, 0, 5])
    >>> float(metric.result())
    0.25
    """

    def __init__(
        self, num_codes: int, name: str = "category_usage", dtype: Any = None
    ) -> None:
        super().__init__(num_codes, name, dtype)

    def _summary(self, counts: Tensor, total: Tensor) -> Tensor:
        del total
        return ops.mean(ops.cast(counts > 0, counts.dtype))
