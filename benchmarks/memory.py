"""Memory of a training step, each peer in a process of its own.

    python benchmarks/memory.py --output benchmarks/results

A hard sample of 256 MiB of float32 logits, the gradient of its weighted sum.
Two numbers, in tensors of the logits' size: what the step's peak adds to
logits and weights, and, where the passes can be told apart (eager code), what
is kept between them beyond the sample. Writes `memory.json` and `memory.md`.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from measure import environment
from peers import PEERS, TEMPERATURE, inputs

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


def forward_only(name):
    """`keep() -> (what holds the sample and its graph)`, in eager code."""
    logits, _ = inputs(SHAPE)
    if name.startswith("torch"):
        import torch

        logits = torch.from_numpy(logits).requires_grad_()
        return lambda: torch.nn.functional.gumbel_softmax(
            logits, tau=TEMPERATURE, hard=True
        )
    import tensorflow as tf
    from peers import sampler

    logits, sample = tf.constant(logits), sampler(name)

    def keep():
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = sample(logits)
        return y, tape

    return keep


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


def kept(name):
    """What is there between the passes, beyond logits and sample."""
    PEERS[name]()((64, 64))()
    keep = forward_only(name)
    before = settled()
    held = keep()
    after = settled()
    del held
    return (after - before) / SIZE - 1


MEASURES = {"peak": peak, "kept": kept}


def in_a_process(name, measure):
    """Memory that was freed once is not there to be measured again."""
    command = [sys.executable, __file__, "--name", name, "--measure", measure]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.splitlines()[-1])
    return float(done.stdout.splitlines()[-1])


def table(results):
    lines = ["| | peak beyond logits and weights | kept between the passes |"]
    lines.append("|-|-|-|")
    for name, row in results.items():
        kept = f"{row['kept']:.1f}" if "kept" in row else ""
        lines.append(f"| {name} | {row['peak']:.1f} | {kept} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    parser.add_argument("--name", help="measure this one, here")
    parser.add_argument("--measure", choices=MEASURES)
    options = parser.parse_args()
    if options.name:
        print(MEASURES[options.measure](options.name))
        return
    results = {}
    for name in NAMES:
        try:
            results[name] = {"peak": in_a_process(name, "peak")}
            if "eager" in name:
                results[name]["kept"] = in_a_process(name, "kept")
        except RuntimeError as error:
            print(f"left out: {name} ({error})")
            continue
        print(name, results[name], flush=True)
    versions = environment("keras-gumbel", "tensorflow", "keras", "torch")
    head = ", ".join(f"{k} {v}" for k, v in versions.items())
    text = (
        f"{head}\n\nForward and backward of a hard sample of {SHAPE[0]} x "
        f"{SHAPE[1]} float32 logits ({SIZE >> 20} MiB), in tensors of that "
        f"size:\n\n{table(results)}"
    )
    print(text)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "memory.md").write_text(text)
        data = {"environment": versions, "tensors": results}
        path = options.output / "memory.json"
        path.write_text(json.dumps(data, indent=1))


if __name__ == "__main__":
    main()
