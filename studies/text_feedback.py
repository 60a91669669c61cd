"""Train a writer through the characters that it samples and reads again.

The language model of `text_generation.py` must write texts of 32 characters
with 9 spaces, where the manual has about 5, and change as little as possible:

    loss = E[(spaces - 9)^2 / 2] + KL(writer || reference), in nats a text

There is no such text to learn from: the loss judges the writer's own samples.
Its gradient goes through straight-through or soft samples, or comes from the
score function. The least loss is known:
-log E_reference[exp(-(spaces - 9)^2 / 2)].
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


GOAL = 9
SIZES = range(17)
SPACES = np.repeat(ONE_HOT[:1], 64, axis=0)  # what comes before 64 texts
WAYS = {  # temperature, hard, and whether by the score function
    "straight-through, 1": (1.0, True, False),
    "straight-through, 0.3": (0.3, True, False),
    "soft, 1": (1.0, False, False),
    "soft, 0.3": (0.3, False, False),
    "score function": (1.0, True, True),
}


class Steered(keras.Model):  # a writer that reads what it has sampled
    def __init__(self, writer, reference, choice, score=False) -> None:
        super().__init__()
        self.writer = writer
        self.reference = reference
        self.choice = choice
        self.score = score

    def call(self, spaces):
        text = write(self.writer, self.choice, spaces)
        if self.score:
            text = ops.stop_gradient(text)
        before = ops.concatenate([spaces[:, None], text[:, :-1]], axis=1)
        log_p = ops.log_softmax(self.writer(before))
        log_q = ops.log_softmax(self.reference(before))
        kl = ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)
        wish = (ops.sum(text[..., 0], axis=1) - GOAL) ** 2 / 2
        loss = wish + ops.sum(kl, axis=1)
        self.add_loss(ops.mean(loss))
        if self.score:  # of each character: what follows, less its mean
            after = ops.stop_gradient(loss[:, None] - ops.cumsum(kl, axis=1))
            after -= ops.mean(after, axis=0)
            surrogate = ops.sum(text * log_p, axis=-1) * after
            surrogate = ops.mean(ops.sum(surrogate, axis=1))
            self.add_loss(surrogate - ops.stop_gradient(surrogate))
        return text, loss


def report(name: str, writer, reference, manual) -> tuple[float, np.ndarray]:
    choice = kg.GumbelSoftmax(hard=True, seed=99)
    model = Steered(writer, reference, choice)
    text, loss = model.predict(SPACES.repeat(32, axis=0), 256, verbose=0)
    spaces = text[..., 0].sum(axis=1)
    known = existing(text, manual)
    print(f"{name:24}{loss.mean():7.2f}{spaces.mean():8.2f}{known:8.2f}")
    print("    " + letters(text[:2].argmax(-1).flatten()), flush=True)
    return loss.mean(), spaces


def steered(reference, steps: int, seed: int, way: str) -> Writer:
    temperature, hard, score = WAYS[way]
    choice = kg.GumbelSoftmax(temperature, hard=hard, seed=seed)
    writer = Writer(64, seed)
    writer(SPACES[:, None])
    writer.set_weights(reference.get_weights())
    model = Steered(writer, reference, choice, score)
    rate = keras.optimizers.schedules.CosineDecay(4e-3, steps)
    model.compile(keras.optimizers.Adam(rate, clipnorm=1.0), jit_compile=True)
    model.fit(np.repeat(SPACES, steps, axis=0), batch_size=64, verbose=0)
    return writer


def main(output: Path, steps: int, seeds: int, ways: list[str]) -> None:
    manual, _ = prose()
    reference = Writer(64).learn(manual, 6 * steps)
    reference.trainable = False
    print("seed, way, temperature     loss  spaces  words that exist")
    loss, spaces = report("reference", reference, reference, manual)
    weights = np.exp(-((spaces - GOAL) ** 2) / 2)
    least = -np.log(weights.mean())
    mean = np.average(spaces, weights=weights)
    print(f"{'the least':24}{least:7.2f}{mean:8.2f}")
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    how = {"bins": SIZES, "density": True, "align": "left", "lw": 2}
    left.hist(spaces, **how, color="lightgray", label="reference")
    left.hist(spaces, **how, weights=weights, color="gray", label="least loss")
    right.semilogx([loss, least], ["reference", "least loss"], "sk")
    for way in ways:
        for seed in range(seeds):
            writer = steered(reference, steps, seed, way)
            loss, spaces = report(f"{seed} {way}", writer, reference, manual)
            right.semilogx(loss, way, "ko", mfc="none")
        if "0.3" not in way:
            left.hist(spaces, **how, histtype="step", label=way)
    left.set(xlabel="spaces in 32 characters", ylabel="share of texts")
    left.legend()
    right.set_xlabel("loss, nats a text")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "text_feedback.png", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    short = (25, 1, list(WAYS)[:1])
    whole = (100, 3, list(WAYS))
    main(given.output, *(short if given.smoke else whole))
