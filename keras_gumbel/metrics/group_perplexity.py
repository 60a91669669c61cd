"""The perplexity of several codebooks."""

from keras import ops

from keras_gumbel._typing import Tensor
from keras_gumbel.metrics.code_perplexity import CodePerplexity


class GroupPerplexity(CodePerplexity):
    """The mean of `CodePerplexity` over groups, for a layer that owns it.

    Args:
        num_groups: Positive integer. Codes are numbered across groups: group
            g begins at g * num_codes.
        num_codes: Positive integer, the codes of one group.
        name: String.
    """

    def __init__(self, num_groups: int, num_codes: int, name: str) -> None:
        super().__init__(num_groups * num_codes, name)
        self.num_groups = num_groups

    def _summary(self, counts: Tensor, total: Tensor) -> Tensor:
        counts = ops.reshape(counts, (self.num_groups, -1))
        total = ops.sum(counts, axis=-1, keepdims=True)
        total = ops.where(total == 0, 1.0, total)
        return ops.mean(super()._summary(counts, total))
