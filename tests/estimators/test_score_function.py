"""REINFORCE with a leave-one-out baseline, against enumeration and NumPy."""

import itertools

import numpy as np
import pytest
from keras import ops

from keras_gumbel.estimators import score_function_loss
from tests import reference, statistics
from tests.harness import grad, tensor, to_numpy, value_and_grad
from tests.statistics import FALSE_FAIL_RATE
from tests.variants import slow

LOGITS = np.array([[0.3, -1.0, 0.9], [1.2, 0.1, -0.4]])
COST = np.array([[2.0, -1.0, 0.5], [0.3, 4.0, -2.0]])


def draw(logits, count, seed, axis=-1):
    """One-hot samples (count, *logits.shape), by NumPy."""
    logits = np.asarray(logits, "float64")
    noise = np.random.default_rng(seed).gumbel(size=(count, *logits.shape))
    axis = axis + 1 if axis >= 0 else axis
    return reference.one_hot_argmax(logits + noise, axis)


def gradients(values, logits, samples, weight=1.0, **options):
    """The loss, and the gradients of its weighted sum."""
    samples = ops.cast(samples, values.dtype)
    loss, found = value_and_grad(
        lambda values, logits: score_function_loss(
            values, logits, samples, **options
        ),
        values,
        logits,
        upstream=weight * np.ones(np.shape(values)[1:]),
    )
    return to_numpy(loss), *to_numpy(found)


def formula(values, logits, samples, axis=-1):
    """The gradient, in float64: 1/(S-1) sum_s (f_s - mean f) (D_s - p)."""
    values, samples = (np.asarray(x, "float64") for x in (values, samples))
    advantage = values - values.mean(0)
    axis = axis % np.ndim(logits)
    while advantage.ndim < samples.ndim - 1:
        advantage = advantage[..., None]
    advantage = np.expand_dims(advantage, axis + 1)
    score = samples - reference.softmax(logits, 1.0, axis)
    return np.sum(advantage * score, 0) / (len(values) - 1)


def joint_cost(samples):
    """A function of both variables that is not a sum of one of each."""
    first, second = (samples @ np.array([1.0, -2.0, 0.5])).T
    return first * second + np.sin(3 * first) + (samples * COST).sum((1, 2))


def exact_joint_gradient(logits):
    """By a loop over the 9 states of the two variables."""
    p = reference.softmax(logits, 1.0)
    gradient = 0.0
    for one, two in itertools.product(range(3), repeat=2):
        state = np.eye(3)[[one, two]]
        prob = p[0, one] * p[1, two]
        gradient += prob * joint_cost(state[None])[0] * (state - p)
    return gradient


# Gradients with a planted bug, of the right ones and the number of samples.
# The first is what comes of a baseline that has its own sample in it.
FAULTS = {
    "own sample in the baseline": lambda g, count: g * (count - 1) / count,
    "sign": lambda g, count: -g,
}


@pytest.fixture(scope="module")
def many_gradients(seed):
    """20,000 gradients of 3 samples each."""
    n, count = 20_000, 3
    logits = np.tile(LOGITS.astype("float32"), (n, 1, 1))
    samples = draw(logits, count, seed)
    flat = np.reshape(samples, (-1, 2, 3))
    values = joint_cost(flat).reshape(count, n).astype("float32")
    return gradients(values, logits, samples)[2]


def test_the_gradient_is_unbiased(many_gradients):
    """n = 20,000 gradients of S = 3 samples, in 4 free directions."""
    exact = exact_joint_gradient(LOGITS)
    assert statistics.mean_vector_p(many_gradients, exact) > FALSE_FAIL_RATE


@pytest.mark.parametrize("fault", FAULTS)
def test_that_test_can_fail(many_gradients, fault):
    wrong = FAULTS[fault](many_gradients, 3)
    exact = exact_joint_gradient(LOGITS)
    assert statistics.mean_vector_p(wrong, exact) < FALSE_FAIL_RATE


@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize(
    ("shape", "axis", "batch"),
    [
        ((5,), -1, ()),
        ((4, 5), -1, (4,)),
        ((4, 5), -1, ()),
        ((4, 5), 0, (5,)),
        ((4, 5), 0, ()),
        ((2, 3, 5), -1, (2,)),
        ((2, 3, 5), 1, (2,)),
        ((2, 3, 5), -2, (2, 5)),
        ((2, 3, 5), 0, (3,)),
        ((2, 3, 4, 5), 1, (2, 4)),
    ],
    ids=str,
)
def test_each_gradient_is_the_formula(count, shape, axis, batch, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=shape)
    samples = draw(logits, count, seed, axis=axis)
    values, weight = rng.normal(size=(count, *batch)), rng.normal(size=batch)
    loss, to_values, to_logits = gradients(
        values, logits, samples, weight, axis=axis
    )
    np.testing.assert_allclose(loss, values.mean(0), rtol=1e-12)
    weighted = values * weight
    np.testing.assert_allclose(
        to_values, np.broadcast_to(weight / count, values.shape)
    )
    np.testing.assert_allclose(
        to_logits, formula(weighted, logits, samples, axis), atol=1e-12
    )
    np.testing.assert_allclose(np.sum(to_logits, axis), 0, atol=1e-12)


@pytest.mark.parametrize("by", ["class_mask", "-inf"])
def test_forbidden_classes_get_no_gradient(by, seed):
    """As if they were not there; a row without classes gets none at all."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, 4))
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool)
    values = rng.normal(size=(5, 3))
    forbidden = np.where(mask, logits, -np.inf)
    samples = draw(forbidden, 5, seed)
    if by == "class_mask":
        arguments, options = logits, {"class_mask": mask}
    else:
        arguments, options = forbidden, {}
    loss, _, found = gradients(values, arguments, samples, **options)
    np.testing.assert_allclose(loss, values.mean(0))
    assert not np.any(found[~mask])
    for row in (0, 2):
        keep = mask[row]
        np.testing.assert_allclose(
            found[row, keep],
            formula(values[:, row], logits[row, keep], samples[:, row, keep]),
            atol=1e-12,
        )


@pytest.mark.parametrize(
    ("dtype", "digit"), [("float16", 2e-3), ("bfloat16", 2e-2)]
)
def test_half_precision_is_computed_in_float32(dtype, digit, seed):
    """The mean of many would overflow; one class of 1e4 would be inf."""
    logits = tensor([[2e4, 2e4, -2e4], [0.0, 1.0, 2.0]], dtype)
    samples = draw(logits, 200, seed)
    values = tensor(np.linspace(1000, 1400, 400).reshape(200, 2), dtype)
    loss, to_values, to_logits = gradients(values, logits, samples)
    assert loss.dtype == to_values.dtype == to_logits.dtype == dtype
    wide = np.asarray(values, "float64")
    np.testing.assert_allclose(
        np.asarray(loss, "float64"), wide.mean(0), rtol=digit
    )
    expected = formula(wide, np.asarray(logits, "float64"), samples)
    np.testing.assert_allclose(
        np.asarray(to_logits, "float64"), expected, rtol=2 * digit, atol=1e-2
    )


def test_huge_logits_do_not_reach_the_value():
    """Their surrogate overflows; the loss is still the mean."""
    logits = tensor([[3e38, -3e38, -3e38]])
    samples = np.array([[[1.0, 0, 0]], [[0, 1.0, 0]]])
    values = tensor([[1e3], [-1e3]])
    loss, _, found = gradients(values, logits, samples)
    assert np.array_equal(loss, [0.0])
    np.testing.assert_allclose(found, [[1000.0, -1000.0, 0.0]])


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("xla", [True, *slow(False)])
def test_the_same_in_a_program(xla, seed):
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    logits, values = rng.normal(size=(4, 3)), rng.normal(size=(6, 4))
    samples = draw(logits, 6, seed)

    def run(values, logits, samples):
        with tf.GradientTape() as tape:
            tape.watch([values, logits])
            loss = score_function_loss(values, logits, samples)
        return loss, *tape.gradient(loss, [values, logits])

    program = tf.function(
        run,
        jit_compile=xla,
        input_signature=[
            tf.TensorSpec((None, None), "float64"),
            tf.TensorSpec((None, 3), "float64"),
            tf.TensorSpec((None, None, 3), "float64"),
        ],
    )
    for ours, theirs in zip(
        program(values, logits, samples),
        gradients(values, logits, samples),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-14)


def test_nothing_flows_to_the_samples(seed):
    _, (found,) = value_and_grad(
        lambda samples: score_function_loss(np.ones((4, 2)), LOGITS, samples),
        draw(LOGITS, 4, seed),
    )
    assert found is None or not np.any(to_numpy(found))


def test_parameters_of_the_function_learn(seed):
    """f = w . D: the gradient to w is the mean sample."""
    samples = draw(LOGITS, 5, seed)
    found = grad(
        lambda weights: score_function_loss(
            ops.matmul(samples, weights), LOGITS, samples
        ),
        np.array([1.0, -2.0, 0.5]),
    )
    np.testing.assert_allclose(found, samples.sum((0, 1)) / 5, rtol=1e-12)
