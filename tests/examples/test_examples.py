"""What each example says comes true, with the seed of the tests."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy import special, stats

import keras_gumbel as kg
from tests.statistics import FALSE_FAIL_RATE

from .reading import run

as_array = ops.convert_to_numpy


def test_quickstart():
    example = run("quickstart")
    loss = example.history["loss"]
    pixels = np.var(example.x, axis=0).mean()
    assert loss[-1] < 0.6 * loss[0]
    assert loss[-1] < 0.9 * pixels  # which the mean image leaves
    temperature = example.history["temperature"]
    assert temperature[-1] == pytest.approx(0.3)
    assert np.all(np.diff(temperature) <= 0)
    assert set(np.unique(as_array(example.one_hot))) == {0, 1}
    assert 5 <= len(np.unique(example.codes)) <= 16


@pytest.mark.slow
def test_vae():
    """The bound is far above that of pixels which are told one by one."""
    example = run("vae")
    p = np.clip(example.train.mean(axis=0), 1e-3, 1 - 1e-3)
    apart = np.log(np.where(example.test == 1, p, 1 - p)).sum(axis=-1).mean()
    assert float(example.elbo) > apart + 3
    kl = as_array(example.kl)
    assert np.all((kl > 0) & (kl < 20 * np.log(10)))
    assert as_array(example.vae.choice.temperature) == pytest.approx(0.4)
    # Codes of the prior are decoded to digits, not to one grey image.
    new = as_array(example.new)
    assert new.std(axis=0).mean() > 0.1


@pytest.mark.slow
def test_codebook():
    example = run("codebook")
    for stage in (1, 2):
        assert example.history[f"codes_usage_{stage}"][-1] > 0.9
    codes = as_array(example.codebook.encode(example.encoder(example.train)))
    assert all(len(np.unique(stage)) > 56 for stage in codes.T)
    # The mean image leaves 0.073.
    assert example.error < 0.04
    # The integers say all that the decoder is given.
    y = as_array(example.model(example.test))
    np.testing.assert_allclose(as_array(example.restored), y, atol=1e-5)


@pytest.mark.slow
def test_hard_attention():
    example = run("hard_attention")
    assert example.accuracy > 0.98
    assert set(np.unique(example.sampled)) == {0, 1}
    assert np.all(example.sampled.sum(axis=-1) == 1)
    assert not np.any(example.sampled[example.test == 0])
    # It reads the keyword itself, where sentences have padding or not.
    is_keyword = (example.test > 0) & (example.test <= example.KEYWORDS)
    read = as_array(example.attention(example.test)) > 0
    assert np.mean(is_keyword[read]) > 0.98


@pytest.mark.slow
def test_gates_and_pruning():
    example = run("gates_and_pruning")
    assert example.accuracy > 0.85
    assert 5 < len(example.kept) < 50
    closed = np.setdiff1d(np.arange(64), example.kept)
    assert np.all(example.gates[closed] == 0)
    np.testing.assert_allclose(example.after, example.before, atol=1e-5)
    # The smaller network does not see the other pixels at all.
    assert example.small.input_shape == (None, len(example.kept))


@pytest.mark.slow
def test_discrete_actions():
    example = run("discrete_actions")
    assert set(np.unique(example.taken)) == {0, 1}
    # Without learning the four directions cancel.
    assert example.got > 0.9 * example.best.mean()
    # It goes along the longer of the two ways to the middle.
    along = np.argmax(np.abs(example.start), axis=-1)
    assert np.mean(example.taken.argmax(axis=-1) // 2 == along) > 0.85


@pytest.mark.slow
def test_sorting():
    example = run("sorting")
    assert example.right > 0.95
    # Every number is in one place, even where a list is not sorted.
    assert np.array_equal(np.sort(example.moved), np.sort(example.test))


@pytest.mark.slow
def test_soft_tokens():
    """Ten tokens name ten sums, each its own: no other code is all right."""
    example = run("soft_tokens")
    assert example.right == 1
    assert sorted(example.words) == list(range(10))


@pytest.fixture(scope="module")
def sampler():
    return run("sampler")


@pytest.mark.slow
@pytest.mark.parametrize("top_k", [None, 3])
def test_tokens_of_the_sampler_follow_their_law(sampler, top_k):
    """200,000 tokens; detected: a temperature of 1 in place of 0.7."""
    logits = np.float32([0.3, -1.0, 1.2, 0.0, 0.9])
    law = special.softmax(logits / 0.7)
    if top_k is not None:
        law[np.argsort(logits)[:-top_k]] = 0
        law /= law.sum()
    draw = sampler.Sampler(0.7, top_k, seed=3).next_token
    tokens = as_array(draw(np.tile(logits, (200_000, 1)))).astype(int)
    counts = np.bincount(tokens, minlength=5)
    assert not np.any(counts[law == 0])
    counts, law = counts[law > 0], law[law > 0]
    assert stats.chisquare(counts, law * 200_000).pvalue > FALSE_FAIL_RATE


@pytest.mark.slow
def test_a_seed_of_the_sampler_is_a_text(sampler):
    def write(temperature, seed, wrap=lambda function: function):
        draw = sampler.Sampler(temperature, seed=seed)
        write = wrap(lambda prompt: draw.generate(sampler.model, prompt, 20))
        return as_array(write(sampler.prompt))

    text = write(3.0, 5)
    assert text.shape == (3, 28)
    assert np.array_equal(text[:, :8], as_array(sampler.prompt))
    assert np.array_equal(text, write(3.0, 5))
    assert np.array_equal(text, write(3.0, 5, tf.function))
    assert not np.array_equal(text, write(3.0, 6))
    # At 0 the likeliest letters, which are those of the text it has read.
    line = "".join(sampler.LETTERS[token] for token in write(0.0, 5)[0])
    assert line == sampler.TEXT[:28]


@pytest.mark.slow
def test_annealing():
    example = run("annealing")
    gaps = {name: hard - soft for name, (soft, hard) in example.found.items()}
    # Blends carry what hard codes cannot, and cold ones are hard.
    assert gaps["constant"] > 0
    assert abs(gaps["annealed"]) < 0.3 * gaps["constant"]
    assert abs(gaps["inside"]) < 0.3 * gaps["constant"]
    seen = example.history.history["temperature"]
    last = float(example.cosine(example.STEPS - 1))
    assert seen[-1] == pytest.approx(last, rel=1e-4)
    for name in ("annealed", "inside"):
        live = example.models[name].get_layer("code").temperature
        assert float(as_array(live)) == pytest.approx(0.1, abs=2e-3)


SERVE = """
import sys
import numpy as np
import tensorflow as tf

served = tf.saved_model.load(sys.argv[1] + "/served")
x = np.load(sys.argv[1] + "/x.npy")
np.save(sys.argv[1] + "/likeliest.npy", served.serve(x))
sys.exit("keras_gumbel" in sys.modules)
"""


@pytest.mark.slow
def test_export_and_serve():
    """Shares of 200 draws for each row: five standard errors are 0.006."""
    example = run("export_and_serve")
    expected = example.model.predict(example.x, verbose=0)
    np.testing.assert_array_equal(example.likeliest, expected)
    draws = np.mean([example.served.sample(example.x) for _ in range(200)], 0)
    law = as_array(ops.softmax(example.logits(example.x)))
    np.testing.assert_allclose(draws.mean(0), law.mean(0), atol=0.006)
    assert np.abs(draws - example.likeliest).mean() > 0.05
    # In a process that has TensorFlow alone.
    np.save(example.folder / "x.npy", example.x)
    command = [sys.executable, "-I", "-c", SERVE, example.folder]
    subprocess.run(command, check=True, timeout=120)
    alone = np.load(example.folder / "likeliest.npy")
    np.testing.assert_array_equal(alone, expected)
    loaded = keras.saving.load_model(example.folder / "model.keras")
    assert isinstance(loaded.layers[-1], kg.GumbelSoftmax)
    np.testing.assert_array_equal(
        loaded(example.x, training=True),
        example.model(example.x, training=True),
    )
