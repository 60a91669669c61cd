"""Interleaved timing, and what ran it."""

import importlib.metadata
import json
import os
import platform
import statistics
import time


def interleaved(steps, rounds, budget=20.0, warmup=2):
    """Median seconds of each step, the steps taken in turn.

    Machines drift; what is measured in turn drifts together, so the ratios
    stand. A step is left out of later rounds once it has used `budget`
    seconds, and counts with the median of what it ran.
    """
    times = {name: [] for name in steps}
    inner = {}
    for name, step in steps.items():
        for _ in range(warmup):
            start = time.perf_counter()
            step()
            last = time.perf_counter() - start
        # A step of microseconds is repeated to rise above the clock.
        inner[name] = max(1, min(50, round(0.005 / max(last, 1e-6))))
    for _ in range(rounds):
        for name, step in steps.items():
            if sum(times[name]) * inner[name] > budget:
                continue
            start = time.perf_counter()
            for _ in range(inner[name]):
                step()
            times[name].append((time.perf_counter() - start) / inner[name])
    return {name: statistics.median(t) for name, t in times.items()}


def environment(*packages):
    """Versions and device, for the head of a results file."""
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        **versions,
    }


def head(versions):
    """What a results file begins with."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def save(folder, name, text, data):
    """`name.md` and `name.json`, where a folder is given; and on the screen."""
    print(text)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(text)
        (folder / f"{name}.json").write_text(json.dumps(data, indent=1))


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":")[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
