"""An LSTM whose gates are open or shut, and nothing between.

A symbol is shown at every step, and the answer is the last that came with a
mark. Training has 20 steps. In tests marks end there, but the symbols go on, up
to 64 times as long, and we score the answer at the end. `GumbelSigmoid` makes
the gates: soft gates as in any LSTM, hard gates 0 or 1, straight through.
Sampled: with noise in training. Coupled: i = 1 - f.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from matplotlib.figure import Figure

import keras_gumbel as kg

UNITS = 4
SYMBOLS = 4
LENGTHS = (20, 80, 320, 1280)
KINDS = {  # hard, noise_scale, coupled
    "soft": (False, 0.0, False),
    "hard": (True, 0.0, False),
    "soft, sampled": (False, 1.0, False),
    "hard, sampled": (True, 1.0, False),
    "soft, coupled": (False, 0.0, True),
    "hard, coupled, sampled": (True, 1.0, True),
}


@keras.saving.register_keras_serializable(package="keras_gumbel_examples")
class GatedCell(layers.Layer):
    """An LSTM cell for `keras.layers.RNN`. Its output is h, c, f and i."""

    def __init__(self, units, hard, noise_scale, coupled=False, **kwargs):
        super().__init__(**kwargs)
        self.config = {"units": units, "hard": hard, "coupled": coupled}
        self.config["noise_scale"] = noise_scale
        self.state_size = [units, units]
        self.output_size = 4 * units
        self.mix = layers.Dense(4 * units)
        self.gate = kg.GumbelSigmoid(hard=hard, noise_scale=noise_scale)

    def build(self, shape):
        self.mix.build((None, shape[-1] + self.state_size[0]))

    def call(self, x, states, training=None):
        h, c = states
        mixed = self.mix(ops.concatenate([x, h], axis=-1))
        logits, new = ops.split(mixed, [3 * self.state_size[0]], axis=-1)
        f, i, o = ops.split(self.gate(logits, training=training), 3, axis=-1)
        i = 1 - f if self.config["coupled"] else i
        c = f * c + i * ops.tanh(new)
        h = o * ops.tanh(c)
        return ops.concatenate([h, c, f, i], axis=-1), [h, c]

    def get_config(self):
        return {**super().get_config(), **self.config}


def latch(count: int, length: int, rng):
    """Symbols with their marks, the last that was marked, the marks."""
    symbols = rng.integers(SYMBOLS, size=(count, length))
    marks = rng.uniform(size=symbols.shape) < 0.15
    marks[:, 0] = True
    marks[:, LENGTHS[0] :] = False
    x = np.concatenate([np.eye(SYMBOLS)[symbols], marks[..., None]], axis=-1)
    last = np.maximum.accumulate(marks * np.arange(length), axis=1)
    return x, np.take_along_axis(symbols, last, axis=1), marks


def measure(kind: str, seed: int, steps: int):
    """Accuracies; gates at marks and elsewhere; cells kept. Some gates."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None, SYMBOLS + 1))
    rnn = layers.RNN(GatedCell(UNITS, *KINDS[kind]), return_sequences=True)
    read = layers.Dense(SYMBOLS, "softmax")
    model = keras.Model(inputs, read(rnn(inputs)[..., :UNITS]))
    adam = keras.optimizers.Adam(0.01)
    loss = "sparse_categorical_crossentropy"
    model.compile(adam, loss, steps_per_execution=50, jit_compile=True)
    x, answers, _ = latch(128 * steps, LENGTHS[0], np.random.default_rng(seed))
    model.fit(x, answers, 128, verbose=0)
    x, answers, marks = latch(500, LENGTHS[-1], np.random.default_rng(1000))
    parts = keras.Model(inputs, rnn.output).predict(x, 500, verbose=0)
    h, c, f, i = np.split(parts, 4, axis=-1)
    right = np.argmax(read(h), axis=-1) == answers
    row = [right[:, length - 1].mean() for length in LENGTHS]
    row += [np.mean(f * (1 - f) == 0), np.mean(c[:, -1] == c[:, LENGTHS[0]])]
    row += [part[where].mean() for part in (f, i) for where in (marks, ~marks)]
    return row, np.dstack([f, i])[0, :40].T, np.flatnonzero(marks[0])


def main(output: Path, kinds, seeds: int, steps: int) -> None:
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    *maps, curves = figure.subplots(1, 3)
    print("accuracies; gates exact, cells kept; f at marks, elsewhere; and i")
    for n, kind in enumerate(kinds):
        runs = [measure(kind, seed, steps) for seed in range(seeds)]
        rows = [row for row, *_ in runs]
        (_, gates, marks) = runs[0]
        mean = np.mean(rows, axis=0)
        spread = np.std(rows, axis=0)
        cells = map("{:.3f} +- {:.3f}".format, mean[:4], spread)
        print(f"{kind:>22}", *cells, *map("{:.2f}".format, mean[4:]), sep="  ")
        curves.errorbar(LENGTHS, mean[:4], spread[:4], label=kind)
        if n < 2:
            maps[n].imshow(gates, cmap="gray_r", vmin=0, vmax=1, aspect=2)
            maps[n].plot(marks, 0 * marks - 1, "v", color="black")
            maps[n].set(title=kind, xlabel="step (triangles: marks)")
            maps[n].set_yticks((1.5, 5.5), ("forget", "input"))
    curves.set(xlabel="length of the test", ylabel="accuracy", xscale="log")
    curves.legend(fontsize="small")
    output.mkdir(parents=True, exist_ok=True)
    figure.savefig(output / "hard_lstm.png", dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    few = ("soft", "hard"), 1, 300
    main(given.output, *(few if given.smoke else (KINDS, 3, 1000)))
