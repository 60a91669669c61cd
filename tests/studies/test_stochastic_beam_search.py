import importlib.util
import itertools
import re

import keras
import numpy as np
import pytest

import keras_gumbel as kg

from .reading import ROOT, ink

pytestmark = pytest.mark.slow
LETTERS, LENGTH, COUNT = (0, 5, 14, 20), 3, 20_000


@pytest.fixture
def example():
    path = ROOT / "studies" / "stochastic_beam_search.py"
    spec = importlib.util.spec_from_file_location("beam_search", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_writer(example):
    """A network whose 64 texts differ in probability, and those."""
    writer = example.Writer(8, seed=3)
    writer(example.ONE_HOT[None, :1])
    writer.set_weights([15 * weight for weight in writer.get_weights()])
    texts = np.array([*itertools.product(range(4), repeat=LENGTH)])
    before = np.pad(np.take(LETTERS, texts[:, :-1]), ((0, 0), (1, 0)))
    logits = keras.ops.take(writer(example.ONE_HOT[before]), LETTERS, axis=-1)
    log_p = keras.ops.log_softmax(logits) * np.eye(4)[texts]
    return writer, np.sum(log_p, axis=(1, 2), dtype="float64")


def excess(pairs, p):
    """Chi-square of pairs without replacement, in standard deviations."""
    expected = len(pairs) * p[:, None] * p / (1 - p[:, None])
    np.fill_diagonal(expected, 0)
    seen = np.zeros_like(expected)
    np.add.at(seen, tuple(np.transpose(pairs)), 1)
    if np.any(seen[expected == 0]):
        return np.inf
    rare = expected < 5
    seen, expected = (
        np.append(x[~rare], x[rare].sum()) for x in (seen, expected)
    )
    freedom = len(seen) - 1
    square = np.sum((seen - expected) ** 2 / expected)
    return (square - freedom) / np.sqrt(2 * freedom)


def beams(example, writer, k, noise=True):
    texts, log_p, perturbed = example.search(
        writer, COUNT if noise else 1, k, LENGTH, noise=noise, few=LETTERS
    )
    place = np.array(texts) @ 4 ** np.arange(LENGTH)[::-1]
    return place, np.array(log_p), np.array(perturbed)


def test_law_of_the_beams(example):
    writer, log_p = make_writer(example)
    p = np.exp(log_p)
    place, found, perturbed = beams(example, writer, 4)
    assert np.abs(found - log_p[place]).max() < 1e-4
    assert (np.diff(perturbed, axis=1) <= 0).all()
    assert (np.diff(np.sort(place, axis=1), axis=1) > 0).all()
    assert excess(place[:, :2], p) < 5
    flat = keras.ops.repeat(np.float32(log_p)[None], COUNT, axis=0)
    _, oracle = kg.ops.gumbel_top_k(flat, 2, seed=1)
    assert excess(np.array(oracle), p) < 5
    # The largest perturbed log-probability is a Gumbel variable.
    assert abs(perturbed[:, 0].mean() - np.euler_gamma) < 5 * 1.28 / COUNT**0.5
    # Weighted, the texts above the limit make up the whole: 1 on average.
    limit = np.float64(perturbed[:, -1:])
    weights = p[place] / -np.expm1(-np.exp(log_p[place] - limit))
    total = weights[:, :-1].sum(axis=1)
    assert abs(total.mean() - 1) < 5 * total.std() / COUNT**0.5


def test_the_law_would_show_a_defect(example, monkeypatch):
    writer, log_p = make_writer(example)
    p = np.exp(log_p)
    rng = np.random.default_rng(0)
    again = rng.choice(len(p), (COUNT, 2), p=p / p.sum())
    assert excess(again, p) > 20
    monkeypatch.setattr(example, "conditioned", lambda children, _: children)
    place, *_ = beams(example, writer, 2)
    assert excess(place, p) > 20


def test_without_noise_it_is_beam_search(example):
    writer, log_p = make_writer(example)
    place, found, _ = beams(example, writer, 64, noise=False)
    assert place[0].tolist() == np.argsort(-log_p).tolist()
    assert np.abs(found[0] - np.sort(log_p)[::-1]).max() < 1e-4


def test_stochastic_beam_search(run, tmp_path):
    output = run("stochastic_beam_search.py", "--output", tmp_path / "new")
    rows = re.findall(r"^ *(\d+)" + r" +(-?[\d.]+)" * 7 + "$", output, re.M)
    assert [row[0] for row in rows] == ["4", "16"]
    for row in rows:
        k, *_, again, without, bias = map(float, row)
        assert without == k > again
        assert abs(bias) < 5
    assert float(rows[1][3]) < float(rows[0][3])
    assert ink(tmp_path / "new" / "stochastic_beam_search.png").std() > 0.05
