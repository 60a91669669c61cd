"""Memory of a training step, each peer in a process of its own.

    python benchmarks/memory.py --output benchmarks/results
    python benchmarks/memory.py --output benchmarks/results \
        --only torch --shape 1024 8192

A hard sample of 256 MiB of float32 logits and the gradient of its weighted
sum: what the step's peak adds to logits and weights, in tensors of that size.
The sample, its gradient and the logits' make three. Writes `memory.json` and
`memory.md`; with `--only`, which leaves out what has not this in its name,
`memory_ONLY.json` and `memory_ONLY.md`.
"""

import argparse
import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from measure import environment, head, save
from peers import PEERS

NAMES = [
    "keras_gumbel, XLA",
    "keras_gumbel, graph",
    "keras_gumbel, eager",
    "pasted TF, XLA",
    "pasted TF, graph",
    "pasted TF, eager",
    "keras_gumbel on torch, compile",
    "keras_gumbel on torch, eager",
    "torch, compile",
    "torch, eager",
]


def resident(field):
    """Bytes by which this process is, or was at most, in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def settled():
    """Bytes in memory once what is free has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident("VmRSS")


def peak(name, shape):
    """What the step's peak adds to logits and weights."""
    make = PEERS[name]()
    small = make((64, 64))
    small()
    step = make(shape)
    # TensorFlow lets go of NumPy's arrays with the next operation.
    small()
    before = settled()
    # Sets the high-water mark back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    step()
    return (resident("VmHWM") - before) / (4 * shape[0] * shape[1])


def in_a_process(name, shape):
    """Memory that was freed once is not there to be measured again."""
    command = [sys.executable, __file__, "--name", name]
    command += ["--shape", *map(str, shape)]
    backend = "torch" if "torch" in name else "tensorflow"
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": backend},
    )
    if done.returncode:
        raise RuntimeError(done.stderr.splitlines()[-1])
    return float(done.stdout.splitlines()[-1])


def table(results):
    lines = ["| | peak beyond logits and weights |", "|-|-|"]
    lines += [
        f"| {name} | {tensors:.1f} |" for name, tensors in results.items()
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--name", help="measure this one, here")
    parser.add_argument("--only", default="", help="measure what has this")
    parser.add_argument(
        "--shape",
        type=int,
        nargs=2,
        default=(8192, 8192),
        metavar=("ROWS", "COLUMNS"),
    )
    options = parser.parse_args()
    shape = tuple(options.shape)
    if options.name:
        print(peak(options.name, shape))
        return
    results = {}
    for name in NAMES:
        if options.only not in name:
            continue
        try:
            results[name] = in_a_process(name, shape)
        except RuntimeError as error:
            print(f"left out: {name} ({error})")
            continue
        print(name, results[name], flush=True)
    versions = environment("keras-gumbel", "tensorflow", "keras", "torch")
    text = (
        f"{head(versions)}\n\nForward and backward of a hard sample of "
        f"{shape[0]} x {shape[1]} float32 logits "
        f"({4 * shape[0] * shape[1] >> 20} MiB), in "
        "tensors of that size. The sample, its gradient and the logits' make "
        "three."
        f"\n\n{table(results)}"
    )
    data = {"environment": versions, "tensors": results}
    name = "_".join(["memory"] + [options.only] * bool(options.only))
    save(options.output, name, text, data)


if __name__ == "__main__":
    main()
