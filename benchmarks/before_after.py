"""Another commit beside this one, in one run.

    git worktree add ../before COMMIT
    python benchmarks/before_after.py ../before --output benchmarks/results

Each commit runs in a process of its own, with the packages of this one; both
are asked for a step in turn, so machines that drift do not move the ratios.
The steps are ours of each commit's own `compare.py`, `family.py`,
`estimators.py` and `embedding.py`; those of one commit alone are left out.
Writes `before_after.json` and `before_after.md`.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from measure import environment, head, save

HERE = Path(__file__).resolve().parent.parent
# A step of microseconds is repeated until a turn takes so many seconds.
TURN = 0.02


def compare():
    """Name and maker of each group of steps: all that is in memory at once."""
    from compare import SHAPES
    from peers import PEERS

    ours = [
        name
        for name in PEERS
        if name.startswith("keras_gumbel,") and "torch" not in name
    ]
    for shape in SHAPES:
        yield (
            f"{shape[0]} x {shape[1]}",
            lambda shape=shape: {
                name.removeprefix("keras_gumbel, "): PEERS[name]()(shape)
                for name in ours
            },
        )


def estimators():
    import estimators

    for shape in estimators.SHAPES:
        yield (
            f"{shape[0]} x {shape[1]}",
            lambda shape=shape: {
                ", ".join(name): step
                for name, step in estimators.steps(shape).items()
            },
        )


def embedding():
    import embedding

    yield (
        " x ".join(map(str, embedding.SHAPE)),
        lambda: embedding.steps(embedding.SHAPE),
    )


def family():
    import importlib

    import family

    def ours(case):
        function, _, inputs = case
        return {
            mode: family.step(function, inputs, jit_compile)
            for mode, jit_compile in family.MODES.items()
        }

    for name in family.IDIOMS:
        cases = importlib.import_module(f"idioms.{name}").cases()
        for label, case in cases.items():
            yield f"{name}, {label}", lambda case=case: ours(case)


SUITES = {f.__name__: f for f in (compare, family, estimators, embedding)}


def serve(connection, folder, suite):
    """Answers `(group, step)` with seconds; a group is made when asked for."""
    sys.path[:0] = [str(folder), str(folder / "benchmarks")]
    groups = dict(SUITES[suite]())
    connection.send(list(groups))
    steps = {}
    made = None
    while (asked := connection.recv()) is not None:
        group, name = asked
        if group != made:
            steps.clear()
            made = group
            steps.update(groups[group]())
        if name is None:
            connection.send(list(steps))
        else:
            connection.send(seconds(steps[name]))


def seconds(step):
    """Of one run, the mean of those that make a turn long enough."""
    runs, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < TURN:
        step()
        runs += 1
    return took / runs


class Commit:
    """A process that has one commit's package."""

    def __init__(self, folder, suite):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        context.Process(
            target=serve, args=(theirs, folder, suite), daemon=True
        ).start()
        theirs.close()  # so that its end is seen here
        self.groups = self.connection.recv()

    def ask(self, group, step=None):
        self.connection.send((group, step))
        return self.connection.recv()

    def end(self):
        self.connection.send(None)


def measured(folders, suite, rounds, budget):
    """Label and the medians of both, one step after the other."""
    commits = [Commit(folder, suite) for folder in folders]
    for group in commits[1].groups:
        if group not in commits[0].groups:
            continue
        names = [commit.ask(group) for commit in commits]
        for name in names[1]:
            if name not in names[0]:
                continue
            for _ in range(2):  # compile, and warm up
                first = [commit.ask(group, name) for commit in commits]
            times = [[], []]
            spent = sum(first)
            while len(times[0]) < rounds and (spent < budget or not times[0]):
                # Who goes first takes turns too.
                for index in (0, 1) if len(times[0]) % 2 else (1, 0):
                    times[index].append(commits[index].ask(group, name))
                    spent += times[index][-1]
            yield f"{group}, {name}", [statistics.median(t) for t in times]
    for commit in commits:
        commit.end()


def name_of(folder):
    """A commit's short name."""
    command = ["git", "-C", folder, "rev-parse", "--short", "HEAD"]
    return subprocess.check_output(command, text=True).strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="a checkout of the other")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--suite", choices=SUITES, action="append")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--budget", type=float, default=8.0)
    options = parser.parse_args()
    folders = [options.before.resolve(), HERE]
    before, after = map(name_of, folders)
    versions = environment("tensorflow", "keras")
    lines, results = [], {}
    for suite in options.suite or SUITES:
        for label, (old, new) in measured(
            folders, suite, options.rounds, options.budget
        ):
            results[f"{suite}, {label}"] = {"before": old, "after": new}
            lines.append(
                f"| {suite}, {label} | {1e3 * old:.2f} | {1e3 * new:.2f} "
                f"| {new / old:.2f} |"
            )
            print(lines[-1], flush=True)
    text = (
        f"# {before} and {after}, in turn\n\n{head(versions)}\n\n"
        "Median milliseconds of a step, forward and backward, and their "
        f"ratio. (`benchmarks/before_after.py`)\n\n| | {before} | {after} "
        "| |\n|-|-|-|-|\n" + "\n".join(lines) + "\n"
    )
    data = {"environment": versions, "seconds": results}
    data |= {"before": before, "after": after}
    save(options.output, "before_after", text, data)


if __name__ == "__main__":
    main()
