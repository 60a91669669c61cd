"""How good is a gradient estimator? Reported where the truth can be had.

Six choices among the numbers 0, 1/3, 2/3 and 1 are to come near 0.45, which
none of them is. All 4,096 states can be gone through, so that the gradient is
known exactly, and each estimator is laid beside it: its bias, its variance,
and the angle between them. After the polynomials of Hooper and Shekhovtsov,
2026, a common trial of straight-through estimators.
"""

import argparse
from pathlib import Path

import numpy as np
from keras import ops

import keras_gumbel as kg

NUMBERS = np.linspace(0, 1, 4, dtype="float32")


def distance(z, power: int):  # samples (m, 6, 4) -> (m,)
    chosen = ops.sum(z * NUMBERS, axis=-1)
    return ops.mean(ops.abs(chosen - 0.45) ** power, axis=-1)


def main(output: Path, smoke: bool) -> None:
    output.mkdir(parents=True, exist_ok=True)
    temperatures, samples = (
        ([1.0], 1000) if smoke else ([0.1, 0.5, 1.0], 100_000)
    )
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    for name, power in {"quadratic": 2, "cubic": 3}.items():
        report = kg.diagnostics.gradient_report(
            lambda z, power=power: distance(z, power),
            logits,
            temperatures=temperatures,
            num_samples=samples,
        )
        print(f"{name}: {report}\n")
        report.plot(output / f"gradients_{name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
