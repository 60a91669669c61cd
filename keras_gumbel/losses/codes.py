"""Loss terms that keep codes in use."""

from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import dense


@backend.unchecked
def diversity_loss(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the share of the codes that a batch leaves unused, on average.

        1 - exp(H(p)) / K,  p = mean of softmax(logits) over the batch

    It is 0, the least, if all K codes are equally likely over the batch,
    however certain each row is. Several groups are averaged. The batch spans
    all replicas. wav2vec 2.0 maximises the entropy itself in its equation 4;
    its authors trained with the form used here.

    Args:
        logits: Float tensor `(..., num_groups, num_codes)`, in nats; -inf
            forbids a code.
        mask: Optional bool tensor `(...)`, False for positions to leave out.

    Returns:
        A float32 scalar in [0, 1).

    Gradient:
        Exact.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = 50.0 * keras.ops.eye(4)[:2, None]
    >>> round(float(kg.losses.diversity_loss(logits)), 4)
    0.5

    Reference:
        Baevski, Zhou, Mohamed, Auli, "wav2vec 2.0", 2020, eq. 4,
        https://arxiv.org/abs/2006.11477
    """
    logits = dense(logits, "logits")
    groups, codes = logits.shape[-2:]
    x = ops.cast(ops.reshape(logits, (-1, groups, codes)), "float32")
    # A row that allows no code does not count.
    real = ops.any(x > numerics.FORBIDDEN, axis=(1, 2))
    if mask is not None:
        real = real & ops.reshape(dense(mask, "mask"), (-1,))
    x = ops.where(real[:, None, None], x, 0.0)
    p, _ = numerics.log_softmax(x, -1)
    p = ops.where(real[:, None, None], p, 0.0)
    count = ops.sum(ops.cast(real, "float32"))
    count = ops.maximum(backend.sum_over_replicas(count), 1.0)
    mean = backend.sum_over_replicas(ops.sum(p, axis=0)) / count
    log = ops.log(ops.where(mean > 0, mean, 1.0))
    entropy = -ops.sum(mean * log, axis=-1)
    return 1.0 - ops.mean(ops.exp(entropy)) / codes


# The number of bits whose codes are counted together, 2**8 codes.
_BITS_TOGETHER = 8


def bit_entropy_gap(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return how far bits are from certain, and codes from equal use.

        mean of H(q)  -  H(mean of q),  in nats

    The first term is the entropy of Bernoulli(sigmoid(logits)), summed over
    bits: least if every bit is certain. The second is the entropy of the
    codes in the batch of all replicas: largest if all codes are used alike.
    It is summed over parts of 8 bits: exact for up to 8 bits, and an upper
    bound above that.

    Args:
        logits: Float tensor `(..., bits)`.
        mask: Optional bool tensor `(...)`, False for positions to leave out.

    Returns:
        A float32 scalar, between -bits log 2 and bits log 2; 0 if the mask
        leaves nothing.

    Gradient:
        Exact for the computed value.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.convert_to_tensor([[40.0, 40.0], [-40.0, 40.0]])
    >>> round(float(kg.losses.bit_entropy_gap(logits)), 4)
    -0.6931

    Reference:
        Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual
        Generation", 2023, section 3.1, https://arxiv.org/abs/2310.05737
    """
    logits = dense(logits, "logits")
    bits = logits.shape[-1]
    x = ops.cast(ops.reshape(logits, (-1, bits)), "float32")
    weight = ops.ones(ops.shape(x)[:1], "float32")
    if mask is not None:
        mask = ops.reshape(dense(mask, "mask"), (-1,))
        # Masked entries may be anything, even NaN.
        x = ops.where(mask[:, None], x, 0.0)
        weight = ops.cast(mask, "float32")
    total = ops.sum(weight)
    weight = weight / ops.maximum(total, 1.0)
    # H = softplus(-x) + (1 - p) x, where no term is large.
    entropy = ops.softplus(-x) + ops.sigmoid(-x) * x
    sure = ops.sum(weight * ops.sum(entropy, axis=-1))
    both = ops.log_sigmoid(ops.stack([-x, x], axis=-1))
    used = 0.0
    share = total / ops.maximum(backend.sum_over_replicas(total), 1.0)
    for first in range(0, bits, _BITS_TOGETHER):
        codes = both[:, first]
        for n in range(first + 1, min(first + _BITS_TOGETHER, bits)):
            codes = codes[:, :, None] + both[:, n][:, None]
            codes = ops.reshape(codes, (-1, codes.shape[1] * 2))
        mean = ops.sum(weight[:, None] * ops.exp(codes), axis=0)
        mean = backend.sum_over_replicas(share * mean)
        some = ops.where(mean > 0, mean, 1.0)
        used = used - ops.sum(mean * ops.log(some))
    return sure - used
