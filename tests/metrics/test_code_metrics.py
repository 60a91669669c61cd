"""Perplexity and usage of codes, against NumPy and SciPy."""

import keras
import numpy as np
import pytest
from scipy import stats

import keras_gumbel as kg
from tests.frameworks import tf
from tests.harness import APART
from tests.variants import slow

K = 7
METRICS = (kg.metrics.CodePerplexity, kg.metrics.CategoryUsage)
each_metric = pytest.mark.parametrize(
    "metric", METRICS, ids=lambda metric: metric.__name__
)


def expected(metric, counts):
    """From the histogram, in float64."""
    if metric is kg.metrics.CategoryUsage:
        return np.mean(np.asarray(counts) > 0)
    return np.exp(stats.entropy(counts))


def result_of(metric, *updates):
    """Of a fresh metric, after updates of (codes, weights or None)."""
    metric = metric(K)
    for codes, weight in updates:
        metric.update_state(codes, weight)
    return float(metric.result())


@pytest.fixture(scope="module")
def codes():
    """Codes 0 to 5, some of them rare; never the last one."""
    law = np.array([0.5, 0.3, 0.1, 0.05, 0.04, 0.01, 0.0])
    return np.random.default_rng(0).choice(K, p=law, size=(60, 4))


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).uniform(0, 2, (60, 4)).astype("float32")


@each_metric
def test_integers_by_scipy_all_at_once_and_streaming(metric, codes, weights):
    counts = np.bincount(codes.ravel(), minlength=K)
    at_once = result_of(metric, (codes, None))
    assert at_once == pytest.approx(expected(metric, counts), rel=1e-6)
    parts = ((part, None) for part in np.split(codes, [7, 8, 40]))
    assert result_of(metric, *parts) == at_once
    counts = np.bincount(codes.ravel(), weights.ravel(), minlength=K)
    weighted = result_of(metric, (codes, weights))
    assert weighted == pytest.approx(expected(metric, counts), rel=1e-6)


@each_metric
@pytest.mark.parametrize(
    "dtype", ["float16", "float32", *slow("bfloat16", "float64")]
)
def test_one_hot_rows_count_as_their_codes(metric, dtype, codes, weights):
    rows = keras.ops.one_hot(codes, K, dtype=dtype)
    for weight in (None, weights, weights[:, :1], weights[:, 0]):
        assert result_of(metric, (rows, weight)) == pytest.approx(
            result_of(metric, (codes, weight)), rel=APART, abs=0
        )


def test_relaxed_rows_give_the_perplexity_of_their_mean(weights):
    rows = np.random.default_rng(2).dirichlet(np.full(K, 0.1), (60, 4))
    rows = rows.astype("float32")
    mean = (rows * weights[..., None]).mean((0, 1), dtype="float64")
    got = result_of(kg.metrics.CodePerplexity, (rows, weights))
    assert got == pytest.approx(np.exp(stats.entropy(mean)), rel=1e-6)
    # However undecided or decided each of them is.
    blend = np.full((5, K), 1 / K, "float32")
    assert result_of(kg.metrics.CodePerplexity, (blend, None)) == (
        pytest.approx(K, rel=1e-6)
    )
    assert result_of(kg.metrics.CategoryUsage, (blend, None)) == 1.0


@each_metric
def test_weights_broadcast_from_the_first_axes(metric, codes):
    by_example = np.random.default_rng(3).integers(0, 3, 60)
    full = np.repeat(by_example[:, None], 4, 1)
    same = result_of(metric, (codes, full))
    assert result_of(metric, (codes, by_example)) == same
    assert result_of(metric, (codes, by_example[:, None])) == same
    kept = result_of(metric, (codes[by_example > 0], None))
    assert result_of(metric, (codes, by_example > 0)) == kept
    half = result_of(metric, (codes, 0.5))
    assert half == result_of(metric, (codes, None))


def test_both_ends():
    perplexity, usage = METRICS
    everything, one = np.arange(K), np.full(9, 3)
    assert result_of(perplexity, (everything, None)) == pytest.approx(K, 1e-6)
    assert result_of(usage, (everything, None)) == 1.0
    assert result_of(perplexity, (one, None)) == 1.0
    assert result_of(usage, (one, None)) == pytest.approx(1 / K)


@each_metric
def test_nothing_seen_is_zero(metric, codes):
    assert result_of(metric) == 0.0
    assert result_of(metric, (codes, 0.0)) == 0.0
    assert result_of(metric, (codes[:0], None)) == 0.0
    # As rows that were masked altogether are.
    assert result_of(metric, (np.zeros((3, K), "float32"), None)) == 0.0


@each_metric
def test_reset(metric, codes):
    counter = metric(K)
    counter.update_state(codes)
    counter.reset_state()
    assert float(counter.result()) == 0.0
    counter.update_state([6, 6])
    assert float(counter.result()) == result_of(metric, ([6, 6], None))


@each_metric
def test_states_add_up(metric, codes):
    """What merges the metrics of several workers, or of replicas."""
    parts = [metric(K) for _ in range(2)]
    for part, seen in zip(parts, np.split(codes, 2), strict=True):
        part.update_state(seen)
    both = metric(K)
    (counts,) = both.variables
    assert counts.aggregation == "sum"
    for part in parts:
        counts.assign_add(part.variables[0])
    assert float(both.result()) == result_of(metric, (codes, None))


def test_counts_stay_exact_beyond_what_float32_counts():
    big = 2**26
    metric = kg.metrics.CodePerplexity(2, dtype="float64")
    metric.update_state([0, 1], [big, big])
    for _ in range(3):
        metric.update_state([0])
    metric.update_state([[1.0, 0.0]])
    assert np.asarray(metric.variables[0]).tolist() == [big + 4, big]
    p = np.array([big + 4, big]) / (2 * big + 4)
    assert float(metric.result()) == pytest.approx(
        np.exp(stats.entropy(p)), rel=1e-15
    )


@pytest.mark.tensorflow
@each_metric
@pytest.mark.parametrize("jit_compile", [True, *slow(False)])
def test_compiled_with_shapes_unknown(metric, jit_compile, codes, weights):
    metric_of = metric(K)
    spec = tf.TensorSpec((None, None), tf.int32)
    weight_spec = tf.TensorSpec((None, None), tf.float32)

    @tf.function(input_signature=[spec, weight_spec], jit_compile=jit_compile)
    def update(codes, weight):
        metric_of.update_state(codes, weight)
        return metric_of.result()

    got = update(codes.astype("int32"), weights)
    assert float(got) == pytest.approx(
        result_of(metric, (codes, weights)), rel=1e-6
    )
    # What only the run shows is seen in the result, until the reset.
    for wrong, weight in ((K, 1.0), (-1, 1.0), (0, -1.0), (0, np.nan)):
        metric_of.reset_state()
        assert np.isnan(update([[0, wrong]], [[1.0, weight]]))
        assert np.isnan(update([[0, 1]], [[1.0, 1.0]]))
        metric_of.reset_state()
        assert np.isfinite(update([[0, wrong]], [[1.0, 0.0]]))


@pytest.mark.tensorflow
@each_metric
def test_rows_that_are_none_show_in_the_result_of_a_graph(metric):
    metric_of = metric(2)

    @tf.function(autograph=False)
    def update(rows, weight):
        metric_of.reset_state()
        metric_of.update_state(rows, weight)
        return metric_of.result()

    for wrong in (-0.1, 1.5, np.nan, np.inf):
        rows = tf.constant([[1.0, 0.0], [wrong, 0.0]])
        assert np.isnan(update(rows, tf.constant([1.0, 1.0])))
        assert np.isfinite(update(rows, tf.constant([1.0, 0.0])))


@each_metric
def test_padding_that_weighs_nothing_may_hold_anything(metric):
    padded = result_of(metric, ([3, 1, -1, 99], [1, 1, 0, 0]))
    assert padded == result_of(metric, ([3, 1], None))
    rows = np.eye(K, dtype="float32")[:3]
    rows[2] = np.nan
    assert result_of(metric, (rows, [1, 1, 0])) == result_of(
        metric, ([0, 1], None)
    )


@each_metric
@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint64"])
def test_integers_of_every_width(metric, dtype):
    assert result_of(metric, (np.array([0, 6, 6], dtype), None)) == result_of(
        metric, ([0, 6, 6], None)
    )
    if dtype == "uint8":
        wide = metric(300)
        wide.update_state(np.array([255, 0], dtype))
        assert float(wide.result()) > 0
        return
    # Not 0 or a number in range, as a narrower type would have it.
    with pytest.raises(ValueError, match="must be in"):
        result_of(metric, (np.array([2**32], dtype), None))


@each_metric
def test_policies_do_not_reach_the_counts(metric, codes):
    keras.config.set_dtype_policy("mixed_float16")
    (counts,) = metric(K).variables
    assert counts.dtype == "float64"
    for dtype in ("float16", "float64"):
        counter = metric(K, dtype=dtype)
        counter.update_state(codes)
        result = counter.result()
        assert keras.backend.standardize_dtype(result.dtype) == dtype
        assert float(result) == pytest.approx(
            result_of(metric, (codes, None)), rel=1e-3
        )


@each_metric
def test_config_round_trip(metric):
    made = metric(K, name="codes", dtype="float64")
    text = keras.saving.serialize_keras_object(made)
    again = keras.saving.deserialize_keras_object(text)
    assert type(again) is metric
    assert again.get_config() == made.get_config()
    assert (again.num_codes, again.name) == (K, "codes")
    assert keras.metrics.deserialize(text).get_config() == made.get_config()


@each_metric
@pytest.mark.parametrize(
    ("codes", "weight", "error", "message"),
    [
        ([0, 7], None, ValueError, "in [0, num_codes). Received: a code of 7"),
        ([[-1]], None, ValueError, "Received: a code of -1, num_codes=7"),
        ([0.0, 3.0], None, ValueError, "cast indices to an integer type. Rec"),
        (0.5, None, ValueError, "codes of shape () and dtype float"),
        ([[2.0] + [0.0] * 6], None, ValueError, "numbers in [0, 1]. Received"),
        ([[np.nan] + [0.0] * 6], None, ValueError, "the row [nan"),
        ([True], None, TypeError, "Received: codes of dtype bool"),
        ([0, 1], [[1.0]], ValueError, "weight of shape (1, 1), codes of sh"),
        ([0, 1], [1.0] * 3, ValueError, "weight of shape (3,), codes of sh"),
        ([0, 1], [1.0, -1.0], ValueError, "negative. Received: sample_weight="),
        ([0, 1], [1.0, np.nan], ValueError, "sample_weight=[ 1. nan]"),
    ],
)
def test_errors(metric, codes, weight, error, message):
    counter = metric(K)
    with pytest.raises(error) as caught:
        counter.update_state(codes, weight)
    assert message in str(caught.value)
    # And nothing of it was counted.
    assert float(counter.result()) == 0.0


@each_metric
def test_num_codes_is_a_positive_integer(metric):
    with pytest.raises(ValueError, match="`num_codes` must be at least 1"):
        metric(0)
    with pytest.raises(TypeError, match="`num_codes` must be an integer"):
        metric(2.0)


@each_metric
def test_compile_refuses_it(metric):
    """It would be called with targets and predictions."""
    model = keras.Sequential([keras.Input((K,)), keras.layers.Dense(K)])
    model.compile(loss="mse", metrics=[metric(K)])
    x = np.eye(K, dtype="float32")
    with pytest.raises(TypeError, match="must not be given to `compile`"):
        model.evaluate(x, x, verbose=0)
