"""Does a report of a few hundred steps find the temperature that ends best?

The digits VAE of the gallery, with the temperature constant: what
`kg.diagnostics.temperature_report` suggests, and the test ELBO of whole
trainings at each temperature of its list.
"""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_gumbel as kg

sys.path.insert(0, str(Path(__file__).parent.parent))
from studies.categorical_vae import VAE, nats

TEMPERATURES = (0.1, 0.3, 0.5, 1.0, 2.0)
BATCH = 100


def built(seed: int, example: np.ndarray, rate: object) -> VAE:
    """The same weights for every training of a seed."""
    keras.utils.set_random_seed(seed)
    vae = VAE("jang")
    vae(example)
    vae.compile(keras.optimizers.Adam(rate), nats)
    return vae


def main(seed: int, steps: int, whole: int) -> None:
    """Print the report, then a line for each whole training."""
    rng = np.random.default_rng(seed)
    x = rng.permutation(load_digits().data).astype("float32") / 16
    test, x = x[:297], x[297:]
    report = kg.diagnostics.temperature_report(
        built(seed, x[:1], 3e-3),
        x,
        x,
        TEMPERATURES,
        steps=steps,
        batch_size=BATCH,
        validation_data=(test, test),
        verbose=0,
    )
    print(report, flush=True)
    found = {}
    for temperature in TEMPERATURES:
        rate = keras.optimizers.schedules.CosineDecay(3e-3, whole)
        vae = built(seed, x[:1], rate)
        vae.choice.temperature = temperature
        many = np.tile(x, (whole * BATCH // len(x), 1))
        vae.fit(many, many, BATCH, verbose=0)
        found[temperature] = vae.bound(test, vae.jang, hard=True)
        print(f"{temperature}: test ELBO {found[temperature]:.2f}", flush=True)
    behind = max(found.values()) - found[report.suggestion.temperature]
    print(f"the suggestion is {behind:.2f} nats behind the best")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--whole", type=int, default=3000)
    main(**vars(parser.parse_args()))
