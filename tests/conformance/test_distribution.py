"""Two replicas of a `tf.distribute` strategy: other noise, one temperature."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from scipy import stats

from keras_gumbel.backend.tensorflow.streams import _replica_key
from tests.conformance.registry import (
    LAYERS,
    as_array,
    chosen,
    chosen_rows,
    each_of,
)
from tests.conformance.two_replicas import (
    CODES,
    FUNCTIONS,
    LOGITS,
    schedule,
)
from tests.frameworks import tf
from tests.variants import slow

pytestmark = pytest.mark.tensorflow

# The others train in the same process, for as long again each.
GATE = ("GumbelSoftmax-hard",)
# One of classes, and one of gates.
DRAWN = ("gumbel_softmax", "sample_logistic")
each_function = pytest.mark.parametrize(
    "name", [*DRAWN, *slow(*(name for name in FUNCTIONS if name not in DRAWN))]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pytestconfig, request):
    """Where the process with two replicas left what it saw."""
    folder = tmp_path_factory.mktemp("replicas")
    script = [sys.executable, "-m", "tests.conformance.two_replicas"]
    done = subprocess.run(
        [
            *script,
            str(folder),
            *map(str, chosen_rows(request)),
            *chosen(request, "name"),
        ],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def seen(folder):
    return json.loads((folder / "seen.json").read_text())


@pytest.mark.slow
@each_function
def test_functions_draw_different_noise_on_each_replica(name, seen):
    for kind in ("int", "stream"):
        (first, second), (third, fourth) = seen["functions"][kind][name]
        assert first != second
        # One integer is one draw, on each replica; a stream moves on.
        assert (first == third) is (kind == "int")
        assert (second == fourth) is (kind == "int")


@each_function
def test_outside_a_replica_a_seed_is_what_it_always_was(name, seen):
    """A strategy's scope alone changes nothing."""
    here = as_array(FUNCTIONS[name](keras.ops.convert_to_tensor(LOGITS), 3))
    np.testing.assert_allclose(
        seen["functions"]["scope"][name], here, atol=1e-6
    )


@each_of(LAYERS, gate=GATE)
def test_layers_draw_different_noise_in_a_custom_loop(row, seen):
    draws = seen["loop"][str(row)]
    flat = [str(draw) for step in draws for draw in step]
    assert len(set(flat)) == 4
    for step in draws:
        for draw in step:
            assert row.is_sample(np.array(draw))


@each_of(LAYERS, gate=GATE)
def test_layers_draw_different_noise_in_fit(row, seen):
    """From equal inputs, at every step."""
    of_replica = {0: [], 1: []}
    for replica, value in seen["fit"][str(row)]["seen"]:
        assert row.is_sample(np.array(value))
        of_replica[replica].append(value)
    assert len(of_replica[0]) == len(of_replica[1]) == 4
    for step in range(4):
        assert of_replica[0][step] != of_replica[1][step]


@each_of(LAYERS, gate=GATE)
def test_fit_has_finite_losses(row, seen):
    losses = seen["fit"][str(row)]["loss"]
    assert len(losses) == 2
    assert np.isfinite(losses).all()


@each_of(LAYERS, gate=GATE)
def test_the_callback_sets_every_replica(row, seen):
    fit = seen["fit"][str(row)]
    # Two batches an epoch.
    assert fit["temperature"] == [schedule(1), schedule(3)]
    assert fit["temperatures"] == [schedule(3)] * 2


@each_of(LAYERS, gate=GATE)
def test_a_schedule_counts_steps_and_not_replicas(row, seen):
    """Four steps were taken, so the last was step 3."""
    expected = pytest.approx(2.0 * np.exp(-0.5 * 3))
    assert seen["fit"][str(row)]["annealed"] == [expected] * 2


@pytest.mark.tensorflow
def test_a_replica_keeps_its_noise_when_others_join():
    key = tf.constant((3, 5), tf.int64)
    keys = {
        count: [
            tuple(_replica_key(key, count, tf.constant(n)).numpy().tolist())
            for n in range(count)
        ]
        for count in (2, 3)
    }
    assert keys[3][:2] == keys[2]
    assert len({*keys[3], (3, 5)}) == 4


def test_metrics_count_what_all_replicas_saw(seen):
    def expected(codes):
        counts = np.bincount(codes, minlength=CODES.max() + 1)
        return np.exp(stats.entropy(counts)), np.mean(counts > 0)

    perplexity, usage = expected(CODES)
    fit = seen["metrics"]["fit"]
    assert fit["code_perplexity"] == pytest.approx([perplexity] * 2, 1e-6)
    assert fit["category_usage"] == [usage] * 2
    perplexity, usage = expected(CODES[: len(CODES) // 2])
    evaluated = seen["metrics"]["evaluate"]
    assert evaluated["code_perplexity"] == pytest.approx(perplexity, 1e-6)
    assert evaluated["category_usage"] == usage


@each_of(LAYERS, gate=GATE)
@pytest.mark.parametrize("way", ["keras", "weights.h5"])
def test_what_was_saved_under_the_strategy_loads_outside(
    row, seen, folder, way
):
    fit = seen["fit"][str(row)]
    path = folder / f"{row}.{way}"
    if way == "keras":
        model = keras.models.load_model(path)
    else:
        model = row.model(seed=99)
        model.load_weights(path)
    layer = model.get_layer("choice")
    assert as_array(layer.temperature) == schedule(3)
    # One draw a step, whatever the number of replicas.
    assert as_array(layer.seed_generator.state).tolist() == [3, 4]
    x = row.logits(batch=1)
    np.testing.assert_allclose(
        as_array(model(x)), fit["inference"], rtol=1e-5, atol=1e-6
    )
