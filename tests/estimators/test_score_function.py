"""REINFORCE with a leave-one-out baseline, against enumeration and NumPy."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

import keras_gumbel as kg
from keras_gumbel.estimators import score_function_loss
from tests import reference, statistics
from tests.statistics import FALSE_FAIL_RATE

LOGITS = np.array([[0.3, -1.0, 0.9], [1.2, 0.1, -0.4]])
COST = np.array([[2.0, -1.0, 0.5], [0.3, 4.0, -2.0]])


def draw(logits, count, seed, **options):
    """One-hot samples (count, *logits.shape)."""
    many = tf.repeat(tf.convert_to_tensor(logits)[None], count, axis=0)
    axis = options.pop("axis", -1)
    options["axis"] = axis + 1 if axis >= 0 else axis
    return kg.ops.gumbel_softmax(many, hard=True, seed=seed, **options)


def gradients(values, logits, samples, weight=1.0, **options):
    """The loss, and the gradients of its weighted sum."""
    values, logits = tf.convert_to_tensor(values), tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch([values, logits])
        loss = score_function_loss(values, logits, samples, **options)
        total = tf.reduce_sum(loss * weight)
    return loss, *tape.gradient(total, [values, logits])


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
    return gradients(values, logits, samples)[2].numpy()


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
    assert not np.any(found.numpy()[~mask])
    for row in (0, 2):
        keep = mask[row]
        np.testing.assert_allclose(
            found.numpy()[row, keep],
            formula(
                values[:, row],
                logits[row, keep],
                samples.numpy()[:, row, keep],
            ),
            atol=1e-12,
        )


@pytest.mark.parametrize(
    ("dtype", "digit"), [("float16", 2e-3), ("bfloat16", 2e-2)]
)
def test_half_precision_is_computed_in_float32(dtype, digit, seed):
    """The mean of many would overflow; one class of 1e4 would be inf."""
    logits = tf.constant([[2e4, 2e4, -2e4], [0.0, 1.0, 2.0]], dtype)
    samples = draw(logits, 200, seed)
    values = tf.constant(np.linspace(1000, 1400, 400).reshape(200, 2), dtype)
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
    logits = tf.constant([[3e38, -3e38, -3e38]])
    samples = tf.constant([[[1.0, 0, 0]], [[0, 1.0, 0]]])
    values = tf.constant([[1e3], [-1e3]])
    loss, _, found = gradients(values, logits, samples)
    assert np.array_equal(loss, [0.0])
    np.testing.assert_allclose(found, [[1000.0, -1000.0, 0.0]])


@pytest.mark.parametrize("xla", [False, True])
def test_the_same_in_a_program(xla, seed):
    rng = np.random.default_rng(seed)
    logits, values = rng.normal(size=(4, 3)), rng.normal(size=(6, 4))
    samples = draw(logits, 6, seed)
    program = tf.function(
        gradients,
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
    logits = tf.constant(LOGITS)
    samples = draw(LOGITS, 4, seed)
    with tf.GradientTape() as tape:
        tape.watch(samples)
        loss = score_function_loss(tf.ones((4, 2)), logits, samples)
    assert tape.gradient(loss, samples) is None


def test_parameters_of_the_function_learn(seed):
    """f = w . D: the gradient to w is the mean sample."""
    weights = tf.constant([1.0, -2.0, 0.5])
    samples = draw(LOGITS.astype("float32"), 5, seed)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        values = tf.linalg.matvec(samples, weights)
        loss = score_function_loss(values, tf.constant(LOGITS), samples)
        total = tf.reduce_sum(loss)
    np.testing.assert_allclose(
        tape.gradient(total, weights),
        np.sum(samples, (0, 1)) / 5,
        rtol=1e-6,
    )
