"""Two voices in the data: a softmax blends them, a sample chooses.

70 % of the recordings are of a speaker of 120 Hz, 30 % of one of 210 Hz. A
network must make recordings: learned logits, a choice of 2, a decoder. The
choice is its only randomness. It is trained on the energy distance between the
distributions of its recordings and of the real ones, or on the mean squared
error to one of them.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure

import keras_gumbel as kg

SPEAKERS = np.float32([1.2, 2.1])  # in 100 Hz
CODES = np.float32([[1, 0], [0.7, 0.3], [0, 1]])
CHOICES = {
    "softmax, 1": {"temperature": 1.0, "noise_scale": 0.0},
    "softmax, 0.1": {"temperature": 0.1, "noise_scale": 0.0},
    "soft, 1": {"temperature": 1.0},
    "soft, 0.1": {"temperature": 0.1},
    "hard, 0.1": {"temperature": 0.1, "hard": True},
}


def energy(real, made):
    """The energy distance between two batches (n, 1)."""

    def gap(a, b):
        return ops.mean(ops.abs(a - ops.transpose(b)))

    return 2 * gap(real, made) - gap(real, real) - gap(made, made)


LOSSES = {"law": energy, "MSE": "mean_squared_error"}


def recordings(n: int) -> np.ndarray:
    pitch = np.random.choice(SPEAKERS, (n, 1), p=[0.7, 0.3])
    return pitch + np.random.normal(scale=0.08, size=(n, 1))


def train(choice: dict, loss, real: np.ndarray):
    """A network that makes recordings, and its decoder."""
    parts = [layers.Dense(32, "tanh"), layers.Dense(1)]
    decoder = keras.Sequential([keras.Input((2,)), *parts])
    logits = layers.Dense(2, use_bias=False, kernel_initializer="zeros")
    chosen = kg.GumbelSoftmax(**choice, inference="sample")
    network = keras.Sequential([keras.Input((1,)), logits, chosen, decoder])
    rate = keras.optimizers.schedules.CosineDecay(0.02, len(real) // 256)
    network.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    network.fit(np.ones_like(real), real, 256, verbose=0)
    return network, decoder


def draw(rows: dict, path: Path) -> None:
    figure = Figure(figsize=(9, 5), layout="constrained")
    axis = figure.subplots()
    for place, made in enumerate(rows.values()):
        height = place + np.random.uniform(-0.3, 0.3, made.shape)
        axis.plot(100 * made, height, "k.", markersize=3, alpha=0.3)
    for speaker in 100 * SPEAKERS:
        axis.axvline(speaker, color="tab:blue", zorder=0)
    axis.set_yticks(range(len(rows)), rows)
    axis.invert_yaxis()
    axis.set(xlabel="pitch in Hz", title="Recordings, real and made")
    figure.savefig(path, dpi=120)


def main(output: Path, smoke: bool, seed: int) -> None:
    keras.utils.set_random_seed(seed)
    names = ("softmax, 1", "soft, 0.1") if smoke else CHOICES
    real = recordings(256 * (150 if smoke else 1000))
    rows = {"real": real[:400, 0]}
    print("                   off, Hz   share   code: 1 0  .7 .3    0 1")
    for loss, name in ((loss, name) for loss in LOSSES for name in names):
        network, decoder = train(CHOICES[name], LOSSES[loss], real)
        made = network.predict(np.ones((10_000, 1)), 1000, verbose=0)
        away = 100 * np.abs(made - SPEAKERS)
        share = np.mean(away.argmin(axis=-1) == 0)
        heard = "".join(f"{100 * hz:7.0f}" for hz in decoder(CODES)[:, 0])
        row = f"{away.min(axis=-1).mean():7.1f} {share:9.3f}    {heard}"
        print(f"{loss} {name:14}{row}", flush=True)
        rows[f"{loss}: {name}"] = made[:400, 0]
    output.mkdir(parents=True, exist_ok=True)
    draw(rows, output / "two_voices.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
