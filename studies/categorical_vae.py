"""A variational autoencoder whose latent code is 20 choices among 10.

After Jang, Gu, Poole, 2017, https://arxiv.org/abs/1611.01144, on scikit-learn's
digits, the prior learned; a pixel is 16 Bernoulli trials. Beside it, the bound
of Maddison, Mnih, Teh, 2017, https://arxiv.org/abs/1611.00712.
"""

import argparse
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import keras_gumbel as kg

WAYS = np.log([math.comb(16, k) for k in range(17)]).astype("float32")


def nats(x, p):  # -log P(counts), of x = counts / 16
    ways = ops.take(WAYS, ops.cast(ops.round(16 * x), "int32"))
    return ops.sum(16 * ops.binary_crossentropy(x, p) - ways, axis=-1)


class VAE(keras.Model):
    def __init__(self, bound: str) -> None:
        super().__init__()
        code = [layers.Dense(20 * 10), layers.Reshape((20, 10))]
        self.encoder = keras.Sequential([layers.Dense(512, "relu"), *code])
        self.choice = kg.GumbelSoftmax(1.0, inference="argmax")  # as exported
        pixels = [layers.Dense(512, "relu"), layers.Dense(64, "sigmoid")]
        self.decoder = keras.Sequential([layers.Flatten(), *pixels])
        self.prior = self.add_weight((20, 10), "zeros", name="prior")
        self.sample = getattr(self, bound)

    def jang(self, logits, hard=False):  # to codes, and their divergence
        code = kg.ops.gumbel_softmax(logits, self.choice.temperature, hard=hard)
        return code, kg.losses.categorical_kl(logits, self.prior)

    def maddison(self, logits):
        law = kg.distributions.log_from_layer
        q = law(self.choice, logits)
        p = law(self.choice, self.prior)
        log_code = q.sample()  # of which no entry underflows
        return ops.exp(log_code), q.log_prob(log_code) - p.log_prob(log_code)

    def call(self, x, training=None):
        logits = self.encoder(x)
        if not training:
            return self.decoder(self.choice(logits))
        code, kl = self.sample(logits)
        self.add_loss(ops.mean(ops.sum(kl, axis=-1)))
        return self.decoder(code)

    def bound(self, x, sample, **options) -> float:
        x = np.repeat(x, 100, axis=0)
        code, kl = sample(self.encoder(x), **options)
        return -float(ops.mean(nats(x, self.decoder(code)) + ops.sum(kl, -1)))


def train(vae: VAE, x: np.ndarray, epochs: int) -> None:
    many = np.tile(x, (20, 1))  # an epoch is 20 passes: a line worth reading
    steps = epochs * len(many) // 100  # at the floor after 0.7 of them
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    vae.compile(keras.optimizers.Adam(rate), nats)
    anneal = kg.schedules.ExponentialAnnealing(1.0, 1 / steps, 0.5, every=30)
    callbacks = [kg.TemperatureScheduler(anneal)]
    vae(x[:1])  # builds it
    vae.fit(many, many, 100, epochs, callbacks=callbacks, verbose=2)


def draw(vae: VAE, x: np.ndarray, path: Path) -> None:
    code, _ = vae.jang(ops.tile(vae.prior[None], (10, 1, 1)), hard=True)
    tiles = np.reshape([x, vae(x), vae.decoder(code)], (3, 10, 8, 8))
    tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1)))
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axis = figure.subplots()
    axis.imshow(np.block([[*row] for row in tiles]), cmap="gray_r")
    axis.set(title="digits; decoded; from the prior", xticks=[], yticks=[])
    figure.savefig(path, dpi=150)


def main(output: Path, seed: int, smoke: bool) -> None:
    keras.utils.set_random_seed(seed)
    x = np.random.permutation(load_digits().data).astype("float32") / 16
    test = x[:297]
    x = x[297:]
    no_code = -np.mean(nats(test, np.broadcast_to(x.mean(0), test.shape)))
    for name in ("maddison", "jang"):
        vae = VAE(name)
        train(vae, x, 1 if smoke else 10)
        found = f"discrete {vae.bound(test, vae.jang, hard=True):.1f}"
        for sample in (vae.jang, vae.maddison):
            found += f", {sample.__name__} {vae.bound(test, sample):.1f}"
        print(f"{name}: {found}, without code {no_code:.1f} nats", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    draw(vae, test[:10], output / "categorical_vae.png")
    vae.export(output / "categorical_vae", verbose=False)
    loaded = tf.saved_model.load(output / "categorical_vae")
    difference = np.abs(loaded.serve(test) - vae(test)).max()
    print(f"the exported model, largest difference {difference:.1e}")
    np.save(output / "check.npy", [test, vae(test)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
