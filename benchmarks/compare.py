"""Time per element of a training step of ours beside every peer.

    python benchmarks/compare.py --output benchmarks/results

Peers whose package is not installed are left out, and named. Writes
`compare.json`, `compare.md` and `compare.png`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from measure import environment, head, interleaved, save
from peers import PEERS

SHAPES = [(1024, 8192), (16384, 512), (8192, 64), (2560, 10), (64, 10)]
PACKAGES = ["keras-gumbel", "tensorflow", "keras", "torch", "jax"]
PACKAGES += ["tensorflow-probability", "numpy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--only", default="", help="part of the peers' names")
    parser.add_argument("--shape", type=int, nargs=2, action="append")
    args = parser.parse_args()
    makers = available(args.only)
    results = {"environment": environment(*PACKAGES), "seconds": {}}
    for shape in map(tuple, args.shape or SHAPES):
        steps = {name: make(shape) for name, make in makers.items()}
        # Small steps are cheap to repeat, and noisier.
        repeat = 10 if shape[0] * shape[1] < 100_000 else 1
        seconds = interleaved(steps, args.rounds * repeat)
        results["seconds"][f"{shape[0]} x {shape[1]}"] = seconds
        print(table({f"{shape[0]} x {shape[1]}": seconds}), flush=True)
    save(args.output, "compare", report(results), results)
    if args.output:
        plot(results, args.output / "compare.png")


def available(only):
    """The peers that can be imported here."""
    makers = {}
    for name, create in PEERS.items():
        if only.lower() in name.lower() or name.startswith("keras_gumbel"):
            try:
                makers[name] = create()
            except ImportError as error:
                print(f"left out: {name} ({error})")
    return makers


def elements(shape):
    rows, classes = shape.split(" x ")
    return int(rows) * int(classes)


def table(seconds):
    """Nanoseconds per element, a row a peer, as Markdown."""
    shapes = list(seconds)
    lines = ["| | " + " | ".join(shapes) + " |"]
    lines.append("|-|" + "-|" * len(shapes))
    for name in seconds[shapes[0]]:
        cells = [seconds[s][name] * 1e9 / elements(s) for s in shapes]
        row = " | ".join(f"{cell:.1f}" for cell in cells)
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines) + "\n"


def ratios(seconds):
    """How many times longer each peer takes than ours in the same mode."""
    shapes = list(seconds)
    lines = ["| | " + " | ".join(shapes) + " |"]
    lines.append("|-|" + "-|" * len(shapes))
    for name in seconds[shapes[0]]:
        if name.startswith("keras_gumbel"):
            continue
        mode = name.split(", ")[1]
        own = mode if mode in ("graph", "eager") and "TF" in name else "XLA"
        own = f"keras_gumbel, {own}"
        cells = [seconds[s][name] / seconds[s][own] for s in shapes]
        row = " | ".join(f"{cell:.2f}" for cell in cells)
        lines.append(f"| {name} / {own} | {row} |")
    return "\n".join(lines) + "\n"


def report(results):
    return (
        f"{head(results['environment'])}\n\nForward and backward of a hard "
        "one-hot sample, float32, nanoseconds per element (median, "
        "interleaved):\n\n"
        f"{table(results['seconds'])}\nRatios of time:\n\n"
        f"{ratios(results['seconds'])}"
    )


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shapes = list(results["seconds"])[:3]
    figure, axes = plt.subplots(
        1, len(shapes), figsize=(12, 4.2), sharey=True, squeeze=False
    )
    for axis, shape in zip(axes[0], shapes, strict=True):
        seconds = results["seconds"][shape]
        values = [t * 1e9 / elements(shape) for t in seconds.values()]
        ours = [name.startswith("keras_gumbel") for name in seconds]
        colors = ["#c2410c" if own else "#94a3b8" for own in ours]
        axis.barh(list(seconds), values, color=colors)
        axis.bar_label(axis.containers[0], fmt=" %.1f", fontsize=8)
        axis.set(xscale="log", title=shape, xlabel="ns per element")
        axis.set_xlim(1, max(values) * 3)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Hard Gumbel-softmax, forward + backward (log scale)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
