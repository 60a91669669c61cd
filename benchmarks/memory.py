"""Memory of a training step, each peer in a process of its own.

    python benchmarks/memory.py --output benchmarks/results

A hard sample of 256 MiB of float32 logits and the gradient of its weighted
sum: what the step's peak adds to logits and weights, in tensors of that size.
The sample, its gradient and the logits' make three. Writes `memory.json` and
`memory.md`.
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

SHAPE = (8192, 8192)
NAMES = [
    "keras_gumbel, XLA",
    "keras_gumbel, graph",
    "keras_gumbel, eager",
    "pasted TF, XLA",
    "pasted TF, graph",
    "pasted TF, eager",
    "torch, compile",
    "torch, eager",
]
SIZE = 4 * SHAPE[0] * SHAPE[1]


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


def peak(name):
    """What the step's peak adds to logits and weights."""
    make = PEERS[name]()
    make((64, 64))()
    step = make(SHAPE)
    before = settled()
    # Sets the high-water mark back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    step()
    return (resident("VmHWM") - before) / SIZE


def in_a_process(name):
    """Memory that was freed once is not there to be measured again."""
    command = [sys.executable, __file__, "--name", name]
    done = subprocess.run(command, capture_output=True, text=True)
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
    options = parser.parse_args()
    if options.name:
        print(peak(options.name))
        return
    results = {}
    for name in NAMES:
        try:
            results[name] = in_a_process(name)
        except RuntimeError as error:
            print(f"left out: {name} ({error})")
            continue
        print(name, results[name], flush=True)
    versions = environment("keras-gumbel", "tensorflow", "keras", "torch")
    text = (
        f"{head(versions)}\n\nForward and backward of a hard sample of "
        f"{SHAPE[0]} x {SHAPE[1]} float32 logits ({SIZE >> 20} MiB), in "
        "tensors of that size. The sample, its gradient and the logits' make "
        "three."
        f"\n\n{table(results)}"
    )
    data = {"environment": versions, "tensors": results}
    save(options.output, "memory", text, data)


if __name__ == "__main__":
    main()
