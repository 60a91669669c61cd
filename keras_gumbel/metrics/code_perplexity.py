"""How many codes are in use, as a perplexity."""

from typing import Any

import keras
from keras import ops

from keras_gumbel._typing import Tensor
from keras_gumbel.metrics.code_counts import CodeCounts


@keras.saving.register_keras_serializable(package="keras_gumbel")
class CodePerplexity(CodeCounts):
    """Measure how many codes are in use: exp of the entropy of their counts.

        perplexity = exp(-sum_k p_k log p_k),  p = counts / sum(counts)

    The perplexity is 1 if one code is always chosen, and `num_codes` if all are
    chosen equally often. A value that falls towards 1 means that the codebook
    collapses. It counts everything since the last reset, exactly to 2**53,
    summed over replicas. Before any update it is 0.

    Integers and one-hot rows give the perplexity of the choices. Rows of
    probabilities give the perplexity of their mean. If the choices have a low
    perplexity and the probabilities a high one, the encoder is undecided: it
    spreads its probability over many codes, and the same few win.

    In a model it belongs to the layer that makes the codes, as in the example
    below: Keras resets it and shows it in the logs of `fit`. Do not give it to
    `compile`, which would call it with targets and predictions.

    Args:
        num_codes: Positive integer, the size of the codebook.
        name: String, in the logs. Defaults to `"code_perplexity"`.
        dtype: Dtype of the result; `None` is `keras.config.floatx()`, or
            float32 if that is a half. (A float16 that cannot hold `num_codes`
            becomes float32, too.) Defaults to `None`.

    Call arguments:
        codes: Integer tensor of any shape, the codes in [0, num_codes); or
            float tensor `(..., num_codes)` of one-hot or relaxed samples or
            probabilities, each in [0, 1]. (A row of zeros, where all classes
            were masked, counts nothing.)
        sample_weight: Optional numbers >= 0, how often each code or row
            counts, of the shape of the codes or its first axes. Codes with
            weight 0 may hold anything: use it to leave out padding. (The
            metric does not read Keras's own mask.)

    Returns:
        A scalar tensor.

    Raises:
        ValueError: For codes or weights out of range or of another shape.
            Where the values are only known when the program runs, the result
            is NaN instead, until the next reset.
        TypeError: For codes that are neither integers nor floats.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> metric = kg.metrics.CodePerplexity(8)
    >>> metric.update_state([0, 5, 0, 5])
    >>> round(float(metric.result()), 4)
    2.0
    >>> class Codes(keras.layers.Layer):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.choice = kg.GumbelSoftmax(hard=True)
    ...         self.perplexity = kg.metrics.CodePerplexity(8)
    ...     def call(self, logits, training=None):
    ...         codes = self.choice(logits, training=training)
    ...         self.perplexity.update_state(codes)
    ...         return codes
    >>> model = keras.Sequential([keras.Input((8,)), Codes()])
    >>> model.compile(loss="mse")
    >>> x = keras.ops.eye(8) * 100
    >>> round(model.evaluate(x, x, verbose=0, return_dict=True)[
    ...     "code_perplexity"], 4)
    8.0

    Reference:
        Baevski, Zhou, Mohamed, Auli, "wav2vec 2.0: A Framework for
        Self-Supervised Learning of Speech Representations", 2020, section
        3.2, https://arxiv.org/abs/2006.11477
    """

    def __init__(
        self, num_codes: int, name: str = "code_perplexity", dtype: Any = None
    ) -> None:
        super().__init__(num_codes, name, dtype)

    def _summary(self, counts: Tensor, total: Tensor) -> Tensor:
        p = counts / total
        log = ops.log(ops.where(p == 0, 1.0, p))
        return ops.exp(-ops.sum(p * log, axis=-1))
