"""A variational autoencoder whose latent code is 20 choices among 10.

After Jang, Gu, Poole, 2017, https://arxiv.org/abs/1611.01144, on the digits of
scikit-learn. A pixel counts the black ones in a 4 x 4 block of a bitmap, so it
has the likelihood of 16 Bernoulli trials, and the ELBO is one of counts.

The loss of `fit` is of relaxed choices, the ELBO printed of hard ones, which is
what annealing is for: -108.8 on test, where temperature 1 throughout ends at
-116.5 and 0.3 throughout at -110.5. With no code, each pixel by its mean, -255.
"""

import argparse
import math
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_gumbel as kg

WAYS = np.log([math.comb(16, k) for k in range(17)]).astype("float32")
CHECK = """# run where nothing but TensorFlow is known
import sys, numpy as np, tensorflow as tf
x, expected = np.load(sys.argv[1] + "/check.npy")
model = tf.saved_model.load(sys.argv[1] + "/categorical_vae")
difference = np.abs(model.serve(x) - expected).max()
assert "keras_gumbel" not in sys.modules
print(f"reloaded by TensorFlow alone, largest difference {difference:.1e}")
sys.exit(int(not difference <= 1e-6))  # NaN fails too
"""


def nats(x, p):  # -log P(counts), of x = counts / 16
    ways = ops.take(WAYS, ops.cast(ops.round(16 * x), "int32"))
    return ops.sum(16 * ops.binary_crossentropy(x, p) - ways, axis=-1)


def kl_to_uniform(logits):
    log_q = ops.log_softmax(logits)
    return ops.sum(ops.exp(log_q) * (log_q + math.log(10)), axis=(1, 2))


class VAE(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        code = [layers.Dense(20 * 10), layers.Reshape((20, 10))]
        self.encoder = keras.Sequential([layers.Dense(512, "relu"), *code])
        self.choice = kg.GumbelSoftmax(1.0, inference="argmax")  # as exported
        pixels = [layers.Dense(512, "relu"), layers.Dense(64, "sigmoid")]
        self.decoder = keras.Sequential([layers.Flatten(), *pixels])

    def call(self, x, training=None):
        logits = self.encoder(x)
        self.add_loss(ops.mean(kl_to_uniform(logits)))
        return self.decoder(self.choice(logits, training=training))

    def elbo(self, x, samples: int = 100) -> float:
        x = np.repeat(x, samples, axis=0)
        logits = self.encoder(x)
        code = kg.ops.gumbel_softmax(logits, hard=True)
        bound = nats(x, self.decoder(code)) + kl_to_uniform(logits)
        return -float(ops.mean(bound))


def train(vae: VAE, x: np.ndarray, epochs: int) -> None:
    many = np.tile(x, (20, 1))  # an epoch is 20 passes: a line worth reading
    steps = epochs * len(many) // 100
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    vae.compile(keras.optimizers.Adam(rate), nats)
    # At the floor after 0.7 of the steps: exp(-1.7 * 0.7) = 0.3.
    anneal = kg.schedules.ExponentialAnnealing(1.0, 1.7 / steps, 0.3)
    callbacks = [kg.TemperatureScheduler(anneal)]
    vae.fit(many, many, 100, epochs, callbacks=callbacks)


def draw(rows: dict, path: Path) -> None:
    figure = Figure(figsize=(8, 3.3), layout="constrained")
    for axis, label in zip(figure.subplots(len(rows)), rows, strict=True):
        tiles = np.reshape(rows[label], (-1, 8, 8))
        tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 1)))
        axis.imshow(np.hstack(tiles), cmap="gray_r", vmin=0, vmax=1)
        axis.set(title=label, xticks=[], yticks=[], frame_on=False)
    figure.savefig(path, dpi=150)


def main(output: Path, epochs: int) -> int:
    keras.utils.set_random_seed(0)
    x, digits = load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    x, test, _, digits = train_test_split(x, digits, test_size=297)
    vae = VAE()
    train(vae, x, epochs)
    no_code = -np.mean(nats(test, np.broadcast_to(x.mean(0), test.shape)))
    print(f"test ELBO {vae.elbo(test):.1f} nats, without code {no_code:.1f}")
    output.mkdir(parents=True, exist_ok=True)
    one_each = test[np.unique(digits, return_index=True)[1]]
    prior = np.eye(10)[np.random.randint(10, size=(10, 20))]
    rows = {"inputs": one_each, "reconstructions": vae(one_each)}
    rows["samples from the prior"] = vae.decoder(prior)
    draw(rows, output / "categorical_vae.png")
    vae.export(output / "categorical_vae", verbose=False)
    np.save(output / "check.npy", [test, vae(test)])
    sys.stdout.flush()  # before the child writes to it too
    check = [sys.executable, "-I", "-c", CHECK, output]
    return subprocess.run(check).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--smoke", dest="epochs", action="store_const", const=1)
    sys.exit(main(**vars(parser.parse_args())))
