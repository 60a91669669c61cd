"""Samples of three classes and their density, on the triangle they live on.

The Concrete distribution of the unnormalised probabilities 1, 3, 6: a picture,
and with Plotly a page; shares of samples beside integrals of the density. Up to
temperature 1 / (K - 1) it has no peak inside (Maddison et al., 2017, prop. 1).
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_gumbel as kg

keras.utils.set_random_seed(0)
LOG_PI = np.log([1.0, 3.0, 6.0])
TEMPERATURES = 0.1, 0.3, 0.5, 1.0, 3.0, 10.0
LAYER = {t: kg.GumbelSoftmax(t, dtype="float64") for t in TEMPERATURES}
CORNERS = np.array([[0, 0], [1, 0], [0.5, 0.75**0.5]])  # in the picture


def quadrature(temperature: float, n: int):
    """Points (n * n, 3) of the simplex, and the probability about each."""
    # In log(z1 / z3), log(z2 / z3) the density equals the density of log z.
    step = 40 / n / temperature
    centre = np.array([[0.33], [0.67]]) - n / 2
    a, b = (np.mgrid[:n, :n].reshape(2, -1) + centre) * step
    log_z = np.stack([a, b, np.zeros(n * n)], axis=-1)
    log_z -= np.logaddexp.reduce(log_z, axis=-1, keepdims=True)
    law = kg.distributions.log_from_layer(LAYER[temperature], LOG_PI)
    return np.exp(log_z), np.exp(law.log_prob(log_z).numpy()) * step**2


def summary(z, weight) -> str:
    """The share nearest each corner; of no entry above 0.9; the mean."""
    nearest = np.bincount(z.argmax(axis=-1), weight, minlength=3)
    inside = np.sum(weight[z.max(axis=-1) < 0.9])
    return " ".join(f"{x:6.3f}" for x in (*nearest, inside, *weight @ z))


def lattice(n: int) -> np.ndarray:
    """Points inside the triangle, (n, n, 3); NaN is outside."""
    a, b = np.mgrid[:n, :n] / n
    z = np.stack([a, b, 1 - a - b], axis=-1)
    return np.where(z.min(axis=-1, keepdims=True) > 0.5 / n, z, np.nan)


def log10_density(temperature: float, z) -> np.ndarray:
    law = kg.distributions.from_layer(LAYER[temperature], LOG_PI)
    return law.log_prob(z).numpy() / np.log(10)


def shape(temperature: float) -> str:
    """How many peaks the density has, and whether its logarithm is convex."""
    height = log10_density(temperature, lattice(100))
    steps = (0, 1), (1, 0), (1, -1), (1, 1), (2, -1), (1, -2)
    ahead = np.stack([np.roll(height, step, (0, 1)) for step in steps])
    behind = [np.roll(height, np.negative(step), (0, 1)) for step in steps]
    peaks = np.all(np.maximum(ahead, behind) < height, axis=0).sum()
    return f"{peaks} {np.nanmin(ahead + behind - 2 * height) >= 0}"


def picture(samples: dict, path: Path) -> None:
    figure = Figure(figsize=(9, 5.8), layout="constrained")
    bare = {"aspect": "equal", "frame_on": False, "xticks": [], "yticks": []}
    axes = figure.subplots(2, 3, sharex=True, sharey=True, subplot_kw=bare)
    inside = lattice(150)
    inside = inside[np.isfinite(inside).all(axis=-1)]
    options = {"levels": np.arange(-3, 2.5, 0.5), "cmap": "Blues"}
    for axis, (t, z) in zip(axes.flat, samples.items(), strict=True):
        height = log10_density(t, inside).clip(-3, 2)
        filled = axis.tricontourf(*(inside @ CORNERS).T, height, **options)
        axis.plot(*(z @ CORNERS).T, ".", color="C1", markersize=2, alpha=0.5)
        axis.set_title(f"temperature {t:g}")
    figure.supxlabel("corners: class 1 left, class 2 right, class 3 on top")
    figure.colorbar(filled, ax=axes, label="log10 of the density")
    figure.savefig(path, dpi=110)


def page(samples: dict, path: Path) -> None:
    try:
        from plotly import graph_objects
    except ImportError:
        return print("no page without Plotly: pip install 'keras-gumbel[plot]'")
    figure = graph_objects.Figure()
    steps = []
    for t, z in samples.items():
        marker = {"color": log10_density(t, z), "coloraxis": "coloraxis"}
        options = {"mode": "markers", "marker": marker, "visible": t == 1}
        figure.add_scatterternary(a=z[:, 2], b=z[:, 0], c=z[:, 1], **options)
        shown = ["visible", [t == other for other in samples]]
        steps.append({"label": f"{t:g}", "method": "restyle", "args": shown})
    bar = {"cmin": -3, "cmax": 2, "colorbar": {"title": "log10 of the density"}}
    figure.update_layout(sliders=[{"steps": steps, "active": 3}], coloraxis=bar)
    return figure.write_html(path, include_plotlyjs="directory")


def main(output: Path, smoke: bool) -> None:
    if smoke:
        n = 20_000
        size = 1000
    else:
        n = 200_000
        size = 1500
    samples = {}
    print(
        "temp.       nearest corner       inside  mean   total, peaks, convex"
    )
    for t, layer in LAYER.items():
        z = layer(np.tile(LOG_PI, (n, 1)), training=True).numpy()
        grid, mass = quadrature(t, size)
        print(f"{t:4g} samples", summary(z, np.full(n, 1 / n)))
        print(f"     density {summary(grid, mass)} {mass.sum():.5f} {shape(t)}")
        samples[t] = z[:2000]
    output.mkdir(parents=True, exist_ok=True)
    picture(samples, output / "simplex.png")
    page(samples, output / "simplex.html")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="demo-output")
    parser.add_argument("--smoke", action="store_true")
    main(**vars(parser.parse_args()))
