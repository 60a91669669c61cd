"""The mathematics again, in NumPy float64, from the papers."""

import numpy as np


def softmax(x, temperature, axis=-1):
    """softmax(x / temperature); -inf is forbidden, nothing allowed is 0."""
    x = np.asarray(x, "float64")
    allowed = x > -np.inf
    peak = np.max(np.where(allowed, x, -1e300), axis, keepdims=True)
    shifted = np.where(allowed, x - peak, 0.0) / temperature
    weight = np.where(allowed, np.exp(shifted), 0.0)
    total = weight.sum(axis, keepdims=True)
    return weight / np.where(total == 0, 1, total)


def softmax_jacobian(x, temperature):
    """d softmax(x / temperature)_i / d x_j for x of shape (..., K)."""
    y = softmax(x, temperature)
    diagonal = y[..., :, None] * np.eye(y.shape[-1])
    outer = y[..., :, None] * y[..., None, :]
    return (diagonal - outer) / np.asarray(temperature)[..., None]


def softmax_vjp(x, temperature, dy, axis=-1):
    """`dy` times that Jacobian, and each entry's part of d temperature."""
    x, dy = np.asarray(x, "float64"), np.asarray(dy, "float64")
    y = softmax(x, temperature, axis)
    dx = y * (dy - np.sum(y * dy, axis, keepdims=True)) / temperature
    return dx, -dx * np.where(x > -np.inf, x, 0) / temperature


def one_hot_argmax(x, axis=-1):
    """1 at the first largest entry."""
    first = np.expand_dims(np.argmax(x, axis), axis)
    one_hot = np.zeros(np.shape(x))
    np.put_along_axis(one_hot, first, 1.0, axis)
    return one_hot * (np.max(x, axis, keepdims=True) > -np.inf)


def gumbel(t):
    """The quantile of probability 1 - t: -log(-log(1 - t))."""
    return -np.log(-np.log1p(-np.asarray(t, "float64")))


def gumbel_cdf(x):
    """P(g <= x)."""
    return np.exp(-np.exp(-np.asarray(x, "float64")))


def logistic_cdf(x):
    """P(g1 - g2 <= x), g1 and g2 independent Gumbel."""
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def threefry2x32(key, counter):
    """Threefry-2x32 of 20 rounds: two words of key, two of counter.

    Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2,
    3", 2011, section 3.3.
    """
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    k0, k1 = (np.uint32(word) for word in key)
    keys = (k0, k1, np.uint32(0x1BD11BDA) ^ k0 ^ k1)
    x0, x1 = (np.asarray(word, "uint32") for word in counter)
    with np.errstate(over="ignore"):
        x0, x1 = x0 + keys[0], x1 + keys[1]
        for group in range(1, 6):
            for rotation in rotations[(group - 1) % 2]:
                x0 = x0 + x1
                x1 = (x1 << np.uint32(rotation)) | (
                    x1 >> np.uint32(32 - rotation)
                )
                x1 = x1 ^ x0
            x0 = x0 + keys[group % 3]
            x1 = x1 + keys[(group + 1) % 3] + np.uint32(group)
    return x0, x1


def random_bits(seed, count, n, start=0):
    """The 64-bit words behind draw number `count` of `seed`, from `start` on.

    Word i is the block of counter i, low word first, under the key
    (seed, count), its first word the low half.
    """
    index = np.uint64(start) + np.arange(n, dtype="uint64")
    counter = index.astype("uint32"), (index >> np.uint64(32)).astype("uint32")
    low, high = threefry2x32((seed, count), counter)
    return (high.astype("uint64") << np.uint64(32)) | low


def uniform(seed, count, n, start=0):
    """(bits + 1/2) / 2**64, below 1 as float64 has it."""
    bits = random_bits(seed, count, n, start)
    return np.minimum((bits + 0.5) / 2.0**64, 1 - 2.0**-53)


def jacobian_product(p, g):
    """(diag(p) - p p') g along the last axis."""
    return p * (g - np.sum(p * g, -1, keepdims=True))


def straight_through(logits, one_hot, temperature, dy):
    """J(q) dy / temperature, q = softmax(logits / temperature)."""
    del one_hot
    q = softmax(logits, temperature)
    return jacobian_product(q, dy) / temperature


def reinmax(logits, one_hot, temperature, dy):
    """2 J((q + D) / 2) dy - J(p) dy / 2."""
    p, q = softmax(logits, 1.0), softmax(logits, temperature)
    middle = (q + one_hot) / 2
    return 2 * jacobian_product(middle, dy) - jacobian_product(p, dy) / 2


def gapped(logits, one_hot, temperature, dy, gap=1.0):
    """J(s) dy / temperature, s of the logits as the sample's gap moves them.

    In the paper's two steps: the sample is raised to the maximum, and what
    is nearer to it than the gap lowered.
    """
    logits, peak = np.asarray(logits, "float64"), np.max(logits, -1)[..., None]
    with np.errstate(invalid="ignore"):
        raised = np.where(one_hot == 1, peak - logits, 0)
        lowered = np.where(one_hot == 1, 0, np.maximum(logits - peak + gap, 0))
    s = softmax(logits + raised - lowered, temperature)
    return jacobian_product(s, dy) / temperature


def mean_gap(logits, one_hot):
    """-log(1 - p) / p at the sample."""
    p = np.sum(softmax(logits, 1.0) * one_hot, -1, keepdims=True)
    return -np.log1p(-p) / p


def sigmoid(x):
    """1 / (1 + exp(-x)), to full relative precision on both sides."""
    x = np.asarray(x, "float64")
    e = np.exp(-np.abs(x))
    return np.where(x > 0, 1.0, e) / (1 + e)


def sigmoid_vjp(x, temperature, dy):
    """`dy` at sigmoid(x / temperature), to x and each part to temperature."""
    s = sigmoid(-np.abs(x) / temperature)
    dx = s * (1 - s) * dy / temperature
    return dx, -dx * x / temperature


def logistic(seed, count, n, start=0):
    """+-log((1 - t) / t), the sign the first bit, t (rest + 1/4) / 2**64."""
    bits = random_bits(seed, count, n, start)
    rest = (bits & np.uint64(2**63 - 1)).astype("float64")
    t = (rest + 0.25) / 2.0**64
    size = np.log1p(-t) - np.log(t)
    return np.where(bits >> np.uint64(63) == 1, -size, size)


def pair(x):
    """(0, x): the two classes of a gate."""
    x = np.asarray(x, "float64")
    return np.stack([np.zeros_like(x), x], -1)


def of_gates(rule):
    """A rule of one-hot samples, as one of gates."""

    def gate_rule(logits, gate, temperature, dy):
        one_hot = np.stack([1.0 - gate, gate], -1)
        return rule(pair(logits), one_hot, temperature, pair(dy))[..., 1]

    return gate_rule


def successive_softmaxes(x, temperature, k):
    """Xie and Ermon's relaxed k-hot, algorithm 1, along the last axis.

    log(1 - a) is that of the sum over all other classes, one by one.
    """
    w = np.asarray(x, "float64")
    k_hot = np.zeros(w.shape)
    others = ~np.eye(w.shape[-1], dtype=bool)
    for _ in range(k):
        z = w / temperature
        log_a = z - np.logaddexp.reduce(z, -1, keepdims=True)
        k_hot += np.exp(log_a)
        every = np.broadcast_to(log_a[..., None, :], (*w.shape, w.shape[-1]))
        w = w + np.logaddexp.reduce(every, -1, where=others, initial=-np.inf)
    return k_hot


def order_of(x, descending=True):
    """Which entry is at each place; -1 where there is none."""
    real = x > -np.inf
    key = np.where(real, -x if descending else x, np.inf)
    order = np.argsort(key, axis=-1, kind="stable")
    return np.where(np.take_along_axis(real, order, -1), order, -1)


def hard_sort(x, descending=True):
    """The permutation matrix of the order of x, places before entries."""
    order = order_of(x, descending)[..., None]
    return 1.0 * (order == np.arange(x.shape[-1]))


def soft_sort_weights(x, temperature, descending=True):
    """exp(-|z_i - x_j| / temperature), z the sorted x; no entry, no weight."""
    order = order_of(x, descending)
    temperature = np.asarray(temperature)[..., None]
    z = np.take_along_axis(x, order, -1)[..., :, None]
    real = (order >= 0)[..., :, None] & (x > -np.inf)[..., None, :]
    with np.errstate(invalid="ignore"):
        gap = np.where(real, np.abs(z - x[..., None, :]), 0.0)
    return np.where(real, np.exp(-gap / temperature), 0.0)


def _normalised(weights, axis):
    total = weights.sum(axis, keepdims=True)
    return weights / np.where(total == 0, 1, total)


def soft_sort(x, temperature, descending=True):
    """Prillo and Eisenschlos, eq. 3."""
    return _normalised(soft_sort_weights(x, temperature, descending), -1)


def soft_ranks(x, temperature, descending=True):
    """The mean place of each entry, by the same weights."""
    weights = soft_sort_weights(x, temperature, descending)
    return np.arange(x.shape[-1]) @ _normalised(weights, -2)
