"""A softmax with temperature, or Gumbel noise? Two answers, with numbers.

One choice of 4: how near to one-hot is it, which distribution does it follow,
and how good is the gradient of a quadratic loss? And the next word: after "you"
comes "are" (60 %) or "have". Which probability does -log of the right word's
entry teach, in a softmax and in a sample?
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf  # for gradients alone
from keras import layers, ops
from matplotlib.figure import Figure

import keras_gumbel as kg

# One layer, three ways: noise is all that tells the first two apart.
CHOICES = {"softmax": {"noise_scale": 0.0}, "soft": {}, "hard": {"hard": True}}
FOUR = np.float32([0.1, 0.2, 0.3, 0.4])
TWO = np.float32([0.6, 0.4])
HEAD = " choice  temp. "


def draws(choice, temperature, p, loss, n):
    """Samples, their losses, and the gradient of each to its own logits."""
    logits = ops.tile(ops.log(p)[None], (n, 1))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        z = kg.ops.gumbel_softmax(logits, temperature, **CHOICES[choice])
        losses = loss(z)
    found = z, losses, tape.gradient(losses, logits)
    return [np.array(x, "float64") for x in found]


def quadratic(z):
    return ops.square(ops.sum(z * np.linspace(0, 1, 4), axis=-1) - 0.45)


def one_choice(cases, n):
    chance = np.sum(np.sqrt(FOUR * (1 - FOUR) / (2 * np.pi * n)))
    print(f"one of 4, {n} draws; a law is {chance:.4f} off by chance alone")
    print(f"{HEAD} largest  one-hot  law off    bias     +-  variance")
    exact = kg.diagnostics.exact_gradient(quadratic, np.log(FOUR))
    for name, t in cases:
        z, _, gradients = draws(name, t, FOUR, quadratic, n)
        law = np.bincount(z.argmax(-1), minlength=4) / n
        top = z.max(-1)
        off = np.abs(law - FOUR).sum() / 2
        gradients = gradients - exact
        bias = np.linalg.norm(gradients.mean(0)) / np.linalg.norm(exact)
        variance = gradients.var(0).sum() / np.sum(exact**2)
        row = f"{top.mean():8.3f}{np.mean(top == 1):9.1%}{off:9.4f}{bias:8.3f}"
        error = np.sqrt(variance / n)
        print(f"{name:>7}{t:7g} {row}{error:7.3f}{variance:10.3g}", flush=True)
        yield name, t, off, bias


def log_loss(word, z):
    return -ops.log(ops.sum(word * z, axis=-1))


def learn(choice, temperature, word, loss) -> float:
    """The probability of "are", learned from words (n, 2) one after another."""
    logits = layers.Dense(2, use_bias=False, kernel_initializer="zeros")
    chosen = kg.GumbelSoftmax(temperature, **CHOICES[choice])
    model = keras.Sequential([keras.Input((1,)), logits, chosen])
    rate = keras.optimizers.schedules.CosineDecay(0.02, len(word) // 256)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    model.fit(np.ones((len(word), 1)), word, 256, verbose=0)
    scale = temperature if choice == "softmax" else 1.0
    return float(ops.softmax(logits.kernel[0] / scale)[0])


def next_word(cases, n):
    word = np.eye(2, dtype="float32")[np.random.choice(2, n, p=TWO)]
    print(f"\nthe next word, {n} draws; the loss should be 0.673, P(are) 0.6")
    print(f"{HEAD}    loss  infinite  largest  variance  -log y  clipped")
    losses = log_loss, "categorical_crossentropy"  # Keras's clips y at 1e-7
    for name, t in cases:
        _, loss, gradients = draws(name, t, TWO, lambda z: log_loss(word, z), n)
        finite = np.isfinite(loss)
        largest = np.linalg.norm(gradients[finite], axis=-1).max()
        variance = gradients[finite].var(0).sum()
        learned = [learn(name, t, word, loss) for loss in losses]
        row = f"{loss.mean():8.3f}{1 - finite.mean():10.3%}{largest:9.2f}"
        row += f"{variance:10.3g}{learned[0]:8.3f}{learned[1]:9.3f}"
        print(f"{name:>7}{t:7g} {row}", flush=True)
        yield name, t, 100 * (1 - finite.mean()), *learned


def draw(axis, rows, column, title, **options):
    for name, style in zip(CHOICES, ("o-", "s--", "^:"), strict=True):
        found = [(row[1], row[column]) for row in rows if row[0] == name]
        axis.plot(*np.transpose(found), style, label=name)
    axis.set(title=title, xlabel="temperature", xscale="log", **options)


def main(output: Path, smoke: bool) -> None:
    keras.utils.set_random_seed(0)
    cold = [0.1] if smoke else [10, 3, 1, 0.3, 0.1, 0.03, 0.01]
    cases = [(name, t) for name in CHOICES for t in cold]
    choice = [*one_choice(cases, 100_000 if smoke else 400_000)]
    word = [*next_word(cases, 30_000 if smoke else 100_000)]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    law, bias, infinite, learned = figure.subplots(2, 2).flat
    draw(law, choice, 2, "Its law: distance from softmax(logits)")
    draw(bias, choice, 3, "Its gradient: bias / exact length", yscale="log")
    draw(infinite, word, 2, "The next word: % of losses that are infinite")
    draw(learned, word, 4, "P(are) learned (log clipped), which is 0.6")
    law.legend()
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "softmax_or_gumbel.png", dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
