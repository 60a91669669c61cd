"""Which gradient estimator? Answered by a VAE whose ELBO needs no sampling.

Its code for the digits of scikit-learn is 4 choices among 8: 4,096 states. We
compare each estimator with the exact gradient, then train at its best
temperature.
"""

import argparse
import math
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import keras_gumbel as kg

NUMBERS = np.linspace(0, 1, 4, dtype="float32")
CODES = np.eye(8, dtype="float32")[np.indices([8] * 4).reshape(4, -1).T]
WAYS = np.log([math.comb(16, k) for k in range(17)])
HARD = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")
RULES = {"soft": {}} | {x: {"hard": True, "estimator": x} for x in HARD}


def report_polynomial(temperatures: list[float], path: Path) -> None:
    """Six choices among four numbers, whose mean square is a polynomial."""
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")

    def distance(z):  # samples (m, 6, 4) -> (m,)
        return ops.mean((ops.sum(z * NUMBERS, axis=-1) - 0.45) ** 2, axis=-1)

    found = kg.diagnostics.gradient_report(
        distance, logits, None, temperatures, 10_000
    )
    print(f"6 choices of 4 numbers, power 2: {found}\n", flush=True)
    found.plot(path)


def nats(x, y):  # of log-odds y for the counts 16 x, less what `WAYS` adds
    return 16 * ops.sum(ops.softplus(y) - x * y, -1)


def elbo(vae, x) -> float:  # a pixel is 16 trials: see categorical_vae.py
    return np.mean(WAYS[np.int32(16 * x)].sum(-1)) - float(ops.mean(vae(x)))


class VAE(keras.Model):
    def __init__(self, method: str, temperature: float | None) -> None:
        super().__init__()
        code = [layers.Dense(4 * 8), layers.Reshape((4, 8))]
        self.encoder = keras.Sequential([layers.Dense(128, "relu"), *code])
        self.hidden = layers.Dense(128, "relu")
        self.pixels = layers.Dense(64)
        self.method = method
        self.temperature = temperature

    def decode(self, z):  # (..., 4, 8) -> (..., 64)
        z = ops.reshape(z, (*ops.shape(z)[:-2], 4 * 8))
        return self.pixels(self.hidden(z))

    def enumerated(self, x, logits):
        log_q = ops.tensordot(ops.log_softmax(logits), CODES, ((1, 2), (1, 2)))
        y = self.decode(CODES)  # now `nats`, of all pairs of image and code
        pairs = ops.sum(ops.softplus(y), -1) - x @ ops.transpose(y)
        return ops.sum(ops.exp(log_q) * 16 * pairs, -1)

    def estimated(self, x, logits):
        if self.method in RULES:
            rule = RULES[self.method]
            z = kg.ops.gumbel_softmax(logits, self.temperature, **rule)
            return nats(x, self.decode(z))
        two = ops.stack([logits, logits])
        z = ops.stop_gradient(kg.ops.gumbel_softmax(two, hard=True))
        values = nats(x, self.decode(z))
        return kg.estimators.score_function_loss(values, logits, z)

    def call(self, x, training=None):
        logits = self.encoder(x)
        q = ops.softmax(logits)
        log_q = ops.log_softmax(logits)
        kl = ops.sum(q * (log_q + math.log(8)), (1, 2))
        sample = training and self.method != "exact"
        loss = (self.estimated if sample else self.enumerated)(x, logits) + kl
        self.add_loss(ops.mean(loss))
        return loss


def train(x, seed: int, epochs: int, method: str, temperature=None) -> VAE:
    keras.utils.set_random_seed(seed)  # of the initial weights too
    vae = VAE(method, temperature)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, 240 * epochs)
    vae.compile(keras.optimizers.Adam(rate), steps_per_execution=60)
    vae.fit(np.tile(x, (20, 1)), batch_size=100, epochs=epochs, verbose=0)
    return vae


def main(output: Path, smoke: bool) -> None:
    grid = [0.5] if smoke else [0.1, 0.3, 0.5, 1.0, 1.3]
    if smoke:
        epochs = 1
        seeds = []
    else:
        epochs = 10
        seeds = [1, 2]
    x = np.random.default_rng(0).permutation(load_digits().data) / 16
    x, valid, test = np.split(np.float32(x), [1200, 1500])
    output.mkdir(parents=True, exist_ok=True)
    report_polynomial(grid, output / "gradients_polynomial.png")
    vae = train(x, 0, 1, "exact")
    few = test[:10]
    report = kg.diagnostics.gradient_report(
        lambda z: nats(few, vae.decode(z)), vae.encoder(few), None, grid, 10_000
    )
    report.plot(output / "gradients_vae.png")
    p = np.clip(x.mean(0), 1e-4, None)
    no_code = elbo(lambda x: nats(x, np.log(p / (1 - p))), test)
    print(f"VAE: {report}\n\nELBO in nats; of test without code {no_code:.1f}")
    print("method, temperature, training, test; validation by", *grid)
    figure = Figure((8, 3.5), layout="constrained")
    axes = figure.subplots()
    for method in (*RULES, "score_function", "exact"):
        choices = grid if method in RULES else ["-"]
        tried = {t: train(x, 0, epochs, method, t) for t in choices}
        scores = [elbo(vae, valid) for vae in tried.values()]
        best = choices[np.argmax(scores)]
        more = [train(x, seed, epochs, method, best) for seed in seeds]
        row = f"{method:15}{best:>4}"
        for part, face in (x, "none"), (test, "C0"):
            found = [elbo(vae, part) for vae in (tried[best], *more)]
            axes.plot(found, [method] * len(found), "oC0", mfc=face)
            row += f"{np.mean(found):8.1f} ({min(found):.1f}, {max(found):.1f})"
        print(f"{row}; ", *(f"{score:.1f}" for score in scores), flush=True)
    axes.set(xlabel="ELBO in nats: filled on test, hollow on training images")
    axes.invert_yaxis()
    figure.savefig(output / "estimators_vae.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
