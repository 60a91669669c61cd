"""A language model of characters that writes by sampling.

A GRU learns the prose of Python's own manual (`pydoc_data.topics`, which every
CPython brings): small letters and spaces, each predicted from those before it.
It then writes by itself: a Gumbel-softmax layer samples the next input.

The same model is in `gumbel_in_the_loss.py`, where the sample does harm, in
`text_feedback.py`, which trains through it, and in `stochastic_beam_search.py`.
"""

import argparse
import re
from pathlib import Path
from pydoc_data.topics import topics

import keras
import numpy as np
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


def letters(numbers) -> str:
    return "".join(" abcdefghijklmnopqrstuvwxyz"[n] for n in numbers)


def existing(texts, manual) -> float:  # the share of words the manual has
    rows = [letters(row).rpartition(" ")[0] for row in np.argmax(texts, -1)]
    return np.mean(np.isin(" ".join(rows).split(), letters(manual).split()))


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


class Writing(layers.Layer):  # a cell that is fed the character it chose
    def __init__(self, writer: Writer, choice: kg.GumbelSoftmax) -> None:
        super().__init__()
        self.writer = writer
        self.choice = choice
        self.state_size = (27, writer.cell.units)
        self.output_size = 27
        choice.build((None, 27))

    def call(self, _, states):
        state, _ = self.writer.cell(*states)
        character = self.choice(self.writer.head(state), training=True)
        return character, [character, state]


def write(writer: Writer, choice: kg.GumbelSoftmax, spaces):  # one-hot texts
    loop = layers.RNN(Writing(writer, choice), return_sequences=True)
    state = ops.zeros((ops.shape(spaces)[0], writer.cell.units))
    clock = ops.repeat(spaces[:, None], LENGTH, axis=1)  # it says nothing
    return loop(clock, initial_state=[spaces, state])


def main(output: Path, steps: int) -> None:
    manual, held_out = prose()
    writer = Writer(128).learn(manual, steps)
    print(f"{len(manual)} characters, {writer.bits(held_out):.3f} bits each")
    shares = []
    scales = (0.0, 0.25, 0.5, 0.75, 1.0)
    for scale in scales:
        choice = kg.GumbelSoftmax(hard=True, noise_scale=scale, seed=0)
        texts = write(writer, choice, ops.tile(ONE_HOT[:1], (500, 1)))
        shares.append(existing(texts, manual))
        print(f"noise {scale}: {shares[-1]:.3f} of the words exist, as in")
        print("    " + letters(np.argmax(texts[:2], -1).flatten()))
    output.mkdir(parents=True, exist_ok=True)
    axis = Figure(figsize=(6, 3.4), layout="constrained").subplots()
    axis.plot(scales, shares, "o-", color="black")
    axis.set(xlabel="scale of the noise", ylabel="share of words that exist")
    axis.figure.savefig(output / "text_generation.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--smoke", dest="steps", action="store_const", const=60)
    main(**vars(parser.parse_args()))
