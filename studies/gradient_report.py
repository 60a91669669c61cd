"""How good is a gradient estimator? Measured against the exact gradient.

Six choices among the numbers 0, 1/3, 2/3 and 1 must come near 0.45. Their
4,096 states can be enumerated, so the exact gradient is known. The program
prints each estimator's bias, its variance, and its angle to the exact gradient.
Then each estimator trains logits from 0 until they settle. After the
polynomials of Hooper and Shekhovtsov, 2026.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_gumbel as kg

NUMBERS = np.linspace(0, 1, 4, dtype="float32")
HARD = ("st_gumbel", "gumbel_rao", "st", "reinmax", "gapped_st")


def distance(z, power: int):  # samples (m, 6, 4) -> (m,)
    chosen = ops.sum(z * NUMBERS, axis=-1)
    return ops.mean(ops.abs(chosen - 0.45) ** power, axis=-1)


class Chooser(keras.Model):
    def __init__(self, power: int, temperature: float, estimator: str) -> None:
        super().__init__()
        self.logits = self.add_weight((6, 4), initializer="zeros")
        self.choice = kg.GumbelSoftmax(
            temperature, hard=True, estimator=estimator
        )
        self.power = power

    def call(self, batch, training=None):
        logits = ops.broadcast_to(self.logits, (ops.shape(batch)[0], 6, 4))
        loss = distance(self.choice(logits, training=training), self.power)
        self.add_loss(ops.mean(loss))
        return loss


def settle(steps: int, *problem) -> float:
    """The exact mean distance after training on batches of 64 samples."""
    keras.utils.set_random_seed(0)
    model = Chooser(*problem)
    model.compile(keras.optimizers.Adam(0.01), steps_per_execution=100)
    model.fit(np.zeros((64 * steps, 1)), batch_size=64, verbose=0)
    loss = kg.diagnostics.exact_expectation(
        lambda z: distance(z, problem[0]), model.logits
    )
    return float(loss)


def report(power: int, temperatures: list[float], samples: int, path: Path):
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    found = kg.diagnostics.gradient_report(
        lambda z: distance(z, power), logits, None, temperatures, samples
    )
    print(f"6 choices of 4 numbers, power {power}: {found}\n", flush=True)
    found.plot(path)


def main(output: Path, smoke: bool) -> None:
    output.mkdir(parents=True, exist_ok=True)
    temperatures = [1.0] if smoke else [0.1, 0.5, 1.0]
    if smoke:
        samples = 1000
        steps = 200
    else:
        samples = 100_000
        steps = 5000
    for name, power in {"quadratic": 2, "cubic": 3}.items():
        report(power, temperatures, samples, output / f"gradients_{name}.png")
        print("settles, with the temperatures above, at")
        for estimator in HARD:
            found = [settle(steps, power, t, estimator) for t in temperatures]
            print(f"{estimator:11}", *(f"{x:.4f}" for x in found), flush=True)
        print(f"where the best choices give {abs(1 / 3 - 0.45) ** power:.4f}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
