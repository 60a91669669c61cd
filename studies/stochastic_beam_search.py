"""Texts drawn without replacement from a language model, by beam search.

After Kool, van Hoof, Welling, 2019, https://arxiv.org/abs/1903.06059. The k
texts whose log-probabilities plus Gumbel noise are largest are k draws without
replacement. A beam search finds them without visiting the others, if it gives
each node the largest perturbed log-probability of the texts below it. These are
drawn from the top down: the children's values under the condition that their
largest equals the parent's.

From k texts we estimate the entropy of the model of `text_generation.py`: for
all 256 texts of 4 letters out of 4, where it is known, and at temperatures.
"""

import argparse
import re
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure

import keras_gumbel as kg

LENGTH = 32
ONE_HOT = np.eye(27, dtype="float32")  # a space, and a to z
CROSS_ENTROPY = keras.losses.CategoricalCrossentropy(from_logits=True)


def prose() -> tuple[np.ndarray, np.ndarray]:
    """The manual without what it says twice: 9 parts of 10, and the rest."""
    paragraphs = {p for topic in topics.values() for p in topic.split("\n\n")}
    order = np.random.default_rng(0).permutation(sorted(paragraphs))
    text = re.sub("[^a-z]+", " ", " ".join(order).lower())
    numbers = np.frombuffer(text.encode(), "uint8") % 32  # a space 0, a 1
    return np.split(numbers, [len(numbers) * 9 // 10])


def windows(text, seed: int, count: int = 64):  # and what comes next
    rng = np.random.default_rng(seed)
    while True:
        start = rng.integers(len(text) - LENGTH, size=(count, 1))
        x = ONE_HOT[text[start + np.arange(LENGTH + 1)]]
        yield x[:, :-1], x[:, 1:]


class Writer(keras.Model):  # one-hot (batch, time, 27) to the next's logits
    def __init__(self, units: int, seed: int = 0) -> None:
        keras.utils.set_random_seed(seed)
        super().__init__()
        self.cell = layers.GRUCell(units)
        self.head = layers.Dense(27)
        self.rnn = layers.RNN(self.cell, return_sequences=True)

    def call(self, x):
        return self.head(self.rnn(x))

    def learn(self, text, steps: int, loss=CROSS_ENTROPY):
        rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
        self.compile(keras.optimizers.Adam(rate), loss)
        batches = windows(text, np.random.randint(2**31))
        self.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
        return self


SEED = keras.random.SeedGenerator(0)
NAMES = ("with replacement", "stochastic beam", "normalised", "beam search")
FEW = (0, 5, 14, 20)  # a space, e, n, t


def conditioned(perturbed, parent):
    """Gumbel variables given that the largest of them is `parent`."""
    below = perturbed - ops.max(perturbed, axis=-1, keepdims=True)
    v = parent - perturbed + ops.log(-ops.expm1(below))
    return parent - ops.relu(v) - ops.softplus(-ops.abs(v))


@partial(tf.function, jit_compile=True)
def search(writer, count, k, length, heat=1.0, noise=True, few=range(27)):
    """`count` beams of k: texts, their log-probabilities, and perturbed."""
    texts = ops.zeros((count, 1, 0), "int32")
    log_p = ops.zeros((count, 1))
    perturbed = kg.ops.sample_gumbel((count, 1), seed=SEED)
    state = ops.zeros((count, 1, writer.cell.units))
    x = ONE_HOT[[[0]] * count]
    for _ in range(length):
        rows = (ops.reshape(y, (-1, y.shape[-1])) for y in (x, state))
        state = ops.reshape(writer.cell(*rows)[0], (*log_p.shape, -1))
        logits = ops.take(writer.head(state), list(few), axis=-1) / heat
        log_p = log_p[..., None] + ops.log_softmax(logits)
        free = log_p + kg.ops.sample_gumbel(log_p.shape, seed=SEED)
        score = conditioned(free, perturbed[..., None]) if noise else log_p
        score, log_p = (ops.reshape(y, (count, -1)) for y in (score, log_p))
        perturbed, place = ops.top_k(score, min(k, score.shape[1]))
        log_p = ops.take_along_axis(log_p, place, axis=1)
        parent = place[..., None] // len(few)
        last = place[..., None] % len(few)
        texts = ops.take_along_axis(texts, parent, axis=1)
        texts = ops.concatenate([texts, last], axis=-1)
        state = ops.take_along_axis(state, parent, axis=1)
        x = ops.take(ONE_HOT[list(few)], last[..., 0], axis=0)
    return texts, log_p, perturbed


def entropies(log_p, perturbed):  # the last of the texts is the limit
    log_p = np.float64(log_p[:, :-1])
    limit = np.float64(perturbed[:, -1:])
    weights = np.exp(log_p) / -np.expm1(-np.exp(log_p - limit))
    total = np.sum(weights * -log_p, axis=1)
    return total, total / np.sum(weights, axis=1)


def distinct(texts) -> float:
    return np.mean([len(np.unique(row, axis=0)) for row in np.array(texts)])


def compare(name: str, find, sizes, repeats: int):  # a row for each size
    k = sizes[-1]
    (texts, drawn, _) = find(repeats * k, 1)
    (beams, *scores) = find(repeats, k)
    drawn = np.reshape(drawn, (-1, k))
    texts = np.reshape(texts, beams.shape)
    best = np.array(find(1, 256, noise=False)[1])  # here and there all texts
    truth = -np.mean(drawn) if "temp" in name else -np.sum(np.exp(best) * best)
    print(f"{name}, entropy {truth:.3f}\n  k  errors; distinct; bias / error")
    for size in sizes:  # the first texts of a beam form a smaller one
        plain, normalised = entropies(*(score[:, :size] for score in scores))
        beam = np.average(-best[0, :size], weights=np.exp(best[0, :size]))
        every = -drawn[:, :size].mean(axis=1), plain, normalised, beam
        errors = [np.mean((x - truth) ** 2) ** 0.5 for x in every]
        counts = [distinct(x[:, :size]) for x in (texts, beams)]
        bias = (plain.mean() - truth) / plain.std() * repeats**0.5
        print(f"{size:3}", *(f"{x:7.3f}" for x in (*errors, *counts, bias)))
        yield errors, counts


def main(output: Path, smoke: bool) -> None:
    writer = Writer(128).learn(prose()[0], 40 if smoke else 1200)
    if smoke:
        sizes = (4, 16)
        repeats = 200
    else:
        sizes = (2, 4, 8, 16, 32, 64)
        repeats = 500
    cases = {"all 256 texts": partial(search, writer, length=4, few=FEW)}
    for heat in () if smoke else (0.1, 0.3, 1.0):
        how = {"length": 12, "heat": ops.convert_to_tensor(heat)}
        cases[f"temperature {heat}"] = partial(search, writer, **how)
    figure = Figure(figsize=(12, 6), layout="constrained")
    columns = figure.subplots(2, len(cases), sharey="row", squeeze=False).T
    ticks = [*map(str, sizes)]
    for axes, (name, find) in zip(columns, cases.items(), strict=True):
        errors, counts = zip(*compare(name, find, sizes, repeats), strict=True)
        axes[0].set_prop_cycle(color=[*"kbcr"], marker=[*"sox^"])
        axes[0].semilogy(ticks, errors, label=NAMES, mfc="none")
        axes[0].set(title=name, ylabel="RMS error of the entropy, nats")
        axes[1].plot(ticks, np.divide(np.transpose(counts), sizes).T, "-o")
        axes[1].set(xlabel="k", ylabel="share that is distinct")
    columns[-1, 0].legend()
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "stochastic_beam_search.png", dpi=100)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
