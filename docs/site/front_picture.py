"""The picture of the README: `python docs/site/front_picture.py`.

Left, what a hard sample costs, from the results of `make bench`. Right, samples
of three classes at three temperatures.
"""

import json
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_gumbel as kg

ROOT = Path(__file__).parents[2]
SIZE = "1024 x 8192"
SHOWN = {
    "keras_gumbel, XLA": "keras_gumbel",
    "pasted TF, graph": "pasted code",
    "pasted TF, XLA": "pasted code, XLA",
    "keras.random, XLA": "with keras.random, XLA",
}
CORNERS = np.array([[0, 0], [1, 0], [0.5, 0.75**0.5]])
INK = "#334155"


def bars(axis, times):
    """Nanoseconds an element, the shortest on top."""
    values = [times[name] for name in SHOWN]
    colours = ["#c2410c"] + ["#94a3b8"] * (len(values) - 1)
    drawn = axis.barh(list(SHOWN.values()), values, color=colours)
    axis.bar_label(drawn, [f"{value:.3g}" for value in values], padding=4)
    axis.set(xscale="log", xlim=(1, 1000), xticks=[])
    axis.minorticks_off()
    axis.invert_yaxis()
    axis.set_title(
        "hard sample and gradient: ns an element,\n2 CPU cores, log scale"
    )
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def triangle(axis, temperature):
    """Samples of the probabilities 0.1, 0.3, 0.6 on the simplex."""
    logits = np.tile(np.log(np.float32([1, 3, 6])), (1500, 1))
    samples = np.array(kg.ops.gumbel_softmax(logits, temperature, seed=0))
    axis.plot(*CORNERS[[0, 1, 2, 0]].T, color=INK, linewidth=1)
    axis.plot(*(samples @ CORNERS).T, ".", color="#c2410c", ms=3, alpha=0.4)
    axis.set(aspect="equal", frame_on=False, xticks=[], yticks=[])
    axis.set_title(f"temperature {temperature:g}", y=-0.12)


def main(path):
    """Draw it, from the results that are in the repository."""
    keras.utils.set_random_seed(0)
    results = ROOT / "benchmarks" / "results" / "compare.json"
    seconds = json.loads(results.read_text())["seconds"][SIZE]
    rows, classes = map(int, SIZE.split(" x "))
    times = {name: 1e9 * t / rows / classes for name, t in seconds.items()}
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=(1.5, 1, 1, 1))
    bars(axes[0], times)
    for axis, temperature in zip(axes[1:], (0.1, 0.5, 2.0), strict=True):
        triangle(axis, temperature)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(ROOT / "docs" / "images" / "front.png")
