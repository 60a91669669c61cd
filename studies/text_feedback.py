"""Train a writer through the characters that it samples and reads again.

The language model of `text_generation.py` is to write texts of 32 characters
with 9 spaces, where the manual has about 5, and to change as little as it can:

    loss = E[(spaces - 9)^2 / 2] + KL(writer || reference), in nats a text

No such text is there to learn from: the loss is of what the writer samples. Its
gradient goes through straight-through or soft samples, or is that of the score
function. The least loss is known: -log E_reference[exp(-(spaces - 9)^2 / 2)].
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import ops
from matplotlib.figure import Figure
from text_generation import ONE_HOT, Writer, existing, letters, prose, write

import keras_gumbel as kg

GOAL, SIZES = 9, range(17)
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
        self.writer, self.reference = writer, reference
        self.choice, self.score = choice, score

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
    spaces, known = text[..., 0].sum(axis=1), existing(text, manual)
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
    least, mean = -np.log(weights.mean()), np.average(spaces, weights=weights)
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
    short, whole = (25, 1, list(WAYS)[:1]), (100, 3, list(WAYS))
    main(given.output, *(short if given.smoke else whole))
