"""The score function of classes drawn without replacement."""

import functools
import itertools

import numpy as np
from keras import ops

from keras_gumbel import backend, numerics
from keras_gumbel._typing import Tensor
from keras_gumbel._validation import (
    categorical_arguments,
    check_drawn_classes,
)


@backend.unchecked
def without_replacement_loss(
    values: Tensor,
    logits: Tensor,
    indices: Tensor,
    *,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Return an unbiased loss of k different classes, with a baseline.

        loss = sum_s p_s R_s f_s,  p = softmax(logits),  s in S
        R_s = P(S - s | without s) / P(S)
        d loss / d logits = sum_s R_s (f_s - b_s) dp_s / d logits
        b_s = sum_t p_t R_ts f_t,  R_ss = 1,
              R_ts = P(S - s - t | without s, t) / P(S - s | without s)

    P(S) is the probability that the classes of S come first, in any order, and
    P(. | without s) is the same if class s is unavailable. The mean of the loss
    is the mean of f under p, and the mean of its gradient is the gradient of
    that mean. REINFORCE estimates the same from k samples, where a class may
    occur twice. Here no class does, so k values tell more; if k is the number
    of classes, the loss is exact. f needs no gradient.

    Args:
        values: Float tensor `(..., k)`, f at each class of `indices`.
        logits: Float tensor `(..., classes)`, unnormalised log-probabilities
            in nats. -inf forbids a class.
        indices: Integer tensor `(..., k)`, the classes drawn without
            replacement, as `gumbel_top_k` returns them; k from 2 to 8, since
            the work grows as 2**k. A -1 among them gives NaN.
        class_mask: Optional bool tensor, True where a class is allowed, that
            broadcasts to the logits. Pass the mask that the indices were
            drawn with.

    Returns:
        The loss, a tensor of the shape of `logits` without the last axis, in
        the dtype of `values`.

    Gradient:
        To `logits`: as above, unbiased for every f. Forbidden classes get
        none. To `values`: p_s R_s, which trains the parameters of f.

    Raises:
        ValueError: For shapes that do not fit, a k out of range, or a mask
            that does not broadcast.
        TypeError: For values or logits that are not floats, or indices that
            are not integers.

    Example:

    >>> import keras, keras_gumbel as kg
    >>> logits = keras.ops.log([[0.2, 0.3, 0.5]])
    >>> _, drawn = kg.ops.gumbel_top_k(logits, 3, hard=True, seed=1)
    >>> cost = keras.ops.convert_to_tensor([1.0, 2.0, 4.0])
    >>> cost = keras.ops.take(cost, drawn)
    >>> loss = kg.estimators.without_replacement_loss(cost, logits, drawn)
    >>> round(float(loss[0]), 4)  # all classes: exact
    2.8

    Reference:
        Kool, van Hoof, Welling, "Estimating Gradients for Discrete Random
        Variables by Sampling without Replacement", 2020, eqs. 9 and 18,
        https://arxiv.org/abs/2002.06043
    """
    logits, _, class_mask, _, _ = categorical_arguments(
        logits, 1.0, -1, class_mask
    )
    values, indices = backend.to_tensor(values), backend.to_tensor(indices)
    check_drawn_classes(values, indices, logits)
    x = numerics.allowed(logits, class_mask)
    f = ops.cast(values, x.dtype)
    hot = ops.one_hot(indices, ops.shape(x)[-1], dtype=x.dtype)
    p = numerics.softmax(x, 1.0, -1)
    own = ops.sum(hot * p[..., None, :], axis=-1)
    own = ops.where(indices < 0, float("nan"), own)
    ratio, ratios = _leave_out(x, hot)
    baseline = ops.sum(ops.expand_dims(own * f, -2) * ratios, axis=-1)
    weight = ops.stop_gradient(own * ratio)
    pull = weight * (f - baseline)
    gradient = ops.sum(hot * pull[..., None], axis=-2)
    gradient -= p * ops.sum(pull, axis=-1, keepdims=True)
    # The surrogate is linear in the logits, with that gradient. It leaves out
    # forbidden logits, which are -inf.
    finite = ops.where(x == numerics.FORBIDDEN, 0.0, x)
    surrogate = ops.sum(ops.stop_gradient(gradient) * finite, axis=-1)
    nothing = backend.straight_through(ops.zeros_like(surrogate), surrogate)
    return ops.cast(ops.sum(weight * f, axis=-1) + nothing, values.dtype)


def _leave_out(x: Tensor, hot: Tensor) -> tuple[Tensor, Tensor]:
    """Return R_s, (..., k), and R_ts, (..., s, t), both constants."""
    k = hot.shape[-2]
    plan = _Plan(k)
    drawn = ops.max(hot, axis=-2) > 0.0
    rest = numerics.log_sum(ops.where(drawn, numerics.FORBIDDEN, x), -1)
    # 0 * -inf is NaN, and a forbidden class is never drawn.
    finite = ops.where(x == numerics.FORBIDDEN, 0.0, x)
    own = ops.sum(hot * finite[..., None, :], axis=-1)
    log_p = ops.stop_gradient(plan.log_probabilities(own, rest))
    whole, alone = log_p[..., :1], log_p[..., 1 : 1 + k]
    pairs = ops.take(log_p, plan.pairs, axis=-1) - alone[..., None]
    return ops.exp(alone - whole), ops.exp(pairs)


@functools.cache
class _Plan:
    """The recursion from the probabilities of small sets to larger ones.

    A set of the k classes is a number whose bits are its members. The classes
    left out are, in turn: none; each class; each pair.
    """

    def __init__(self, k: int) -> None:
        out = [
            left
            for size in (0, 1, 2)
            for left in itertools.combinations(range(k), size)
        ]
        self._k = k
        self._out = np.array([[i in left for i in range(k)] for left in out])
        sets = np.arange(2**k)
        self._member = (sets[:, None] >> np.arange(k)) & 1 == 1
        full = 2**k - 1
        self._read = np.array([full - sum(2**i for i in left) for left in out])
        # The pair (s, s) is s alone, whose ratio is then 1.
        self.pairs = np.array(
            [
                [out.index(tuple(sorted({s, t}))) for t in range(k)]
                for s in range(k)
            ]
        )

    def log_probabilities(self, own: Tensor, rest: Tensor) -> Tensor:
        """Return log P(S - r | without r) for each r that is left out.

            P({}) = 1,  P(T) = sum_t P(T - t) w_t / (sum of w not in T - t)

        Args:
            own: The logits of the classes drawn, (..., k).
            rest: The logarithm of the others' total weight, (..., 1).
        """
        nothing = numerics.FORBIDDEN
        own = ops.where(self._out, nothing, own[..., None, :])
        rest = ops.broadcast_to(rest, ops.shape(own[..., 0]))
        by_set: list[Tensor] = [ops.zeros_like(rest)]
        left: list[Tensor] = []
        for number, member in enumerate(self._member):
            if number:
                ways = [
                    by_set[number - 2**t] + own[..., t] - left[number - 2**t]
                    for t in np.flatnonzero(member)
                ]
                by_set.append(ops.logsumexp(ops.stack(ways), axis=0))
            there = [own[..., t] for t in np.flatnonzero(~member)]
            left.append(ops.logsumexp(ops.stack([rest, *there]), axis=0))
        each = [by_set[n][..., r] for r, n in enumerate(self._read)]
        return ops.stack(each, axis=-1)
