"""Check and time the functions of this package on Keras's JAX backend.

    KERAS_BACKEND=jax python benchmarks/gpu/layers.py --output results

Needs JAX, Keras and this package; torch where it is to be timed too. On the
device that JAX finds: samples and gradients against those that the other
backends have written (`tests/fixtures/golden`), a look into the compiled
programs for a branch, which would have the host wait, and the time of a step,
forward and backward, beside the usual JAX code and torch. A time stands beside
its floor: the bytes that it cannot avoid moving, at the bandwidth of a copy
that is measured in the same run. Writes `layers.json` and `layers.md`. Runs on
a CPU too, with `--smoke`, as a test of itself.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import keras
import numpy as np
from measure import environment, head, save
from run import copy_bandwidth, jax_step, peers, seconds

import keras_gumbel as kg

# As users have it; the programs that `run.py` loads are of 64 bits.
jax.config.update("jax_enable_x64", False)

SHAPES = [(1024, 8192), (16384, 512), (256, 131072)]
SMOKE = [(32, 256)]
TEMPERATURE = 0.5
TABLE = 64
HARD = {"hard": True, "temperature": TEMPERATURE}

# Name -> (function of logits, a table and a key; bytes a float32 logit, by
# how many of its tensors a step reads or writes at least).
STEPS = {
    "soft": (
        lambda x, table, key: kg.ops.gumbel_softmax(x, TEMPERATURE, seed=key),
        20,
    ),
    **{
        name: (
            lambda x, table, key, rule=name: kg.ops.gumbel_softmax(
                x, estimator=rule, seed=key, **HARD
            ),
            24 if name == "st_gumbel" else 20,
        )
        for name in ("st_gumbel", "st", "reinmax", "gapped_st")
    },
    "index": (
        lambda x, table, key: kg.ops.sample_argmax_index(x, seed=key, **HARD),
        20,
    ),
    "gates": (
        lambda x, table, key: kg.ops.gumbel_sigmoid(x, seed=key, **HARD),
        20,
    ),
    "embedding": (
        lambda x, table, key: kg.ops.sample_embedding(x, table, seed=key),
        12,
    ),
    "subset of 8": (
        lambda x, table, key: kg.ops.gumbel_top_k(x, 8, seed=key, **HARD)[0],
        24,
    ),
}


def step_of(sample, shape, dtype):
    """A training step: the sample, and the gradient of a weighted sum."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal(shape, "float32"), dtype)
    table = jnp.asarray(
        rng.standard_normal((shape[1], TABLE), "float32"), dtype
    )

    def loss(x, key):
        y = sample(x, table, key)
        # Any weights; of the sample's shape, without a tensor more to read.
        return jnp.sum(y * jnp.arange(y.shape[-1], dtype=dtype))

    both = jax.jit(jax.value_and_grad(loss))
    key = jax.random.key(0)
    return both, (x, key)


def waits(step, args):
    """Whether the program has a branch or a loop, by which a host may wait."""
    text = step.lower(*args).compile().as_text()
    return sorted({w for w in ("conditional", "while") if f" {w}(" in text})


def largest_difference():
    """From the arrays that the backends wrote, relative to the largest."""
    from tests import golden

    worst, unequal = 0.0, []
    for name, (*_, hard) in golden.CASES.items():
        found = golden.sample(name)
        for writer in ("tensorflow", "jax"):
            wanted = np.load(golden.FOLDER / f"{writer}.npz")
            for n, array in enumerate(found):
                if array is None:
                    continue
                right = wanted[f"{name}/{n}"]
                scale = max(np.abs(right).max(), 1e-30)
                difference = float(np.abs(array - right).max() / scale)
                worst = max(worst, difference)
                if difference and hard and n == 0:
                    unequal.append(f"{writer}: {name}")
    return worst, unequal


def noise(shape, dtype):
    """Seconds of the noise alone, ours and JAX's."""
    key = jax.random.key(0)
    ours = jax.jit(
        lambda key: kg.ops.sample_gumbel(shape, dtype=dtype, seed=key)
    )
    theirs = jax.jit(lambda key: jax.random.gumbel(key, shape, dtype))
    return {
        "noise": seconds(lambda: ours(key), jax.block_until_ready),
        "jax.random.gumbel": seconds(
            lambda: theirs(key), jax.block_until_ready
        ),
    }


def row(name, shape, dtype, bandwidth):
    """One function at a shape: its time, its floor, and what may wait."""
    sample, size = STEPS[name]
    step, args = step_of(sample, shape, dtype)
    size *= jnp.dtype(dtype).itemsize / 4
    return {
        "seconds": seconds(lambda: step(*args), jax.block_until_ready),
        "floor": size * np.prod(shape) / bandwidth,
        "waits": waits(step, args),
    }


def usual(shape, dtype):
    """The usual JAX code, forward and backward, hard."""
    step = jax_step("hard_step")
    x = jnp.zeros(shape, dtype)
    args = (x, x, jax.random.key(0))
    return seconds(lambda: step(*args), jax.block_until_ready)


def text(results):
    """The sheet, as Markdown."""
    worst, unequal = results["golden"]
    lines = [
        "# Functions on Keras's JAX backend",
        "",
        head(results["environment"]),
        "",
        f"Device: {results['device']}. A copy moves "
        f"{results['bandwidth'] / 1e9:.0f} GB/s. Hard samples that differ from "
        f"those of other backends: {len(unequal)}; the largest difference of "
        f"any number is {worst:.1e} of the largest.",
    ]
    for shape, found in results["shapes"].items():
        lines += ["", f"## {shape}", "", "| | ms | x floor | waits |"]
        lines.append("|-|-|-|-|")
        for name, one in found["ours"].items():
            ratio = one["seconds"] / one["floor"]
            lines.append(
                f"| {name} | {one['seconds'] * 1e3:.3g} | {ratio:.2f} | "
                f"{', '.join(one['waits'])} |"
            )
        for name, time in found["peers"].items():
            lines.append(f"| {name} | {time * 1e3:.3g} | | |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--smoke", action="store_true", help="small shapes")
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    if keras.config.backend() != "jax":
        raise SystemExit("KERAS_BACKEND must be jax")
    device = jax.devices()[0]
    results = {
        "environment": environment("keras-gumbel", "keras", "jax", "torch"),
        "device": device.device_kind,
        "bandwidth": copy_bandwidth(device, 2**20 if args.smoke else 2**27),
        "golden": largest_difference(),
        "shapes": {},
    }
    for shape in SMOKE if args.smoke else SHAPES:
        for dtype in ("float32", "bfloat16"):
            ours = {
                name: row(name, shape, dtype, results["bandwidth"])
                for name in STEPS
            }
            found = {"usual JAX": usual(shape, dtype), **noise(shape, dtype)}
            if dtype == "float32":
                others = peers("hard_step", shape, device, not args.no_compile)
                found |= {k: v for k, v in others.items() if k != "JAX"}
            name = f"{shape[0]} x {shape[1]}, {dtype}"
            results["shapes"][name] = {"ours": ours, "peers": found}
            # What was measured stays, should the time run out.
            save(args.output, "layers", text(results), results)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
