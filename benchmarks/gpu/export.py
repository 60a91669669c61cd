"""Write the compiled programs as StableHLO, on a machine without a GPU.

    python benchmarks/gpu/export.py --output programs [--smoke]

TensorFlow lowers each program; `run.py`, in a process with JAX alone, then
compiles and times it on whatever device it finds. With each program go its
inputs and the outputs that TensorFlow computed here, to check the numbers.
Needs: keras_gumbel.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import keras_gumbel as kg
from keras_gumbel._validation import categorical_arguments
from keras_gumbel.estimators import StraightThroughGumbel
from keras_gumbel.ops import _program
from keras_gumbel.ops.gumbel_softmax import op_for

SHAPES = [(1024, 8192), (16384, 512), (4096, 32768)]
CHECKED = (64, 512)  # the shape whose numbers are compared
TEMPERATURE = 0.5


def sampler(hard):
    """The sample as a function of its key, which a benchmark must hold."""
    estimator = StraightThroughGumbel() if hard else None

    def sample(logits, key):
        arguments = categorical_arguments(logits, TEMPERATURE, -1, None)
        op, arguments = op_for(estimator, arguments)
        return _program.run_by_key(op, arguments, (key, tf.constant(1.0)))

    return sample


def forward(logits, key):
    return sampler(hard=False)(logits, key)


def hard_step(logits, weights, key):
    """Hard sample, weighted sum, gradient."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(sampler(hard=True)(logits, key) * weights)
    return loss, tape.gradient(loss, logits)


def training_step(classes):
    """A whole step of SGD on Dense, GumbelSoftmax, Dense, as a function."""

    def step(x, w_in, w_out, key):
        with tf.GradientTape() as tape:
            tape.watch([w_in, w_out])
            sample = sampler(hard=True)(x @ w_in, key)
            loss = tf.reduce_mean(tf.square(sample @ w_out - x))
        d_in, d_out = tape.gradient(loss, [w_in, w_out])
        return loss, w_in - 0.1 * d_in, w_out - 0.1 * d_out

    return step


def programs(shape):
    """Name, function and arguments of each program at a shape."""
    rng = np.random.default_rng(0)
    rows, classes = shape

    def normal(*size):
        return rng.standard_normal(size, dtype="float32")

    key = np.array([17, 0], "int64")
    logits = normal(rows, classes)
    yield "forward", forward, (logits, key)
    yield "hard_step", hard_step, (logits, normal(rows, classes), key)
    width = 64
    scale = np.float32(width**-0.5)
    weights = normal(width, classes) * scale, normal(classes, width) * scale
    step = training_step(classes)
    yield "training_step", step, (normal(rows, width), *weights, key)


def export(name, function, args, folder, check):
    """The program's text, and where wanted its inputs and outputs."""
    args = [tf.constant(arg) for arg in args]
    compiled = tf.function(function, jit_compile=True, autograph=False)
    lower = compiled.experimental_get_compiler_ir(*args)
    text = lower(stage="stablehlo_serialized")
    (folder / f"{name}.mlirbc").write_bytes(text)
    if check:
        results = tf.nest.flatten(compiled(*args))
        arrays = {f"in{i}": arg.numpy() for i, arg in enumerate(args)}
        arrays |= {f"out{i}": out.numpy() for i, out in enumerate(results)}
        np.savez(folder / f"{name}.npz", **arrays)
    return [(list(arg.shape), arg.dtype.name) for arg in args]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true", help="small shapes")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    shapes = [CHECKED, *([(256, 1024)] if options.smoke else SHAPES)]
    manifest = {"versions": versions(), "programs": []}
    for shape in shapes:
        for name, function, args in programs(shape):
            full = f"{name}_{shape[0]}x{shape[1]}"
            check = shape == CHECKED
            inputs = export(full, function, args, options.output, check)
            entry = {"file": full, "kind": name, "shape": shape}
            entry |= {"inputs": inputs, "checked": check}
            manifest["programs"].append(entry)
            print(f"wrote {full}")
    path = options.output / "manifest.json"
    path.write_text(json.dumps(manifest, indent=1))


def versions():
    return {
        "keras-gumbel": kg.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


if __name__ == "__main__":
    main()
