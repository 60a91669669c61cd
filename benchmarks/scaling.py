"""Time per element against the number of classes.

    python benchmarks/scaling.py --output benchmarks/results

Forward and backward of a hard sample of 2**22 logits, from 8 to 262,144
classes. Writes `scaling.json`, `scaling.md` and `scaling.png`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from measure import environment, head, interleaved, save
from peers import PEERS

ELEMENTS = 2**22
CLASSES = [8, 32, 128, 512, 2048, 8192, 32768, 262144]
NAMES = [
    "keras_gumbel, XLA",
    "keras_gumbel, graph",
    "pasted TF, graph",
    "torch, compile",
    "torch, eager",
    "JAX, jit",
]


def table(results):
    lines = ["| | " + " | ".join(map(str, CLASSES)) + " |"]
    lines.append("|-|" + "-|" * len(CLASSES))
    for name in results[CLASSES[0]]:
        cells = (results[k][name] * 1e9 / ELEMENTS for k in CLASSES)
        row = " | ".join(f"{cell:.1f}" for cell in cells)
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines) + "\n"


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.5, 4.5))
    colors = ["#c2410c", "#fb923c", "#0f172a", "#2563eb", "#93c5fd", "#16a34a"]
    for name, color in zip(results[CLASSES[0]], colors, strict=False):
        values = [results[k][name] * 1e9 / ELEMENTS for k in CLASSES]
        axis.plot(CLASSES, values, "o-", color=color, label=name)
    axis.set(xscale="log", yscale="log", xlabel="number of classes")
    axis.set_ylabel("ns per element, forward + backward")
    axis.set_xticks(CLASSES, [f"{k:,}" for k in CLASSES], rotation=30)
    axis.set_yticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=2)
    axis.set_title("Hard Gumbel-softmax of 2**22 logits, 2 CPU cores")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    makers = {}
    for name in NAMES:
        try:
            makers[name] = PEERS[name]()
        except ImportError as error:
            print(f"left out: {name} ({error})")
    results = {}
    for classes in CLASSES:
        shape = (ELEMENTS // classes, classes)
        steps = {name: make(shape) for name, make in makers.items()}
        results[classes] = interleaved(steps, options.rounds)
    versions = environment("keras-gumbel", "tensorflow", "torch", "jax")
    text = (
        f"{head(versions)}\n\nForward and backward of a hard sample of 2**22 "
        "float32 logits, nanoseconds per element (median, interleaved), by "
        f"the number of classes:\n\n{table(results)}"
    )
    data = {"environment": versions, "seconds": results}
    save(options.output, "scaling", text, data)
    if options.output:
        plot(results, options.output / "scaling.png")


if __name__ == "__main__":
    main()
