"""Give a cross entropy a Gumbel-softmax sample, and see what happens.

A cross entropy is a log of a probability. The log of a sample is near -infinity
if the sample fell on another class, and people say that the gradient then
explodes. Here the language model of characters from `text_generation.py`
computes its loss from samples at several temperatures, in three ways:
- log: minus the log of the sample's entry, as the formula reads;
- clip: Keras's own, which first clips the entry at 1e-7;
- log_softmax: never leaving the logarithms, where nothing is rounded to 0.
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

    def bits(self, text: np.ndarray) -> float:
        x, following = next(windows(text, seed=0, count=1000))
        return float(CROSS_ENTROPY(following, self(x))) / np.log(2)


TEMPERATURES = (2.0, 1.0, 0.5, 0.2, 0.1, 0.05)
SEED = keras.random.SeedGenerator(0)


def log(target, logits, **how):
    sample = kg.ops.gumbel_softmax(logits, **how, seed=SEED)
    return -ops.log(ops.sum(target * sample, axis=-1))


def clip(target, logits, **how):
    sample = kg.ops.gumbel_softmax(logits, **how, seed=SEED)
    return keras.losses.categorical_crossentropy(target, sample)


def log_softmax(target, logits, temperature):
    perturbed = logits + kg.ops.sample_gumbel(ops.shape(logits), seed=SEED)
    return CROSS_ENTROPY(target, perturbed / temperature)


LOSSES = (log, clip, log_softmax)
TRAININGS = {  # what trains, by name
    "log_softmax, temperature 0.1": partial(log_softmax, temperature=0.1),
    "the logits' own": CROSS_ENTROPY,
    "log, temperature 1": partial(log, temperature=1.0),
    "log, temperature 0.1": partial(log, temperature=0.1),
    "clip, temperature 0.1": partial(clip, temperature=0.1),
    "clip, hard": partial(clip, hard=True),
}


def gradient(loss, target, logits) -> tuple[float, float]:
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = ops.mean(loss(target, logits))
    return value, ops.norm(ops.ravel(tape.gradient(value, logits)))


def lengths(target, logits) -> dict:  # of gradients, over the logits' own
    value, right = gradient(CROSS_ENTROPY, target, logits)
    print(f"of the logits: loss {value:.2f}, gradient 1; of a sample of them")
    print("temperature" + "".join(f"{loss.__name__:>17}" for loss in LOSSES))
    found = {loss.__name__: [] for loss in LOSSES}
    for temperature in TEMPERATURES:
        print(f"{temperature:11}", end="")
        for loss in LOSSES:
            how = partial(loss, temperature=temperature)
            value, length = gradient(how, target, logits)
            found[loss.__name__].append(float(length / right))
            print(f"{value:9.2f}{length / right:8.2f}", end="")
        print()
    value, length = gradient(TRAININGS["clip, hard"], target, logits)
    print(f"hard, clip {value:17.2f}{length / right:8.2f}")
    return found


def draw(found: dict, bits: dict, path: Path) -> None:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, ratios), style in zip(found.items(), "sxo", strict=True):
        left.loglog(TEMPERATURES, ratios, "-" + style, label=name, mfc="none")
    left.set(title="Gradient at the logits", xlabel="temperature of the sample")
    left.set_ylabel("length, over that of the logits' own loss")
    left.legend()
    for place, runs in enumerate(bits.values()):
        right.plot(runs, [place] * len(runs), "o", color="black")
        note = "NaN" if np.isnan(runs).any() else ""
        right.annotate(note, (0.2, place), va="center")
    right.axvline(np.log2(27), color="gray", linestyle=":")
    right.set_yticks(range(len(bits)), bits)
    right.set(xlim=(0, None), title="Trained by it, 3 seeds; dotted: guessing")
    right.set_xlabel("bits a character, held out")
    figure.savefig(path, dpi=120)


def main(output: Path, smoke: bool) -> None:
    manual, held_out = prose()
    if smoke:
        steps = 50
        seeds = 1
    else:
        steps = 150
        seeds = 3
    writer = Writer(64).learn(manual, 4 * steps)
    x, target = next(windows(manual, seed=9, count=500))
    found = lengths(target, writer(x))
    bits = {}
    print("bits a character of the text held out, seed by seed")
    for name in list(TRAININGS)[: 1 if smoke else None]:
        writers = (Writer(64, seed) for seed in range(seeds))
        how = manual, steps, TRAININGS[name]
        bits[name] = [w.learn(*how).bits(held_out) for w in writers]
        print(f"{name:28}", *(f"{run:6.3f}" for run in bits[name]), flush=True)
    output.mkdir(parents=True, exist_ok=True)
    draw(found, bits, output / "gumbel_in_the_loss.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
