"""Check and time exported programs, in a process with JAX and no TensorFlow.

    python benchmarks/gpu/run.py programs --output results

Compiles what `export.py` wrote for the device that JAX finds, compares the
numbers with TensorFlow's, and times each program beside torch eager,
`torch.compile` and JAX on the same device (those that are installed), with
the memory floor: the bytes a program cannot avoid moving, at the bandwidth of
a measured copy. Runs on a CPU too, as a test of itself.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import xla_bridge
from jax._src.interpreters import mlir
from jax._src.lib import _jax, xla_client
from jaxlib.mlir import ir

# The keys are int64, which JAX would otherwise cut to int32.
jax.config.update("jax_enable_x64", True)

TEMPERATURE = 0.5
# What each program must read and write at least once, in tensors of the
# logits' size: logits in, sample out; and then weights in, gradient out.
TENSORS = {"forward": 2, "hard_step": 4}


def load(path, device):
    """Compile StableHLO bytecode for a device; a function of arrays."""
    client = xla_bridge.get_backend()
    with mlir.make_ir_context():
        module = ir.Module.parse(path.read_bytes())
        program = client.compile_and_load(
            module, _jax.DeviceList((device,)), xla_client.CompileOptions(), []
        )

    def call(*arrays):
        results = program.execute_sharded(list(arrays))
        return results.disassemble_into_single_device_arrays()

    return call


def check(call, path, device):
    """The largest difference from TensorFlow's outputs, relative to scale."""
    arrays = np.load(path)
    count = sum(name.startswith("in") for name in arrays)
    inputs = [jax.device_put(arrays[f"in{i}"], device) for i in range(count)]
    outputs = call(*inputs)
    worst = 0.0
    for i, output in enumerate(outputs):
        wanted = arrays[f"out{i}"]
        got = np.asarray(output[0]).reshape(wanted.shape)
        scale = np.abs(wanted).max() or 1.0
        worst = max(worst, float(np.abs(got - wanted).max() / scale))
    return worst


def seconds(step, wait, rounds=20):
    """Median seconds of a step; `wait` blocks until its result is there."""
    wait(step())
    wait(step())
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        wait(step())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def copy_bandwidth(device, elements):
    """Bytes per second of a copy, read and write counted."""
    x = jax.device_put(np.ones(elements, "float32"), device)
    copy = jax.jit(lambda x: x + 1.0)
    return 8 * elements / seconds(lambda: copy(x), jax.block_until_ready)


def random_inputs(inputs, device):
    rng = np.random.default_rng(1)
    arrays = []
    for shape, dtype in inputs:
        key = "int" in dtype
        values = [17, 1] if key else rng.standard_normal(shape) * 0.1
        arrays.append(jax.device_put(np.asarray(values, dtype), device))
    return arrays


def jax_step(kind):
    """What JAX's users write."""

    def sample(logits, key, hard):
        gumbel = jax.random.gumbel(key, logits.shape)
        soft = jax.nn.softmax((logits + gumbel) / TEMPERATURE)
        if not hard:
            return soft
        one_hot = jax.nn.one_hot(jnp.argmax(soft, -1), logits.shape[-1])
        return jax.lax.stop_gradient(one_hot - soft) + soft

    if kind == "forward":
        return jax.jit(lambda logits, key: sample(logits, key, False))
    loss = lambda x, w, key: jnp.sum(sample(x, key, True) * w)  # noqa: E731
    return jax.jit(jax.value_and_grad(loss))


def torch_step(torch, kind, logits, weights, compiled):
    """What torch's users write."""
    functional = torch.nn.functional

    def sample(logits):
        return functional.gumbel_softmax(
            logits, tau=TEMPERATURE, hard=kind != "forward"
        )

    def loss(logits):
        return (sample(logits) * weights).sum()

    function = sample if kind == "forward" else loss
    if compiled:
        function = torch.compile(function)

    def forward():
        with torch.no_grad():
            return function(logits)

    def step():
        logits.grad = None
        function(logits).backward()
        return logits.grad

    return forward if kind == "forward" else step


def peers(kind, shape, device, with_compile):
    """Seconds of each peer at a shape."""
    logits = np.random.default_rng(1).standard_normal(shape, dtype="float32")
    on_device = jax.device_put(logits, device)
    key, step = jax.random.key(0), jax_step(kind)
    args = (on_device, key) if kind == "forward" else (on_device,) * 2 + (key,)
    found = {"JAX": seconds(lambda: step(*args), jax.block_until_ready)}
    try:
        import torch
    except ImportError:
        return found
    cuda = device.platform == "gpu" and torch.cuda.is_available()
    wait = (lambda _: torch.cuda.synchronize()) if cuda else (lambda _: None)
    x = torch.from_numpy(logits).to("cuda" if cuda else "cpu")
    weights = x.clone()
    x.requires_grad_(kind != "forward")
    for name in ("torch", "torch.compile") if with_compile else ("torch",):
        step = torch_step(torch, kind, x, weights, name == "torch.compile")
        found[name] = seconds(step, wait)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    device = jax.devices()[0]
    manifest = json.loads((options.programs / "manifest.json").read_text())
    results = {"device": device.device_kind, "jax": jax.__version__}
    results |= manifest["versions"] | {"date": time.strftime("%Y-%m-%d")}
    results["rows"] = rows = []
    for entry in manifest["programs"]:
        path = options.programs / entry["file"]
        call = load(path.with_suffix(".mlirbc"), device)
        row = {"program": entry["kind"], "shape": entry["shape"]}
        if entry["checked"]:
            row["difference"] = check(call, path.with_suffix(".npz"), device)
        else:
            arrays = random_inputs(entry["inputs"], device)
            row["seconds"] = {
                "keras_gumbel": seconds(
                    lambda c=call, a=arrays: c(*a), jax.block_until_ready
                )
            }
            if entry["kind"] in TENSORS:
                kind, elements = entry["kind"], int(np.prod(entry["shape"]))
                bandwidth = copy_bandwidth(device, elements)
                row["floor"] = 4 * elements * TENSORS[kind] / bandwidth
                row["seconds"] |= peers(
                    kind, entry["shape"], device, not options.no_compile
                )
        rows.append(row)
        print(describe(row), flush=True)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        name = results["device"].replace(" ", "-").lower()
        path = options.output / f"{name}.json"
        path.write_text(json.dumps(results, indent=1))
    worst = max(row.get("difference", 0.0) for row in rows)
    if worst > 1e-4:
        raise SystemExit(f"numbers differ from TensorFlow's by {worst:.1e}")
    print(f"numbers agree with TensorFlow's to {worst:.1e} of their scale")


def describe(row):
    head = f"{row['program']:14} {row['shape'][0]:6} x {row['shape'][1]:<6}"
    if "difference" in row:
        return f"{head} differs by {row['difference']:.1e}"
    times = [f"{k} {t * 1e6:.0f} us" for k, t in row["seconds"].items()]
    if "floor" in row:
        times.append(f"memory floor {row['floor'] * 1e6:.0f} us")
    return f"{head} " + ", ".join(times)


if __name__ == "__main__":
    main()
