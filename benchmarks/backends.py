"""Time of a training step of ours on each backend, beside what people write.

    python benchmarks/backends.py --output benchmarks/results

Each backend has a process of its own; they are asked in turn for one step, so
that what drifts drifts for all. torch has three: eager without a compiler,
eager with the noise compiled, and `torch.compile`; its usual code is
`F.gumbel_softmax`. `--backends` names fewer. A second table is of functions
with loops. Writes `backends.json` and `backends.md`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch", "torch.noise", "torch.compile")
SHAPES = [(1024, 8192), (16384, 512), (32, 10)]
TEMPERATURE = 0.5
ESTIMATORS = ("st_gumbel", "st", "reinmax")
THEIRS = "usual code"
# Functions with loops or searches, and the logits that each gets.
LOOPS = {
    "gumbel_rao": (1024, 1024),
    "gumbel_top_k, relaxed, k = 8": (1024, 1024),
    "gumbel_top_k, hard, k = 8": (1024, 1024),
    "gumbel_sinkhorn": (64, 32, 32),
    "gumbel_sinkhorn, hard": (64, 32, 32),
    "linear_assignment": (16, 100, 100),
    "sample_embedding": (4096, 1024),
}
# Set where torch is to compile the step.
COMPILE = "BENCHMARK_COMPILES"


# ---------------------------------------------------------------------------
# The process of a backend: a line asks for a step, a line answers it.
# ---------------------------------------------------------------------------


def worker():
    """Answer every step asked for with its seconds."""
    import keras
    import numpy as np

    create = {"tensorflow": on_tensorflow, "jax": on_jax, "torch": on_torch}
    make = create[keras.config.backend()]
    rng = np.random.default_rng(0)
    steps = {}
    for line in sys.stdin:
        name, *shape = json.loads(line)
        key = (name, *shape)
        if key not in steps:
            logits, weights = rng.normal(size=(2, *shape)).astype("float32")
            steps[key] = make(name, logits, weights)
            steps[key]()
            steps[key]()
        repeat = 100 if np.prod(shape) < 10_000 else 1
        start = time.perf_counter()
        for _ in range(repeat):
            steps[key]()
        seconds = (time.perf_counter() - start) / repeat
        print(json.dumps(seconds), file=sys.__stdout__, flush=True)


def ours(name, seed):
    """A function of logits to a sample, by our package."""
    from keras import ops

    import keras_gumbel as kg

    table = ops.convert_to_tensor(
        [[n % 7 - 3.0 for n in range(64)] for _ in range(1024)]
    )
    others = {
        "noise": lambda x: kg.ops.sample_gumbel(x.shape, seed=seed()),
        "gumbel_top_k, relaxed, k = 8": lambda x: kg.ops.gumbel_top_k(
            x, 8, TEMPERATURE, seed=seed()
        )[0],
        "gumbel_top_k, hard, k = 8": lambda x: kg.ops.gumbel_top_k(
            x, 8, TEMPERATURE, hard=True, seed=seed()
        )[0],
        "gumbel_sinkhorn": lambda x: kg.ops.gumbel_sinkhorn(x, seed=seed()),
        "gumbel_sinkhorn, hard": lambda x: kg.ops.gumbel_sinkhorn(
            x, hard=True, seed=seed()
        ),
        "linear_assignment": lambda x: ops.cast(
            kg.ops.linear_assignment(x), "float32"
        ),
        "sample_embedding": lambda x: kg.ops.sample_embedding(
            x, table, TEMPERATURE, seed=seed()
        ),
    }
    if name in others:
        return others[name]
    return lambda x: kg.ops.gumbel_softmax(
        x, TEMPERATURE, hard=True, estimator=name, seed=seed()
    )


def weighted(y, weights):
    """The product, if the sample has the shape of the logits."""
    return y * weights if y.shape == weights.shape else y


def on_tensorflow(name, logits, weights):
    import keras
    import tensorflow as tf

    generator = keras.random.SeedGenerator(0)
    logits, weights = tf.constant(logits), tf.constant(weights)

    def theirs(x):
        u = tf.random.uniform(tf.shape(x), 1e-20, 1.0)
        y = tf.nn.softmax((x - tf.math.log(-tf.math.log(u))) / TEMPERATURE)
        hard = tf.one_hot(tf.argmax(y, -1), x.shape[-1])
        return tf.stop_gradient(hard - y) + y

    sample = theirs if name == THEIRS else ours(name, lambda: generator)

    @tf.function(jit_compile=True)
    def step(x):
        if name == "noise":
            return sample(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(weighted(sample(x), weights))
        return loss, tape.gradient(loss, x, unconnected_gradients="zero")

    def run():
        keras.tree.map_structure(lambda y: y.numpy(), step(logits))

    return run


def on_jax(name, logits, weights):
    import jax
    import jax.numpy as jnp

    logits, weights = jnp.asarray(logits), jnp.asarray(weights)
    state = {"key": jax.random.key(0)}

    def theirs(x, key):
        g = jax.random.gumbel(key, x.shape)
        y = jax.nn.softmax((x + g) / TEMPERATURE)
        hard = jax.nn.one_hot(jnp.argmax(y, -1), x.shape[-1])
        return jax.lax.stop_gradient(hard - y) + y

    def sample(x, key):
        if name == THEIRS:
            return theirs(x, key)
        return ours(name, lambda: key)(x)

    def loss(x, key):
        return jnp.sum(weighted(sample(x, key), weights))

    if name == "noise":
        step = jax.jit(sample)
    elif name == "their noise":
        step = jax.jit(lambda x, key: jax.random.gumbel(key, x.shape))
    else:
        step = jax.jit(jax.value_and_grad(loss))

    def run():
        state["key"], key = jax.random.split(state["key"])
        jax.block_until_ready(step(logits, key))

    return run


def on_torch(name, logits, weights):
    import keras
    import torch
    from torch.nn import functional

    generator = keras.random.SeedGenerator(0)
    logits, weights = torch.tensor(logits), torch.tensor(weights)

    def theirs(x):
        return functional.gumbel_softmax(x, TEMPERATURE, hard=True)

    def loss(x):
        return weighted(sample(x), weights).sum()

    sample = theirs if name == THEIRS else ours(name, lambda: generator)
    of_noise = {
        "noise": sample,
        "their noise": lambda x: -torch.empty_like(x).exponential_().log(),
    }
    step = of_noise.get(name, loss)
    if os.environ.get(COMPILE):
        # All steps are one function to the compiler, which counts them.
        torch._dynamo.config.recompile_limit = 100
        step = torch.compile(step, fullgraph=True)

    def run():
        if name in of_noise:
            return step(logits)
        x = logits.detach().requires_grad_()
        y = step(x)
        if y.requires_grad:
            y.backward()
        return x.grad

    return run


# ---------------------------------------------------------------------------
# The process that asks.
# ---------------------------------------------------------------------------


def start(backend):
    keras_backend, _, compiled = backend.partition(".")
    return subprocess.Popen(
        [sys.executable, __file__, "--worker"],
        env={
            **os.environ,
            "KERAS_BACKEND": keras_backend,
            COMPILE: "1" * (compiled == "compile"),
            # Whether the package compiles its noise; empty: as it sees fit.
            "KERAS_GUMBEL_COMPILE": {"": "0", "noise": "1"}.get(compiled, ""),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(process, *what):
    print(json.dumps(what), file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())


def cases(backend):
    names = [*ESTIMATORS, THEIRS, "noise"]
    return names + ["their noise"] * (backend != "tensorflow")


def table(seconds):
    shapes = list(seconds)
    lines = ["| | " + " | ".join(shapes) + " |"]
    lines.append("|-|" + "-|" * len(shapes))
    for name in seconds[shapes[0]]:
        row = " | ".join(f"{seconds[s][name] * 1e3:.3g}" for s in shapes)
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines) + "\n"


def of_loops(seconds):
    backends = list(next(iter(seconds.values())))
    lines = ["| | " + " | ".join(backends) + " |"]
    lines.append("|-|" + "-|" * len(backends))
    for name, found in seconds.items():
        row = " | ".join(f"{found[x] * 1e3:.3g}" for x in backends)
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--worker", action="store_true")
    args = parser.parse_args()
    if args.worker:
        return worker()
    from measure import environment, head, save

    processes = {backend: start(backend) for backend in args.backends}
    results = {}
    for shape in SHAPES:
        times = {}
        for _ in range(args.rounds):
            for backend, process in processes.items():
                for name in cases(backend):
                    asked = ask(process, name, *shape)
                    times.setdefault(f"{backend}, {name}", []).append(asked)
        results[f"{shape[0]} x {shape[1]}"] = {
            name: statistics.median(found) for name, found in times.items()
        }
    # Noise by a kernel is torch's own way here: loops are told apart from it.
    eager = [x for x in processes if not x.startswith("torch.")]
    loops = {}
    for name, shape in LOOPS.items():
        times = {backend: [] for backend in eager}
        for _ in range(args.rounds):
            for backend in eager:
                times[backend].append(ask(processes[backend], name, *shape))
        size = " x ".join(map(str, shape))
        loops[f"{name}, {size}"] = {
            backend: statistics.median(found)
            for backend, found in times.items()
        }
    versions = environment(
        "keras-gumbel", "tensorflow", "jax", "torch", "keras"
    )
    text = (
        f"{head(versions)}\n\nMilliseconds a step.\n\n{table(results)}\n"
        f"Functions with loops, eager on torch.\n\n{of_loops(loops)}"
    )
    data = {"environment": versions, "seconds": results, "loops": loops}
    save(args.output, "backends", text, data)
    for process in processes.values():
        process.stdin.close()
    return None


if __name__ == "__main__":
    main()
