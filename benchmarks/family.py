"""Each layer of the family beside what is pasted from its paper's repository.

    python benchmarks/family.py --output benchmarks/results

Forward and backward, in eager, graph and XLA code; the time of the pasted
code over ours in the same mode. Each file of `idioms/` holds one pair:
`cases()` gives `{label: (ours, pasted, inputs)}`, two functions of the same
tensors, and `NO_XLA` the labels whose pasted code XLA cannot compile. Writes
`family.json` and `family.md`.
"""

import argparse
import importlib
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from measure import environment, head, interleaved, save

IDIOMS = sorted(
    path.stem for path in (Path(__file__).parent / "idioms").glob("[a-z]*.py")
)
MODES = {"eager": None, "graph": False, "XLA": True}


def step(function, inputs, jit_compile):
    """Forward and backward, from a fixed gradient at the output."""
    shape = tf.shape(function(*inputs))
    weights = tf.random.stateless_normal(shape, (0, 1))

    def run(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(
                tf.cast(function(*inputs), "float32") * weights
            )
        return loss, tape.gradient(loss, inputs)

    if jit_compile is not None:
        run = tf.function(run, jit_compile=jit_compile, autograph=False)
    return lambda: tf.nest.flatten(run(*inputs))[-1].numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=6.0)
    parser.add_argument("--only", choices=IDIOMS, action="append")
    options = parser.parse_args()
    versions = environment("keras-gumbel", "tensorflow", "keras")
    lines = ["| | eager | graph | XLA |", "|-|-|-|-|"]
    seconds = {}
    for name in options.only or IDIOMS:
        idiom = importlib.import_module(f"idioms.{name}")
        for label, (ours, pasted, inputs) in idiom.cases().items():
            steps = {
                (mode, who): step(function, inputs, jit_compile)
                for mode, jit_compile in MODES.items()
                for who, function in (("ours", ours), ("pasted", pasted))
                if (mode, who) != ("XLA", "pasted")
                or label not in getattr(idiom, "NO_XLA", ())
            }
            took = interleaved(steps, options.rounds, options.budget)
            label = f"{name}, {label}"
            seconds[label] = {" ".join(key): t for key, t in took.items()}
            cells = [
                _cell(took[mode, "ours"], took.get((mode, "pasted")))
                for mode in MODES
            ]
            lines.append(f"| {label} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    text = (
        f"{head(versions)}\n\nTime of the pasted code over ours, and ours in "
    )
    text += "milliseconds (median,\ninterleaved):\n\n" + "\n".join(lines) + "\n"
    data = {"environment": versions, "seconds": seconds}
    save(options.output, "family", text, data)


def _cell(ours, pasted):
    ratio = "cannot run" if pasted is None else f"{pasted / ours:.2f}"
    return f"{ratio} ({1e3 * ours:.2f})"


if __name__ == "__main__":
    main()
